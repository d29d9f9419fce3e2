"""Table 5: more FISTA iterations at inference."""

from __future__ import annotations

from collections.abc import Iterator

from ..records.statistics import Value
from ..studies.workbench import Workbench
from .plan import PlanStep, StudySize, TableStudy, adaptive_step, fit_steps, measuring_step
from .published import PaperRow
from .results import Results

STEPS = (2, 4, 8)
"""FISTA iterations of the paper's Table 5."""

CORRUPTED = ("gaussian", "shot", "impulse")
"""Noises of the paper's Table 5."""


def _plan(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps: clean and noisy test images with 2, 4 and 8 FISTA iterations at inference."""
    tested = bench.images("test", size.tested)
    for steps in STEPS:
        inference = bench.inference(steps=steps)
        yield measuring_step(bench, f"clean test images, {steps} iterations", [bench.cell(tested, inference)])
        yield from fit_steps(bench, CORRUPTED, size, inference)
        yield adaptive_step(bench, CORRUPTED, size, steps)


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) with the row's FISTA iterations, on clean images or by Algorithm 1 under a noise."""
    steps = None if row.steps == model.trained_steps else row.steps
    return model.clean(steps) if column == "clean" else model.mean(column, adaptive=True, steps=steps)


def _remark(model: Results, row: PaperRow) -> str | None:
    """The remark that the paper trains with the iterations of each row."""
    if row.steps == model.trained_steps:
        return None
    return f"trained with {model.trained_steps}, {row.steps} at inference alone"


TABLE5 = TableStudy("table5", _plan, value=_value, remark=_remark, needs_lambda=True, on_archives=True, optional=True)
