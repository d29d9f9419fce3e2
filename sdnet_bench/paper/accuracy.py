"""Tables 1 and 6: accuracy on clean images, parameters, memory and speed."""

from __future__ import annotations

from ..config import MODELS
from ..records.statistics import Value
from .published import PaperRow
from .results import Results
from .study import TableStudy

OF_TRAINING = {
    "Model Size (M)": ("parameters", 1e6),
    "Memory (GB)": ("peak_memory", 1e9),
    "Speed (n/s)": ("images_per_second", 1),
}
"""Metric of training and its unit, by column; the remaining column is accuracy."""


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) on clean test images, millions of parameters, GB of memory, or images/s of training."""
    if column not in OF_TRAINING:
        return model.clean()
    metric, unit = OF_TRAINING[column]
    measured = model.training(metric)
    return Value(measured.value / unit) if measured else None


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command that trains a shipped model again, for columns that training measures."""
    if column not in OF_TRAINING:
        return f"sdnet-bench evaluate {model.name}"
    return f"sdnet-bench train {model.name} --overwrite" if (MODELS / model.name).exists() else None


OF_THE_MACHINE = ("Memory (GB)", "Speed (n/s)")

TABLE1 = TableStudy("table1", value=_value, command=_command, of_the_machine=OF_THE_MACHINE)
TABLE6 = TableStudy("table6", value=_value, command=_command, of_the_machine=OF_THE_MACHINE, fixed=True)
