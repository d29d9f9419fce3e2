"""The paper's main figures beside those of trained networks, in one table: what README opens on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .render import markdown_table
from .results import Results
from .tables import Entry, build_tables

HEADER = ("", "", "paper", "here")
TRANSFER, MATCHED = ("linf 8/255 transfer", "l2 0.5 transfer"), ("linf 8/255 matched", "l2 0.5 matched")
NOISES = "gaussian, shot, speckle, impulse; mean of 1 to 5"


class Line(NamedTuple):
    """A line of the table, and where its figures stand."""

    condition: str
    subject: str
    table: str
    row: str
    columns: tuple[str, ...] | None = None
    """None for all of the table's, in their order."""
    digits: int = 1
    """After the point, of an accuracy."""


LINES = (
    Line("clean", "ResNet-18", "table1", "ResNet-18", ("Top-1 Acc (%)",), digits=2),
    Line("clean", "SDNet-18", "table1", "SDNet-18", ("Top-1 Acc (%)",), digits=2),
    Line("Gaussian noise, severity 1 to 5", "ResNet-18", "table2", "ResNet-18"),
    Line("Gaussian noise, severity 1 to 5", "SDNet-18, lambda 0.1", "table2", "SDNet-18 w/ lambda = 0.1"),
    Line("Gaussian noise, severity 1 to 5", "SDNet-18, Algorithm 1", "table2", "SDNet-18 w/ adaptive lambda"),
    Line("", "lambda that it chose", "table2", "lambda from linear fitting"),
    Line(NOISES, "ResNet-18", "table3", "ResNet-18"),
    Line(NOISES, "SDNet-18, lambda 0.1", "table3", "SDNet-18 w/ lambda = 0.1"),
    Line(NOISES, "SDNet-18, Algorithm 1", "table3", "SDNet-18 w/ adaptive lambda"),
    Line("PGD, Linf 8/255 and L2 0.5", "ResNet-18", "table4", "ResNet-18", TRANSFER),
    Line("PGD, Linf 8/255 and L2 0.5", "SDNet-18, lambda 0.1", "table4", "SDNet-18 w/ lambda = 0.1", TRANSFER),
    Line("made at lambda 0.1", "SDNet-18, tuned lambda", "table4", "SDNet-18 (after tuning lambda)", TRANSFER),
    Line("made at the tuned lambda", "SDNet-18, tuned lambda", "table4", "SDNet-18 (after tuning lambda)", MATCHED),
)


def headline(results: Sequence[Results]) -> str:
    """Markdown, a line for each of `LINES`, of models of one data set, one for each architecture."""
    tables = {table.name: table.entries for table in build_tables(results)}
    return markdown_table(HEADER, _lines(tables))


def _lines(tables: dict[str, tuple[Entry, ...]]) -> Iterator[list[str]]:
    """A condition is printed where it begins."""
    before = None
    for line in LINES:
        entries = [entry for entry in tables[line.table] if entry.row == line.row]
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
    """An accuracy in percent; a lambda, which has no interval, to a hundredth."""
    if entry.ours is None:
        return "—"
    return f"{entry.ours.value:.{2 if entry.ours.low is None else digits}f}"
