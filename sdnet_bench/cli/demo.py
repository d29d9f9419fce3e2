"""`sdnet-bench demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..api.screen import Screen
from . import options
from .setup import Setup, sharing
from .shared import write_report


@sharing("seed", "device", "data_dir", "runs_dir")
def demo(
    setup: Setup,
    every: Annotated[bool, typer.Option("--all", help="All ten networks instead of two: Tables 1 to 6.")] = False,
    output: options.Output = options.OUTPUT,
) -> None:
    """The whole path on handwritten digits, offline: train, sweep, fit, evaluate, attack, report."""
    from ..api.publishing import publish
    from ..paper.reproduce import demo_recipes, reproduce

    recipes, names = demo_recipes(setup.seed, every=every), []
    for bench in reproduce(recipes, setup.runs_dir, setup.data_dir, setup.runtime(), Screen()):
        publish(bench)
        names.append(bench.model.name)
    write_report(names, output, [], setup.runs_dir)
