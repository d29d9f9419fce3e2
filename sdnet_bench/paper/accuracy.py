"""Tables 1 and 6: accuracy on clean images, parameters, memory and speed."""

from __future__ import annotations

from ..records.statistics import Value
from .published import PaperRow
from .results import Results


def table1_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) on clean test images, millions of parameters, GB of memory, or images/s of training."""
    if column.startswith("Top-1"):
        return model.clean()
    metric, scale = {"Model": ("parameters", 1e6), "Memory": ("peak_memory", 1e9)}.get(
        column.split()[0], ("images_per_second", 1)
    )
    measured = model.training(metric)
    return Value(measured.value / scale) if measured else None
