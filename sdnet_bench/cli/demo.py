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
    from ..studies.demo import run_demo
    from .report import report
    from .screen import Screen
    from .shared import publish

    screen = Screen()
    names = []
    for bench in run_demo(runs_dir, data_dir, device, seed, screen, every=every):
        publish(bench)
        names.append(bench.model.name)
    report(names, output, None, runs_dir)
