"""`sdnet-bench report`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..names import FORMATS
from . import completion, options
from .setup import Setup, sharing
from .shared import write_report


@sharing("runs_dir")
def report(
    setup: Setup,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL", help="By default all with records in the runs folder.", autocompletion=completion.models
        ),
    ] = None,
    output: options.Output = options.OUTPUT,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar=f"[{'|'.join(FORMATS)}]",
            help="May be given several times; by default csv and md. html is one page of all, parquet has all records, "
            "parquet-images a row per image.",
            autocompletion=completion.among(FORMATS),
        ),
    ] = None,
) -> None:
    """Write the paper's tables with its numbers, ours, and the differences; and the figures, or a page of all."""
    write_report(models or [], output, format_ or [], setup.runs_dir)
