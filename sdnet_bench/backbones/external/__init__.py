"""Networks of libraries and files by names with a colon: `torchvision:resnet50`, `timm:...`, `nets.py:tiny`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...errors import BenchError, UnknownNameError, UsageError
from ..registry import is_code
from . import factories, timm, torchvision
from .network import External, Published, Source

__all__ = ["External", "Published", "build_external", "parse", "published"]

SOURCES: dict[str, Source] = {"torchvision": torchvision, "timm": timm}


def parse(name: str) -> tuple[Source, str]:
    """The source and the name in it; an `UnknownNameError` where the source before the colon is unknown."""
    if is_code(name):
        return factories, name
    source, _, rest = name.partition(":")
    if source == "hf":
        hint = "Name it as the model of a command, or its file of weights with --weights."
        raise UsageError(f"{name} is a trained model, no architecture", hint=hint)
    if source not in SOURCES:
        raise UnknownNameError("source of networks", source, SOURCES, hint="A function is path/to/file.py:name.")
    return SOURCES[source], rest


def published(backbone: str, weights: str | None = None) -> Published | None:
    """The published weights of a network by its full name; by default those that its library recommends."""
    source, name = parse(backbone)
    return source.published(name, weights)


def build_external(
    backbone: str,
    num_classes: int,
    /,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: Any,
) -> nn.Module:
    """Builds a network by a name with a colon, with fresh weights, behind our normalisation.

    Args:
        backbone: full name. Positional only, because it decides whether code is run.
        mean, std: mean and standard deviation of the pixels; by default those of the source.
        options: options of the network's own builder.

    Raises:
        UsageError: there is no such network, it refuses the options, or mean and std are not known.
    """
    source, name = parse(backbone)
    known = source.published(name, None)
    usual = known.options if known else {}
    mean, std = mean or usual.get("mean"), std or usual.get("std")
    if mean is None or std is None:
        raise UsageError(f"nobody says how {backbone} normalises", expected="mean and std among its options")
    try:
        return External(source.build(name, num_classes, **options), mean, std)
    except BenchError:
        raise
    except Exception as error:  # any error of the library's or file's code
        raise UsageError(f"{backbone} cannot be built: {type(error).__name__}: {error}") from error
