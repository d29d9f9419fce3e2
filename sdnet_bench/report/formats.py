"""The formats of a report by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import UnknownNameError, UsageError
from ..names import several
from ..paper.render import write_tables
from ..paper.results import Results
from ..paper.tables import Table
from .figures import writing_figures
from .flat import write_cells, write_images
from .latex import write_latex
from .page import write_page

Writer = Callable[[Sequence[Results], Sequence[Table], Path], list[Path]]
"""Writes the files of a format into a folder, and returns their paths."""


FORMATS: dict[str, Writer] = {
    "csv": lambda results, tables, folder: write_tables(tables, folder, ["csv"]),
    "md": lambda results, tables, folder: write_tables(tables, folder, ["md"]),
    "latex": lambda results, tables, folder: write_latex(tables, folder),
    "html": lambda results, tables, folder: write_page(results, tables, folder),
    "parquet": lambda results, tables, folder: write_cells(results, folder),
    "parquet-images": lambda results, tables, folder: write_images(results, folder),
}
TEXTS = ("csv", "md")
"""The formats that are written by default; figures are drawn beside them."""


def check_formats(wanted: str | Sequence[str]) -> Sequence[str]:
    """One name or several, or TEXTS for none; a `UsageError` for a format that is unknown or cannot be written."""
    names = several(wanted)
    for name in names:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
        if name.startswith("parquet") and find_spec("pyarrow") is None:
            hint = 'Install it with `pip install "sdnet-bench[parquet]"`.'
            raise UsageError(f"{name} needs pyarrow, which is not installed", hint=hint)
    return names or TEXTS


def write(
    results: Sequence[Results], tables: Callable[[], Sequence[Table]], folder: Path, formats: Sequence[str]
) -> list[Path]:
    """Writes a report in these formats, with figures beside TEXTS. Returns the paths."""
    with writing_figures(results if set(formats) & set(TEXTS) else [], folder) as figures:
        made = tables()
        written = [path for name in formats for path in FORMATS[name](results, made, folder)]
    return [*written, *figures]
