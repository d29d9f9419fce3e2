"""Renders tables as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from csv import DictWriter
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import replacing
from ..records.statistics import show, show_p
from .tables import Entry, Table

if TYPE_CHECKING:
    from pandas import DataFrame


def to_markdown(table: Table) -> str:
    """A table with its title, notes on the numbers, and the commands that fill the gaps."""
    parts = [
        f"### {table.title}",
        f"{table.where} Intervals are Wilson's at 95 %, p is McNemar's.",
        grid(table),
        "\n".join(f"- {note}" for note in table.notes),
    ]
    if gaps := _gaps(table):
        parts.append("To fill the gaps: " + ", ".join(f"[{number}] `{command}`" for command, number in gaps.items()))
    rows = dict.fromkeys(entry.row for entry in table.entries if entry.paper is not None)
    there = {entry.row for entry in table.entries if entry.ours is not None or entry.command is not None}
    absent = [row for row in rows if row not in there]
    if table.name.startswith("table") and 0 < len(absent) < len(rows):  # for images of one's own nothing has a recipe
        parts.append(f"There is no recipe for these yet: {', '.join(absent)}.")
    return "\n\n".join(filter(None, parts)) + "\n"


def grid(table: Table) -> str:
    """The cells of a table as Markdown."""
    head, *lines = grid_lines(table)
    return markdown_table(head, lines)


def grid_lines(table: Table) -> list[list[str]]:
    """The cells as text, first the head: lines of the paper, of each model, of the differences, and of p."""
    columns, gaps = dict.fromkeys(entry.column for entry in table.entries), _gaps(table)
    return [["", "", *columns], *(line for row in _grouped(table.entries, "row") for line in _row_lines(row, gaps))]


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A pipe table in Markdown."""
    rule = ["---"] * 2 + ["---:"] * (len(header) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def _row_lines(entries: Sequence[Entry], gaps: dict[str, int]) -> list[list[str]]:
    """The lines of a row: the paper's numbers, then for each model its numbers, the differences and p."""
    models, title = _grouped(entries, "model"), entries[0].row
    lines = []
    if any(entry.paper is not None for entry in models[0]):
        lines.append([title, "paper", *map(paper_number, models[0])])
        title = ""
    for model in models:
        if any(entry.ours is not None or entry.command is not None for entry in model):
            lines += _model_lines(title, model, gaps)
            title = ""
    return lines


def paper_number(entry: Entry) -> str:
    """The paper's number as text; "—" where it has none."""
    return "—" if entry.paper is None else f"{entry.paper:g}"


def _model_lines(title: str, model: Sequence[Entry], gaps: dict[str, int]) -> Iterator[list[str]]:
    remark = f" ({model[0].remark})" if model[0].remark else ""
    found = [(entry.ours, gaps.get(entry.command or "")) for entry in model]
    ours = [f"— [{gap}]" if gap and not value else show(value) for value, gap in found]
    yield [title, f"{model[0].model or 'ours'}{remark}", *ours]
    if any(entry.difference is not None for entry in model):
        yield ["", "difference", *("" if entry.difference is None else signed(entry.difference) for entry in model)]
    if any(entry.p is not None for entry in model):
        yield ["", f"p against {model[0].against}", *("" if entry.p is None else show_p(entry.p) for entry in model)]


def signed(difference: float) -> str:
    """A difference with its sign; what rounds to nothing is "+0.00"."""
    return f"{difference:+,.0f}" if abs(difference) >= 100 else f"{round(difference, 2) + 0.0:+.2f}"


def _gaps(table: Table) -> dict[str, int]:
    """The numbers of the commands that fill empty cells."""
    missing = [entry.command for entry in table.entries if entry.ours is None and entry.command]
    return {command: number for number, command in enumerate(dict.fromkeys(missing), start=1)}


def _grouped(entries: Iterable[Entry], by: str) -> list[list[Entry]]:
    groups: dict[str | None, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(getattr(entry, by), []).append(entry)
    return list(groups.values())


def to_csv(table: Table) -> str:
    """A table as CSV, one line per entry."""
    text, rows = StringIO(), _rows(table)
    writer = DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def frame(table: Table) -> DataFrame:
    """A table as a pandas DataFrame, one row per entry."""
    import pandas

    return pandas.DataFrame(_rows(table)).astype({"n": "Int64"})


def _rows(table: Table) -> list[dict[str, str | float | None]]:
    return [
        {
            "row": entry.row,
            "column": entry.column,
            "paper": entry.paper,
            "model": entry.model,
            "ours": entry.ours and entry.ours.value,
            "low": entry.ours and entry.ours.low,
            "high": entry.ours and entry.ours.high,
            "n": entry.ours and entry.ours.n,
            "remark": entry.remark,
            "difference": entry.difference,
            "against": entry.against,
            "p": entry.p,
            "command": entry.command if entry.ours is None else None,
        }
        for entry in table.entries
    ]


RENDERERS: dict[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown}


def write_tables(tables: Iterable[Table], folder: Path, formats: Iterable[str]) -> list[Path]:
    """Writes one file `<dataset>-<table>.<format>` per table and format, and returns the paths."""
    formats, written = list(formats), []
    for table in tables:
        for kind in formats:
            written.append(folder / f"{table.dataset}-{table.name}.{kind}")
            with replacing(written[-1]) as scratch:
                scratch.write_text(RENDERERS[kind](table), encoding="utf-8")
    return written
