"""Tables 2 and 3, Figures 2 and 3, and the mean corruption error: accuracy on corrupted images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean

from ..data import CORRUPTIONS
from ..records.statistics import Value, percent
from .published import PaperRow, alexnet
from .results import Results
from .study import Study, TableStudy, study_command


def _table2_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) under Gaussian noise of the column's severity, or in the row of lambda the chosen lambda."""
    adapted = model.under(row.adaptation())
    find = adapted.adaptive if row.rule == "adaptive" else adapted.given
    record = find("gaussian", int(column))
    if row.shows == "lambda":
        return Value(float(record.inference.lambda_ or 0)) if record else None
    return percent([record])


def _table3_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Mean accuracy (%) over all severities of the column's noise."""
    return model.under(row.adaptation()).mean(column, adaptive=row.rule == "adaptive")


def _command(name: str, model: Results, row: PaperRow, column: str) -> str | None:
    """The command of the table's study; of the study of adaptations for their rows."""
    return study_command("adaptation" if row.adapt else name, model)


def _noise_table(name: str, value: Callable[..., Value | None]) -> TableStudy:
    return TableStudy(name, value=value, command=partial(_command, name), on_archives=True)


TABLE2 = _noise_table("table2", _table2_value)
TABLE3 = _noise_table("table3", _table3_value)


FIGURE2 = Study("figure2", needs_lambda=True)
FIGURE3 = Study("figure3", needs_lambda=True)


BENCHMARK = tuple(name for name, part in CORRUPTIONS.ours.items() if not part.extra)
"""The fifteen corruptions of Hendrycks & Dietterich (2019)."""


def _error(model: Results, row: PaperRow, column: str) -> Value | None:
    """Errors (%) and mCE, unlike other tables; None for mCE unless all fifteen corruptions are on record."""
    mean = model.error(list(alexnet()))
    if mean is None or column == "mean":
        return mean
    if column != "mCE":
        return model.error([column])
    errors = {name: model.error([name]) for name in alexnet()}
    relative = [error.value / alexnet()[name] for name, error in errors.items() if error]
    return Value(100 * fmean(relative)) if model.config.dataset == "imagenet" else None


def _error_command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command of the study; None for mCE on other data sets than ImageNet, for which AlexNet's errors are known."""
    is_empty = column == "mCE" and model.config.dataset != "imagenet"
    return None if is_empty else study_command("corruptions", model)


CORRUPTION_ERRORS = TableStudy("corruptions", value=_error, command=_error_command, on_archives=True, optional=True)
