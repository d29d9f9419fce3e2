"""Table 5: more FISTA iterations at inference."""

from __future__ import annotations

from ..records.statistics import Value
from .published import PaperRow
from .results import Results
from .study import TableStudy

STEPS = (2, 4, 8)
"""FISTA iterations of the paper's Table 5."""

CORRUPTED = ("gaussian", "shot", "impulse")
"""Noises of the paper's Table 5."""


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) with the row's FISTA iterations, on clean images or by Algorithm 1 under a noise."""
    steps = None if row.steps == model.trained_steps else row.steps
    return model.clean(steps) if column == "clean" else model.mean(column, adaptive=True, steps=steps)


def _remark(model: Results, row: PaperRow) -> str | None:
    """The remark that the paper trains with the iterations of each row."""
    if row.steps == model.trained_steps:
        return None
    return f"trained with {model.trained_steps}, {row.steps} at inference alone"


TABLE5 = TableStudy("table5", value=_value, remark=_remark, needs_lambda=True, on_archives=True, optional=True)
