"""`sdnet-bench demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def demo(
    every: Annotated[bool, typer.Option("--all", help="All ten networks instead of two: Tables 1 to 6.")] = False,
    output: Annotated[Path, typer.Option(help="Where the tables go.")] = Path("report"),
    seed: options.Seed = 0,
    device: options.Device = "auto",
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
) -> None:
    """The whole path on handwritten digits, offline: train, sweep, fit, evaluate, attack, report."""
    from ..engine.runtime import Runtime
    from ..paper.reproduce import demo_recipes, reproduce
    from .screen import Screen
    from .shared import publish, write_report

    names = []
    for bench in reproduce(demo_recipes(seed, every=every), runs_dir, data_dir, Runtime.create(device), Screen()):
        publish(bench)
        names.append(bench.model.name)
    write_report(names, output, [], runs_dir)
