"""Table 4: accuracy under attack."""

from __future__ import annotations

from ..records.statistics import Value
from .published import PaperRow
from .results import Results
from .robustness import COLUMNS as MEETS
from .robustness import THREATS

COLUMNS = {f"{name} {meets}": (threat, meets) for name, threat in THREATS.items() for meets in MEETS}
"""Those of Table 4 by their names: under which threat, and what is met there."""


def table4_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) under a threat and by a protocol, as the column names them, or the lambda behind it."""
    threat, meets = COLUMNS[column]
    robustness, choice = model.robustness.get(threat), row.rule or "trained"
    if robustness is None:
        return None
    if row.shows == "accuracy":
        return robustness.value(meets, choice)
    judge = robustness.judges.get(choice)
    return Value(judge) if isinstance(judge, float) and shows_lambda(column) else None


def shows_lambda(column: str) -> bool:
    """Whether a column of Table 4 has a lambda: one column of each threat does."""
    return COLUMNS[column][1] == "transfer"
