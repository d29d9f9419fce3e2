"""Options that several commands define as their own, and how those that are text are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import UnknownNameError, UsageError

Corruption = Annotated[
    str, typer.Option(help="A name; all (the four noises); or a group: noise, blur, weather, digital.")
]
Severity = Annotated[str, typer.Option(help="1 to 5, or all.")]
InferenceSteps = Annotated[int | None, typer.Option(min=1, help="FISTA iterations; by default as in training.")]
Lambdas = Annotated[str, typer.Option(help="Grid of lambdas: first:last:step, or a list with commas.")]
Layers = Annotated[str, typer.Option(help="CSC-layers that lambda is changed in: all, or stem for the first alone.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take so many images, spread evenly over the split.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of whatever is drawn at random.")]

Choice = TypeVar("Choice", bound=str)

if TYPE_CHECKING:
    from ..records import Protocol
    from ..records import Severity as SeverityLevel

LAMBDAS = "0.1:1.5:0.1"
"""`config.LAMBDAS` as one types it: first, last, step."""


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
    from ..data import CORRUPTIONS
    from ..records import NOISES, UNKNOWN

    if text == "all":
        return list(NOISES)
    if streams and text == UNKNOWN:
        return [UNKNOWN]
    members = [name for name, part in CORRUPTIONS.ours.items() if part.group == text]
    return members or [CORRUPTIONS[text].name]


def severity_levels(text: str, *, streams: bool = False) -> list[SeverityLevel]:
    """ "all" or one number to severities; "mixed" where streams are meant too."""
    from ..data import SEVERITIES
    from ..records import MIXED

    if text == "all":
        return list(SEVERITIES)
    if streams and text == MIXED:
        return [MIXED]
    if text not in map(str, SEVERITIES):
        raise UsageError("severity out of range", expected=f"1 to 5, all{' or mixed' * streams}", got=text)
    return [int(text)]


def levels(text: str | None) -> list[float] | None:
    """ "0.02:0.2:0.02" or "60,40,20" to levels of a corruption."""
    return None if text is None else parse_grid(text, "levels")


def check_protocols(text: str) -> list[Protocol]:
    """Protocols of an attack from "all", or from names with commas between them, in the order of PROTOCOLS."""
    from ..records import PROTOCOLS

    if text == "all":
        return list(PROTOCOLS)
    for name in text.split(","):
        if name not in PROTOCOLS:
            raise UnknownNameError("protocol", name, [*PROTOCOLS, "all"])
    return [protocol for protocol in PROTOCOLS if protocol in text.split(",")]


def parse_eps(text: str | None, norm: str) -> float:
    """ "8/255", "0.031" or None (the norm's default: 8/255 for linf, 0.5 for l2) to a number."""
    from ..records import DEFAULT_EPS

    if text is None:
        return DEFAULT_EPS.get(norm, math.nan)
    try:
        numerator, _, denominator = text.partition("/")
        eps = float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        raise UsageError("eps is no number", expected="a number or a fraction, such as 8/255", got=text) from None
    if norm == "linf" and eps > 1:
        raise UsageError("eps out of range", expected="at most 1, the range of a pixel, such as 8/255", got=text)
    return eps


def parse_lambdas(text: str) -> list[float]:
    """A grid of lambdas: "0.1:1.5:0.1" (first, last, step) or "0.1,0.3,1"; a `UsageError` where it is neither."""
    from ..csc import check_lambda

    return [check_lambda(value) for value in parse_grid(text, "lambdas")]


def parse_grid(text: str, what: str) -> list[float]:
    """Numbers written as "first:last:step" or with commas between them, each once; a `UsageError` for anything else."""
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            count = math.floor((last - first) / step + 1e-6) + 1
            values = [round(first + at * step, 6) for at in range(count)]
        else:
            values = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"not a grid of {what}", expected="0.1:1.5:0.1 or 0.1,0.3,1", got=text) from None
    if not values:
        raise UsageError(f"an empty grid of {what}", expected="0.1:1.5:0.1 or 0.1,0.3,1", got=text)
    return list(dict.fromkeys(values))
