"""`sdnet-bench reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api.screen import Screen
from . import completion, options
from .setup import Setup, sharing
from .shared import write_report


@sharing("device", "data_dir", "runs_dir")
def reproduce(
    setup: Setup,
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            help="By default the eight that the paper compares.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    published: Annotated[
        Path,
        typer.Option(
            help="Where finished models go: bfloat16 weights in files of 16 MB, records, card.",
            callback=options.at_home,
        ),
    ] = Path("published"),
    output: options.Output = options.OUTPUT,
    epochs: Annotated[int | None, typer.Option(min=1, help="Other than the recipes', for a rehearsal.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Images of every split, for a rehearsal.")] = None,
) -> None:
    """The paper in one command: train its networks, and measure all that its tables and figures show of them.

    Interrupted, it goes on where it was when it is typed again.
    """
    from ..api.publishing import publish
    from ..paper.reproduce import paper_recipes, reproduce
    from ..report.pictures import illustrate

    steps, names = paper_recipes(recipes or [], epochs, limit), []
    for bench in reproduce(steps, setup.runs_dir, setup.data_dir, setup.runtime(), Screen(), published=published):
        if bench.runtime.processes.is_main_process:
            illustrate(bench, limit)
        publish(bench)
        names.append(bench.model.name)
    write_report(names, output, [], published)
