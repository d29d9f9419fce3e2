"""Test-time adaptation beside lambda: what each method gains under noise, and what it needs for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..adaptations import chain_of
from ..csc import csc_layers
from ..data import SEVERITIES
from ..errors import UsageError
from ..records import MIXED, NOISES, UNKNOWN, AdaptationSetting, Cell, Order, Record
from ..records.statistics import Value
from ..studies.algorithm1 import choose_and_measure, require_fits
from ..studies.workbench import Workbench
from .inference import rule_of
from .noise import BENCHMARK
from .plan import PlanStep, StudySize, TableStudy, fit_steps, measuring_step, study_command
from .published import PaperRow, published
from .results import Place, Results


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


def _plan(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps: the images of all columns, for each row of the network."""
    for row in _rows(bench):
        if row.rule is None:
            cells = [cell for column in COLUMNS.values() for cell in _cells(bench, row, column, size)]
            yield measuring_step(bench, row.name, cells)
        else:
            yield from fit_steps(bench, NOISES, size, bench.inference(adaptation=row.adaptation()))
            yield _rule_step(bench, row, size)


def _rows(bench: Workbench) -> list[PaperRow]:
    """The rows of the network: those of its architecture, or those of one with or without CSC-layers."""
    rows, name = published()["adaptation"].rows, bench.model.config.backbone.architecture
    usual = "sdnet18" if csc_layers(bench.model.net) else "resnet18"
    own = [row for row in rows if row.backbone == name] or [row for row in rows if row.backbone == usual]
    return [row for row in own if _applies(bench, row)]


def _applies(bench: Workbench, row: PaperRow) -> bool:
    """Whether the network can be adapted as a row says; a note where it cannot, as without batch norm."""
    setting, net = row.adaptation(), bench.model.net
    try:
        with chain_of(setting)(net, net) if setting else nullcontext():
            return True
    except UsageError as error:
        bench.progress.note(f"left out: {row.name}: {error}")
        return False


def _cells(bench: Workbench, row: PaperRow, column: Column, size: StudySize) -> list[Cell]:
    """The cells of a row in a column, at lambda_0."""
    inference = bench.inference(adaptation=column.adaptation(row))
    found = [bench.images("test", size.tested, corruption=name, severity=level) for name, level in column.places]
    return [bench.cell(images, inference) for images in found]


def _rule_step(bench: Workbench, row: PaperRow, size: StudySize) -> PlanStep:
    """The step of a row whose lambda a rule chooses."""
    chosen = {name: column for name, column in COLUMNS.items() if _fitted_to(row, column)}
    cells = {name: _cells(bench, row, column, size) for name, column in chosen.items()}

    def run() -> Sequence[Record]:
        records: list[Record] = []
        for name, column in chosen.items():
            by = cells[name][0].inference
            (fit,) = require_fits(bench, [str(_fitted_to(row, column))], by)
            records += choose_and_measure(bench, fit, cells[name], "image" if "image" in str(row.rule) else "set")
        return records

    flat = list(dict.fromkeys(cell for each in cells.values() for cell in each))
    return PlanStep(row.name, flat, run, later=bench.work(flat))


def _fitted_to(row: PaperRow, column: Column) -> str | None:
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
    noise = _fitted_to(row, asked) if row.rule else None
    choice = rule_of(adapted, row.rule, noise) if row.rule and noise else adapted.trained_lambda
    if digest is None or (row.rule and not (noise and choice)):
        return None
    return adapted.over(asked.places, choice, digest=digest)


def _time(model: Results, row: PaperRow) -> Value | None:
    """Time of an image under Gaussian noise 3, relative to the network as trained on the same machine.

    None where lambda is chosen for a set, which takes two passes that are measured apart.
    """
    if row.rule == "set":
        return None
    found, plain = _value(model, row, "gaussian 3"), _value(model, row.plain, "gaussian 3")
    if found is None or plain is None:
        return None
    one, other = found.records[0].provenance, plain.records[0].provenance
    is_alike = one.get("device") == other.get("device") and "seconds" in one and other.get("seconds")
    return Value(one["seconds"] / other["seconds"]) if is_alike else None


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command of the study; None where a rule does not apply, and for a time, which is of one machine."""
    asked = COLUMNS.get(column)
    is_empty = asked is None or (row.rule is not None and _fitted_to(row, asked) is None)
    return None if is_empty else study_command("adaptation", model)


ADAPTATION = TableStudy("adaptation", _plan, value=_value, command=_command, of_the_machine=(TIME,), optional=True)
