"""Options that several commands define, and parsers of options given as text."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..errors import UsageError
from ..names import LAYERS, NORMS, one_of
from . import completion

Place = TypeVar("Place", Path, str, Path | None, str | None)


def at_home(place: Place) -> Place:
    """A path with the home folder in the place of `~`; a `UsageError` where there is none."""
    if place is None or not str(place).startswith("~"):
        return place
    found = os.path.expanduser(place)
    if found == str(place):
        raise UsageError(f"no home folder for {place}", hint="Write the path out, or ./~ for a folder of that name.")
    return type(place)(found)


def choice(kind: str, words: Sequence[str], says: str, *, several: bool = False) -> Any:
    """An option that takes one of some words, or several with commas: the help shows them, the shell completes them."""

    def parse(text: str) -> str:
        for word in text.split(",") if several else [text]:
            one_of(word, kind, words)
        return text

    shown = f"[{'|'.join(words)}]{',...' * several}"
    return typer.Option(help=says, metavar=shown, parser=parse, autocompletion=completion.among(words))


Data = Annotated[
    str | None, typer.Option(help="Another data set of its classes, such as cifar10.1, imagenet-v2, -r or -a.")
]
Corruption = Annotated[
    str,
    typer.Option(
        help="A name; all (the four noises); or a group: noise, blur, weather, digital, bar.",
        autocompletion=completion.corruptions,
    ),
]
Severity = Annotated[str, typer.Option(help="1 to 5, or all.")]
InferenceSteps = Annotated[int | None, typer.Option(min=1, help="FISTA iterations; by default as in training.")]
Norm = Annotated[str, choice("norm", NORMS, "By which the change of an image is measured.")]
Eps = Annotated[str | None, typer.Option(help="Radius in pixels of [0, 1]; 8/255 for linf, 0.5 for l2.")]
Lambdas = Annotated[str, typer.Option(help="Grid of lambdas: first:last:step, or a list with commas.")]
Layers = Annotated[str, choice("choice of layers", LAYERS, "CSC-layers that lambda is changed in; stem: the first.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take so many images, spread evenly over the split.")]
Adapt = Annotated[
    str | None,
    typer.Option(
        help="Adaptations, with commas: bn, bn:prior=16, bn-running, tent, median, ...; see docs.",
        autocompletion=completion.parts("adaptation", "lambda"),
    ),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images of a batch that is adapted to; 200 by default.")]
Output = Annotated[Path, typer.Option(help="Where the tables go.", callback=at_home)]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")]

OUTPUT = Path("report")
LARGEST_GRID = 1000
"""Largest number of values of a grid; each is a pass over the images."""
LAMBDAS = "0.1:1.5:0.1"
"""`config.LAMBDAS` as text: first, last, step."""


def parse_fields(texts: Sequence[str]) -> dict[str, object]:
    """Parses `field=value`, the value as in TOML or else as text; a `UsageError` for what is no such pair."""
    found: dict[str, object] = {}
    for text in texts:
        field, is_pair, value = text.partition("=")
        if not is_pair:
            raise UsageError("no field and its value", expected="field=value, such as optimizer.lr=0.05", got=text)
        try:
            found[field.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[field.strip()] = value.strip()
    return found


def parse_eps(text: str | None) -> float | None:
    """Parses a radius such as "8/255" or "0.031"; None for None, which is the norm's default."""
    if text is None:
        return None
    try:
        numerator, _, denominator = text.partition("/")
        return float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        raise UsageError("eps is no number", expected="a number or a fraction, such as 8/255", got=text) from None


def parse_lambdas(text: str) -> list[float]:
    """Parses a grid of lambdas, "0.1:1.5:0.1" (first, last, step) or "0.1,0.3,1"; a `UsageError` otherwise."""
    from ..csc import check_lambda

    return [check_lambda(value) for value in parse_grid(text, "lambdas")]


def parse_grid(text: str, what: str) -> list[float]:
    """Parses numbers as "first:last:step" or separated by commas, each once; a `UsageError` otherwise."""
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            count = math.floor((last - first) / step + 1e-6) + 1
            values = [round(first + at * step, 6) for at in range(min(count, LARGEST_GRID + 1))]
        else:
            values = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"not a grid of {what}", expected="0.1:1.5:0.1 or 0.1,0.3,1", got=text) from None
    if not 0 < len(values) <= LARGEST_GRID:
        wrong = f"a grid of more than {LARGEST_GRID:,}" if values else "an empty grid of"
        raise UsageError(f"{wrong} {what}", expected="0.1:1.5:0.1 or 0.1,0.3,1", got=text)
    return list(dict.fromkeys(values))
