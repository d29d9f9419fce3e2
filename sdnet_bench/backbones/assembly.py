"""Building a network by name, with its options and its CSC stem."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import nn

from ..csc import csc_layers, replace_convs
from ..errors import BenchError, UsageError, reason
from .external import External, build_external, published
from .registry import BACKBONES, is_external


@runtime_checkable
class HasAfterStep(Protocol):
    """A module with a method that training calls after every step of the optimiser, before the next batch."""

    def after_step(self) -> None: ...


def build(name: str, /, *, num_classes: int, csc_stem: bool | Mapping[str, Any] = False, **options: Any) -> nn.Module:
    """Builds a network by name, with fresh weights from torch's global generator.

    Args:
        name: name of a backbone, or of a network of a library, such as `torchvision:resnet50`.
        num_classes: number of logits.
        csc_stem: replace the first convolution by a CSC-layer; a mapping holds options of `CSCConv2d`.
        options: of the backbone: `mean` and `std` of its input, `width`, `stem`, ...; see `defaults`.

    Raises:
        UnknownNameError: there is no such backbone.
        UsageError: the builder refuses the options, or `csc_stem` finds no plain convolution to replace.
    """
    builder = find_builder(name)
    try:
        inspect.signature(builder).bind(num_classes, **options)
        return put_csc_stem(builder(num_classes, **options), csc_stem)
    except BenchError:
        raise
    except Exception as error:  # options of any kind may come from a file
        raise UsageError(f"backbone {name!r}: {reason(error)}") from None


def put_csc_stem(net: nn.Module, options: bool | Mapping[str, Any]) -> nn.Module:
    """Replaces the first convolution by a CSC-layer in place, and returns the network; unchanged for `options` False.

    A `UsageError` unless the first convolution is the only one with three input channels.
    """
    if options is False:
        return net
    convs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    seeing = [conv for conv in convs if conv.in_channels == 3]
    if csc_layers(net) or len(seeing) != 1 or seeing[0] is not convs[0]:
        got = f"{type(net.net if isinstance(net, External) else net).__name__} with {len(seeing)} of three channels"
        raise UsageError("no place for a CSC stem", expected="one convolution that sees the image, the first", got=got)
    try:
        return replace_convs(net, "first", **({} if options is True else options))
    except TypeError as error:
        raise UsageError(f"csc_stem: {error}", expected="true, or options of a CSC-layer") from None


def find_builder(name: str) -> Callable[..., nn.Module]:
    """The builder of a backbone."""
    return partial(build_external, name) if is_external(name) else BACKBONES[name]


def normalization(name: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Mean and standard deviation of the pixels for a network of a library; None where the data set's are used."""
    if not is_external(name):
        return None
    known = published(name)
    return (known.options["mean"], known.options["std"]) if known else None


def count_parameters(net: nn.Module) -> int:
    """Number of trainable parameters of a network."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
