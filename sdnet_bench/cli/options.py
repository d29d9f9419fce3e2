"""Every option of the command line, defined once, and how those that are text are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError

Model = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="A run, a shipped model or a folder; by default the one trained last."),
]
Corruption = Annotated[str, typer.Option(help="gaussian, shot, speckle, impulse, one of a plugin, or all.")]
Severity = Annotated[str, typer.Option(help="1 to 5, or all.")]
Lambdas = Annotated[str, typer.Option(help="Grid of lambdas: first:last:step, or a list with commas.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take so many images, spread evenly over the split.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of whatever is drawn at random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
DataDir = Annotated[Path, typer.Option(envvar="SDNET_BENCH_DATA", help="Where data sets lie.")]
RunsDir = Annotated[Path, typer.Option(envvar="SDNET_BENCH_RUNS", help="Where runs and their records go.")]

DATA_DIR = Path("data")
RUNS_DIR = Path("runs")


def number(text: str, what: str) -> float:
    """`text` as a number, or a `UsageError`."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{what} is no number", expected="a number", got=text) from None


def corruption_names(text: str) -> list[str]:
    """ "all" or one name to the names of corruptions."""
    from ..data import CORRUPTIONS

    return list(CORRUPTIONS) if text == "all" else [CORRUPTIONS[text].name]


def severity_levels(text: str) -> list[int]:
    """ "all" or one number to severities."""
    from ..data import SEVERITIES

    if text == "all":
        return list(SEVERITIES)
    if text not in map(str, SEVERITIES):
        raise UsageError("severity out of range", expected="1 to 5, or all", got=text)
    return [int(text)]
