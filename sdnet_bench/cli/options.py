"""Every option of the command line, defined once, and how those that are text are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import UnknownNameError, UsageError

Model = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="A run, a shipped model or a folder; by default the one trained last."),
]
Corruption = Annotated[
    str, typer.Option(help="A name; all (the four noises); or a group: noise, blur, weather, digital.")
]
Severity = Annotated[str, typer.Option(help="1 to 5, or all.")]
InferenceSteps = Annotated[int | None, typer.Option(min=1, help="FISTA iterations; by default as in training.")]
Lambdas = Annotated[str, typer.Option(help="Grid of lambdas: first:last:step, or a list with commas.")]
Layers = Annotated[str, typer.Option(help="CSC-layers that lambda is changed in: all, or stem for the first alone.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take so many images, spread evenly over the split.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of whatever is drawn at random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
DataDir = Annotated[Path, typer.Option(envvar="SDNET_BENCH_DATA", help="Where data sets lie.")]
RunsDir = Annotated[Path, typer.Option(envvar="SDNET_BENCH_RUNS", help="Where runs and their records go.")]

Choice = TypeVar("Choice", bound=str)

if TYPE_CHECKING:
    from ..data.stream import Severity as SeverityLevel

DATA_DIR = Path("data")
RUNS_DIR = Path("runs")


def number(text: str, what: str) -> float:
    """`text` as a number, or a `UsageError`."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{what} is no number", expected="a number", got=text) from None


def one_of(text: str, kind: str, choices: Sequence[Choice]) -> Choice:
    """`text` as one of the choices, or an `UnknownNameError`."""
    for choice in choices:
        if choice == text:
            return choice
    raise UnknownNameError(kind, text, choices)


def corruption_names(text: str, *, streams: bool = False) -> list[str]:
    """A name, a group or "all" to the names of corruptions; "unknown" where streams of all noises are meant too."""
    from ..data import CORRUPTIONS, NOISES, UNKNOWN

    if text == "all":
        return list(NOISES)
    if streams and text == UNKNOWN:
        return [UNKNOWN]
    members = [name for name, part in CORRUPTIONS.ours.items() if part.group == text]
    return members or [CORRUPTIONS[text].name]


def severity_levels(text: str, *, streams: bool = False) -> list[SeverityLevel]:
    """ "all" or one number to severities; "mixed" where streams are meant too."""
    from ..data import MIXED, SEVERITIES

    if text == "all":
        return list(SEVERITIES)
    if streams and text == MIXED:
        return [MIXED]
    if text not in map(str, SEVERITIES):
        raise UsageError("severity out of range", expected=f"1 to 5, all{' or mixed' * streams}", got=text)
    return [int(text)]


def levels(text: str | None) -> list[float] | None:
    """ "0.02:0.2:0.02" or "60,40,20" to levels of a corruption."""
    from ..studies.lambda_sweep import parse_grid

    return None if text is None else parse_grid(text, "levels")
