"""The paper's tables and figures of one or several networks, and the report of them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UnknownNameError, UsageError
from ..paper.registry import TABLES
from ..paper.render import frame, grid_lines, to_markdown
from ..paper.results import Results
from ..paper.tables import Table, build_tables
from ..report.figures import drawings
from ..report.formats import check_formats, write
from .rows import html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper with our numbers beside the published ones."""

    table: Table

    def to_frame(self) -> DataFrame:
        """One row a number: `paper`, `ours` with its interval and n, `difference`, `p`, and the command of a gap."""
        return frame(self.table)

    def __str__(self) -> str:
        return to_markdown(self.table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *lines = grid_lines(self.table)
        return f"<h4>{self.table.title}, {self.table.dataset}</h4>{html_table(head, lines)}"


@dataclass(frozen=True, repr=False)
class Comparison:
    """The records of networks, as the paper's tables and figures."""

    results: Sequence[Results]

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(result.name for result in self.results)}>"

    def table(self, which: int | str) -> PaperTable:
        """A table by its number (1 to 6) or name ("adaptation", "inference", "corruptions"), of the first data set.

        A `UsageError` where nothing was measured for it.
        """
        name = f"table{which}" if isinstance(which, int) else which
        studies = [study for study in TABLES if study.name == name]
        if not studies:
            raise UnknownNameError("table", name, [study.name for study in TABLES])
        found = build_tables(self.results, studies)
        if not found:
            raise UsageError(f"nothing was measured for {name}", hint=f'`.study("{name}")` measures it.')
        return PaperTable(found[0])

    @cached_property
    def tables(self) -> list[PaperTable]:
        """All tables for which anything was measured, for every data set."""
        return [PaperTable(table) for table in build_tables(self.results)]

    def figure(self, which: int | str) -> Figure:
        """A figure of the first network that has records for it: 2, 3, or a name such as "robust-lambda".

        An `UnknownNameError`, with the names that there are, where no network has.
        """
        name = f"figure{which}" if isinstance(which, int) else which
        for result in self.results:
            for drawing in drawings(result):
                if drawing.name == name:
                    return drawing.figure()
        known = [drawing.name for result in self.results for drawing in drawings(result)]
        raise UnknownNameError("figure", name, known, hint="It is drawn where there are records for it.")

    def report(self, output: Path | str = "report", format_: str | Sequence[str] = ()) -> list[Path]:
        """Writes a report into a folder, and returns the paths.

        Formats are "csv" and "md", by default both, with figures beside them; "latex"; "html", one page of all;
        "parquet", all records; and "parquet-images", a row per image.
        """
        return write(self.results, lambda: [each.table for each in self.tables], Path(output), check_formats(format_))
