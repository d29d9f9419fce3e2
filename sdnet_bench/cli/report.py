"""`sdnet-bench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def report(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="By default all models with records.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the tables go.")] = Path("report"),
    format_: Annotated[
        list[str] | None, typer.Option("--format", help="csv or md; may be given twice. By default both.")
    ] = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
) -> None:
    """Write the paper's tables with its numbers, ours, and the differences; and the figures."""
    from ..report.figures import write_figures
    from ..report.render import check_formats, to_markdown, write_tables
    from ..report.results import find_results
    from ..report.tables import build_tables
    from .screen import Screen, say

    formats = check_formats(format_ or [])
    results = find_results(models or [], runs_dir)
    tables = build_tables(results)
    written = [*write_tables(tables, output, formats), *write_figures(results, output)]
    say("\n".join(to_markdown(table) for table in tables))
    Screen().note(f"{len(written)} files in {output}")
