"""Tables as LaTeX with booktabs, in the layout of the paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from ..files import replacing
from ..paper.render import paper_number
from ..paper.tables import Entry, Table
from ..records.statistics import Value, show

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "—": "---",
}
"""LaTeX of characters with a meaning of their own."""
TEMPLATE = r"""% {name} on {dataset}, by sdnet-bench; needs \usepackage{{booktabs,graphicx}}
{notes}\begin{{table}}
  \centering
  \caption{{{caption}}}
  \label{{tab:{label}}}
  \resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{%
  \begin{{tabular}}{{ll{columns}}}
    \toprule
    {header} \\
    \midrule
{body}
    \bottomrule
  \end{{tabular}}}}
\end{{table}}
"""
INTERVALS = r"Intervals are Wilson's at 95\,\%, over test images."


def write_latex(tables: Iterable[Table], folder: Path) -> list[Path]:
    """Writes one file `<dataset>-<table>.tex` per table, each a `table` to `\\input`, and returns the paths."""
    written = []
    for table in tables:
        written.append(folder / f"{table.dataset}-{table.name}.tex")
        with replacing(written[-1]) as scratch:
            scratch.write_text(to_latex(table), encoding="utf-8")
    return written


def to_latex(table: Table) -> str:
    """A table with a line per row for the paper, and one for each model that was measured."""
    columns = list(dict.fromkeys(entry.column for entry in table.entries))
    rows = [list(_lines(list(entries))) for _, entries in groupby(table.entries, key=lambda entry: entry.row)]
    return TEMPLATE.format(
        name=table.name,
        dataset=table.dataset,
        notes="".join(f"% {' '.join(note.split())}\n" for note in table.notes),
        caption=f"{_caption(table.title)}. {escape(table.where)} {INTERVALS}",
        label=re.sub(r"[^\w-]", "-", f"{table.dataset}-{table.name}"),
        columns="r" * len(columns),
        header=" & ".join(["", "", *map(escape, columns)]),
        body="\n    \\addlinespace\n".join("\n".join(lines) for lines in rows if lines),
    )


def _caption(title: str) -> str:
    """A title without its number, which LaTeX gives."""
    text = re.sub(r"^Table \d+: ", "", title)
    return escape(text[:1].upper() + text[1:])


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    """The lines of a row; only the first of them names it."""
    title, columns = escape(entries[0].row), len({entry.column for entry in entries})
    models = [entries[at : at + columns] for at in range(0, len(entries), columns)]
    lines = [["paper", *map(escape, map(paper_number, models[0]))]] * any(each.paper is not None for each in models[0])
    lines += [_measured(model) for model in models if any(entry.ours for entry in model)]
    for place, line in enumerate(lines):
        yield f"    {' & '.join(['' if place else title, *line])} \\\\"


def _measured(entries: Sequence[Entry]) -> list[str]:
    remark = f" ({entries[0].remark})" if entries[0].remark else ""
    return [escape(f"{entries[0].model}{remark}"), *(_number(entry.ours) for entry in entries)]


def _number(value: Value | None) -> str:
    """A number, with its interval in small type."""
    number, _, interval = show(value).partition(" ")
    return escape(number) + (rf" {{\scriptsize {interval}}}" if interval else "")


def escape(text: str) -> str:
    """Text with LaTeX's special characters escaped, and the word lambda as the letter."""
    plain = "".join(SPECIAL.get(character, character) for character in text)
    return re.sub(r"\blambda(?:\\_(\w))?\b", lambda found: _letter(found[1]), plain)


def _letter(index: str | None) -> str:
    return r"$\lambda$" if index is None else rf"$\lambda_{index}$"
