"""Table 4: accuracy under attack, by protocol."""

from __future__ import annotations

from collections.abc import Iterator

from ..records.statistics import Value
from .published import PaperRow
from .results import Results
from .robustness import THREATS
from .study import TableStudy

SHOWN = ("transfer", "matched", "union", "clean")
"""The values shown for each threat, one per column."""

COLUMNS = {f"{name} {shown}": (threat, shown) for name, threat in THREATS.items() for shown in SHOWN}
"""Threat and shown value by column."""


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) under the threat of a column, or in the row of the tuned lambda that lambda."""
    threat, shown = COLUMNS[column]
    robustness, choice = model.robustness.get(threat), row.rule or "trained"
    if robustness is None or _is_empty(row, shown):
        return None
    if row.shows == "accuracy":
        return robustness.value(shown, choice)
    classifier = robustness.classifiers.get(choice)
    return Value(classifier) if isinstance(classifier, float) else None


def _is_empty(row: PaperRow, shown: str) -> bool:
    return row.shows == "lambda" and shown != "transfer"


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command of an attack, preceded by that of the fits where it needs them."""
    threat, shown = COLUMNS[column]
    if _is_empty(row, shown):
        return None
    if row.rule == "adaptive" and model.pooled is None:
        return f"sdnet-bench fit-lambda {model.name} --corruption all"
    return f"sdnet-bench attack {model.name} --norm {threat.norm}"


def _notes(model: Results) -> Iterator[str]:
    """Notes on the attack of each threat."""
    for robustness in model.robustness.values():
        yield f"{model.name}, {'; '.join(robustness.conditions())}"


TABLE4 = TableStudy("table4", value=_value, command=_command, notes=_notes)
