"""Test-time adaptation beside lambda: what each method gains under noise, and what it needs for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data import SEVERITIES
from ..records import MIXED, NOISES, UNKNOWN, AdaptationSetting, Order
from ..records.statistics import Value
from .inference import rule_of
from .noise import BENCHMARK
from .published import PaperRow
from .results import Place, Results
from .study import TableStudy, study_command


@dataclass(frozen=True)
class Column:
    """The images of a column, over which accuracy is averaged, and the stream that they come in."""

    places: Sequence[Place]
    batch_size: int | None = None
    """None for that of the row."""
    order: Order = "shuffled"

    def adaptation(self, row: PaperRow) -> AdaptationSetting | None:
        """The adaptation of a row in this column."""
        return row.adaptation(self.batch_size, self.order)


def _every(*names: str) -> Column:
    """All severities of corruptions."""
    return Column([(name, severity) for name in names for severity in SEVERITIES])


COLUMNS: dict[str, Column] = {
    **{noise: _every(noise) for noise in NOISES},
    "15 corruptions": _every(*BENCHMARK),
    "clean": Column([(None, None)]),
    "mixed severities": Column([("gaussian", MIXED)]),
    "unknown type": Column([(UNKNOWN, MIXED)]),
    "gaussian 5": Column([("gaussian", 5)]),
    "gaussian 3": Column([("gaussian", 3)]),
    **{f"in batches of {size}": Column([("gaussian", 3)], size) for size in (1, 8, 64)},
    "sorted by label": Column([("gaussian", 3)], order="sorted"),
}
"""The columns but for the time of an image. Those after "gaussian 3" have its images in other streams."""
TIME = "time"


def fitted_to(row: PaperRow, column: Column) -> str | None:
    """The noise whose fit chooses lambda for a row in a column; None where there is none.

    "unknown" pools the fits of all noises. A rule of a known type needs images of one noise, and fits are made for the
    batch size of the row alone.
    """
    if column.adaptation(row) != row.adaptation() and column.order != "sorted":
        return None
    if str(row.rule).startswith("unknown"):
        return UNKNOWN
    (noise, *others) = {name for name, _ in column.places}
    return noise if noise in NOISES and not others else None


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Mean accuracy (%) in a column, or the time of an image; all rows on the same images."""
    if column == TIME:
        return _time(model, row)
    asked = COLUMNS[column]
    digest, adapted = model.adapted_images(asked.places), model.under(asked.adaptation(row))
    noise = fitted_to(row, asked) if row.rule else None
    choice = rule_of(adapted, row.rule, noise) if row.rule and noise else adapted.trained_lambda
    if digest is None or (row.rule and not (noise and choice)):
        return None
    return adapted.over(asked.places, choice, digest=digest)


def _time(model: Results, row: PaperRow) -> Value | None:
    """Time of an image under Gaussian noise 3, relative to the network as trained on the same machine.

    None where lambda is chosen for a set, which takes two passes that are measured apart, and for a time that several
    lambdas of a sweep share.
    """
    if row.rule == "set":
        return None
    found, plain = _value(model, row, "gaussian 3"), _value(model, row.plain, "gaussian 3")
    if found is None or plain is None:
        return None
    one, other = found.records[0].provenance, plain.records[0].provenance
    is_alike = one.get("device") == other.get("device") and "cells" not in one | other
    return Value(one["seconds"] / other["seconds"]) if is_alike and "seconds" in one and other.get("seconds") else None


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command of the study; None where a rule does not apply, and for a time, which is of one machine."""
    asked = COLUMNS.get(column)
    is_empty = asked is None or (row.rule is not None and fitted_to(row, asked) is None)
    return None if is_empty else study_command("adaptation", model)


ADAPTATION = TableStudy("adaptation", value=_value, command=_command, of_the_machine=(TIME,), optional=True)
