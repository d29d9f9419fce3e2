"""Every option of the command line, defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="A run, a shipped model or a folder; by default the one trained last."),
]
Corruption = Annotated[str, typer.Option(help="gaussian, shot, speckle, impulse, or all.", show_default=False)]
Severity = Annotated[str, typer.Option(help="1 to 5, or all.")]
Lambdas = Annotated[str, typer.Option(help="Grid of lambdas: first:last:step, or a list with commas.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take so many images, spread evenly over the split.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Seed = Annotated[int, typer.Option(min=0, help="Of whatever is drawn at random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
DataDir = Annotated[Path, typer.Option(envvar="SDNET_BENCH_DATA", help="Where data sets lie.")]
RunsDir = Annotated[Path, typer.Option(envvar="SDNET_BENCH_RUNS", help="Where runs and their records go.")]

DATA_DIR = Path("data")
RUNS_DIR = Path("runs")
