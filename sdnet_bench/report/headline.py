"""The table of the paper's main figures beside those of trained networks, for the README."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..paper.accuracy import TABLE1
from ..paper.attacks import COLUMNS, TABLE4
from ..paper.noise import TABLE2, TABLE3
from ..paper.render import markdown_table
from ..paper.results import Results
from ..paper.robustness import Robustness
from ..paper.study import TableStudy
from ..paper.tables import Entry, build_tables
from ..records import Threat
from ..records.statistics import show

HEADER = ("", "", "paper", "here")
TRANSFER, MATCHED = (tuple(name for name, (_, of) in COLUMNS.items() if of == by) for by in ("transfer", "matched"))
TUNED = "SDNet-18 (after tuning lambda)"
ATTACKS = "PGD, Linf 8/255 and L2 0.5"
NOISES = "gaussian, shot, speckle, impulse; mean of 1 to 5"


class Line(NamedTuple):
    """A line of the table, and the table and columns of its figures."""

    condition: str
    subject: str
    table: TableStudy
    row: str
    columns: tuple[str, ...] | None = None
    """Columns of the figures; None for all columns of the table, in order."""
    digits: int = 1
    """Number of decimals of an accuracy."""


LINES = (
    Line("clean", "ResNet-18", TABLE1, "ResNet-18", ("Top-1 Acc (%)",), digits=2),
    Line("clean", "SDNet-18", TABLE1, "SDNet-18", ("Top-1 Acc (%)",), digits=2),
    Line("Gaussian noise, severity 1 to 5", "ResNet-18", TABLE2, "ResNet-18"),
    Line("Gaussian noise, severity 1 to 5", "SDNet-18, lambda 0.1", TABLE2, "SDNet-18 w/ lambda = 0.1"),
    Line("Gaussian noise, severity 1 to 5", "SDNet-18, Algorithm 1", TABLE2, "SDNet-18 w/ adaptive lambda"),
    Line("", "lambda that it chose", TABLE2, "lambda from linear fitting"),
    Line(NOISES, "ResNet-18", TABLE3, "ResNet-18"),
    Line(NOISES, "SDNet-18, lambda 0.1", TABLE3, "SDNet-18 w/ lambda = 0.1"),
    Line(NOISES, "SDNet-18, Algorithm 1", TABLE3, "SDNet-18 w/ adaptive lambda"),
    Line(ATTACKS, "ResNet-18", TABLE4, "ResNet-18", TRANSFER),
    Line(ATTACKS, "SDNet-18, lambda 0.1", TABLE4, "SDNet-18 w/ lambda = 0.1", TRANSFER),
    Line(ATTACKS, "SDNet-18, tuned lambda, attacked at lambda 0.1", TABLE4, TUNED, TRANSFER),
    Line(ATTACKS, "SDNet-18, tuned lambda, attacked at that lambda", TABLE4, TUNED, MATCHED),
)


def headline(results: Sequence[Results]) -> str:
    """The table as Markdown, a line for each of `LINES`, for models of one data set, one per architecture."""
    tables = {table.name: table.entries for table in build_tables(results, [TABLE1, TABLE2, TABLE3, TABLE4])}
    return markdown_table(HEADER, _lines(tables))


def budgets(results: Sequence[Results], radii: Sequence[float] = (0.5, 0.2)) -> str:
    """A Markdown table of the paper's figures under L2 0.5 beside transferred PGD with these radii."""
    models = {result.name: result for result in results}
    entries = [entry for table in build_tables(results, [TABLE4]) for entry in table.entries]
    published = [entry for entry in entries if entry.column == TRANSFER[1] and entry.paper is not None and entry.model]
    lines = [
        [
            entry.row,
            _paper(entry),
            *(_under(Threat("l2", radius), models[str(entry.model)], entry.row == TUNED) for radius in radii),
        ]
        for entry in published
    ]
    return markdown_table(["", "paper, eps 0.5", *(f"here, eps {radius:g}" for radius in radii)], lines)


def _under(threat: Threat, model: Results, is_tuned: bool) -> str:
    """Accuracy at the lambda of training, or at the lambda tuned for this radius, which is added to the text."""
    found = Robustness.find(model.records, threat, model.trained_lambda)
    choice = "tuned" if is_tuned else "trained"
    if found is None or choice not in found.classifiers:
        return "—"
    at = f", lambda {found.classifiers[choice]:g}" if is_tuned else ""
    return show(found.value("transfer", choice)) + at


def _lines(tables: dict[str, tuple[Entry, ...]]) -> Iterator[list[str]]:
    """The lines of the table; a condition is printed only in its first line."""
    before = None
    for line in LINES:
        entries = [entry for entry in tables[line.table.name] if entry.row == line.row]
        entries = [entry for entry in entries if line.columns is None or entry.column in line.columns]
        condition = line.condition if line.condition != before else ""
        before = line.condition
        yield [
            condition,
            line.subject,
            _join(map(_paper, entries)),
            _join(_ours(entry, line.digits) for entry in entries),
        ]


def _join(figures: Iterable[str]) -> str:
    found = list(figures)
    return " ".join(found) if set(found) != {"—"} else "—"


def _paper(entry: Entry) -> str:
    return "—" if entry.paper is None else f"{entry.paper:g}"


def _ours(entry: Entry, digits: int) -> str:
    """Our number as text: an accuracy in percent, or a lambda with two decimals."""
    if entry.ours is None:
        return "—"
    return f"{entry.ours.value:.{2 if entry.ours.low is None else digits}f}"
