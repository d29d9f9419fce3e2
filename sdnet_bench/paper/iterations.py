"""Table 5: more FISTA iterations at inference."""

from __future__ import annotations

from collections.abc import Iterator

from ..csc import require_csc_layers
from ..records.statistics import Value
from ..studies.workbench import Workbench
from .plan import Images, PlanStep, adaptive_step, fit_steps, measuring_step
from .published import PaperRow
from .results import Results

STEPS = (2, 4, 8)
"""FISTA iterations of the paper's Table 5."""

TABLE5 = ("gaussian", "shot", "impulse")
"""Noises of the paper's Table 5."""


def plan_table5(bench: Workbench, images: Images) -> Iterator[PlanStep]:
    """Clean and noisy test images with 2, 4 and 8 FISTA iterations at inference."""
    require_csc_layers(bench.model.net)
    clean = bench.images("test", images.limit)
    for steps in STEPS:
        cell = bench.cell(clean, bench.inference(steps=steps))
        yield measuring_step(bench, f"clean test images, {steps} iterations", [cell])
        yield from fit_steps(bench, TABLE5, steps)
        yield adaptive_step(bench, TABLE5, images, steps)


def remark(row: PaperRow, model: Results | None) -> str | None:
    """What sets our number apart from the paper's."""
    if model is None or row.steps in (None, model.trained_steps):
        return None
    return f"trained with {model.trained_steps}, {row.steps} at inference alone"


def table5_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) with as many FISTA iterations as the row says, on clean images or by Algorithm 1 under a noise."""
    steps = None if row.steps == model.trained_steps else row.steps
    return model.clean(steps) if column == "clean" else model.mean(column, adaptive=True, steps=steps)
