"""Sequences that show themselves as tables on a terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ..errors import printable

if TYPE_CHECKING:
    from pandas import DataFrame

Row = Mapping[str, Any]
Part = TypeVar("Part")


def text_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of a table of rows with the same keys, of any width; text is left-aligned. None for no rows."""
    if not rows:
        return
    lines = [list(rows[0]), *_cells_of(rows)]
    columns = zip(*(row.values() for row in rows), strict=True)
    are_words = [all(isinstance(value, str) for value in column) for column in columns]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, are_words, strict=True)
        yield "  ".join(text.ljust(width) if is_word else text.rjust(width) for text, width, is_word in cells).rstrip()


def html_table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table of escaped texts in HTML."""
    body = "".join(f"<tr>{_cells('td', line)}</tr>" for line in lines)
    return f"<table><thead><tr>{_cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)


def _cells_of(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """The cells of each row as texts."""
    return zip(*map(_column, zip(*(row.values() for row in rows), strict=True)), strict=True)


def _column(values: Sequence[object]) -> list[str]:
    """The values of a column as texts on one line: numbers in four digits, all with as many decimals as one needs."""
    texts = [f"{value:.4g}" for value in values if isinstance(value, float)]
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    digits = ".4g" if any("e" in text for text in texts) else f".{decimals}f"
    return [f"{value:{digits}}" if isinstance(value, float) else _as_text(value) for value in values]


def _as_text(value: object) -> str:
    return "—" if value is None else printable(str(value)).translate({9: " ", 10: " "})


@dataclass(frozen=True)
class Several(Sequence[Part], Generic[Part]):
    """An immutable sequence that shows itself as a table."""

    parts: tuple[Part, ...]

    @overload
    def __getitem__(self, at: int) -> Part: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Part]: ...
    def __getitem__(self, at: int | slice) -> Part | Sequence[Part]:
        return replace(self, parts=self.parts[at]) if isinstance(at, slice) else self.parts[at]

    def __len__(self) -> int:
        return len(self.parts)

    def rows(self) -> list[Row]:
        """The rows of the table that is shown, with the same keys."""
        raise NotImplementedError

    def data(self) -> list[Row]:
        """All fields of every part, as `--json` prints them."""
        raise NotImplementedError

    def to_frame(self) -> DataFrame:
        """`data` as a pandas DataFrame, one row a part."""
        import pandas

        return pandas.DataFrame(self.data())

    def __str__(self) -> str:
        return "\n".join(text_lines(self.rows()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = self.rows()
        return html_table(rows[0] if rows else (), _cells_of(rows))
