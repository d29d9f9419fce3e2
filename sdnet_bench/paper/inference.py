"""Robust inference on streams of mixed severity: lambda fixed, per set, per image, for known and unknown types."""

from __future__ import annotations

from ..records import MIXED, NOISES, UNKNOWN
from ..records.lambda_fit import known_types_rule
from ..records.statistics import Value, percent
from .published import PaperRow
from .results import Results
from .study import TableStudy, study_command

COLUMNS = {f"{noise}{clean}": (noise, bool(clean)) for noise in (*NOISES, UNKNOWN) for clean in ("", " clean")}
"""By column: the noise, and whether the column is of clean images with the lambda of that noise's rule."""


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) on a stream of mixed severity, or on clean images with the same rule for lambda."""
    noise, is_clean = COLUMNS[column]
    corruption, severity = (None, None) if is_clean else (noise, MIXED)
    if row.rule is None:
        return percent([model.given(corruption, severity, beside=model.given(noise, MIXED))])
    rule = rule_of(model, row.rule, noise)
    return percent([model.chosen(rule, corruption, severity)]) if rule else None


def rule_of(model: Results, kind: str, noise: str) -> str | None:
    """The rule of a row kind: "set" or "image" for a known type of noise, "unknown set" or "unknown image"."""
    knowledge, _, per = kind.rpartition(" ")
    if noise == UNKNOWN and not knowledge:
        fits = tuple(fit for fit in map(model.fit, NOISES) if fit)
        return known_types_rule(fits) if per == "image" and len(fits) == len(NOISES) else None
    fit = model.pooled if knowledge else model.fit(noise)
    if fit is None:
        return None
    return fit.per_image_rule if per == "image" else fit.rule


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command of the study; None for the stream of all types with a rule that needs the type."""
    is_empty = COLUMNS[column][0] == UNKNOWN and row.rule in ("set", "image")
    return None if is_empty else study_command("inference", model)


INFERENCE = TableStudy("inference", value=_value, command=_command, needs_lambda=True, optional=True)
