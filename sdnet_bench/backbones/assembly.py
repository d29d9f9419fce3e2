"""Networks by name: the registry of backbones, and what builds them with their options and their CSC stem."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import nn

from ..errors import UsageError
from ..registry import Registry, check_call
from .csc_stem import put_csc_stem
from .external import build_external, is_external, published
from .mdeq import mdeq, mdeq_tiny
from .resnet import ResNet
from .scn import SCN, scn18
from .sdnet import sdnet, sdnet_all

Builder = Callable[..., nn.Module]


@runtime_checkable
class HasAfterStep(Protocol):
    """A module that follows the optimiser: training calls it after every step, before the next batch."""

    def after_step(self) -> None: ...


def check_builder(builder: Builder) -> None:
    """A TypeError where it cannot be called as a backbone is."""
    expected = "(num_classes, *, mean, std, **options)"
    check_call(builder, expected, 10, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


BACKBONES: Registry[Builder] = Registry("backbone", check_builder)
for name, blocks in {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}.items():
    BACKBONES.register(f"resnet{name}")(partial(ResNet, blocks))
    BACKBONES.register(f"sdnet{name}")(partial(sdnet, blocks))
    BACKBONES.register(f"sdnet{name}_all")(partial(sdnet_all, blocks))
BACKBONES.register("scn")(SCN)
BACKBONES.register("scn18")(scn18)
BACKBONES.register("mdeq")(mdeq)
BACKBONES.register("mdeq_tiny")(mdeq_tiny)


def build(name: str, /, *, num_classes: int, csc_stem: bool | Mapping[str, Any] = False, **options: Any) -> nn.Module:
    """Builds a network by name, with fresh weights from torch's global generator.

    Args:
        name: of a backbone, or somebody else's network, such as `torchvision:resnet50`.
        num_classes: length of the logits.
        csc_stem: put a CSC-layer in the place of the first convolution; a mapping holds options of `CSCConv2d`.
        options: of the builder.

    Raises:
        UnknownNameError: there is no such backbone.
        UsageError: it does not take these options, refuses their values, or has no plain convolution at its stem.
    """
    builder = find_builder(name)
    try:
        inspect.signature(builder).bind(num_classes, **options)
        net = builder(num_classes, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"backbone {name!r}: {str(error).splitlines()[0]}") from None
    return put_csc_stem(net, csc_stem)


def find_builder(name: str) -> Builder:
    """What builds the backbone of that name."""
    return partial(build_external, name) if is_external(name) else BACKBONES[name]


def normalization(name: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Mean and standard deviation that somebody else's network was trained with; None: the data set's are taken."""
    if not is_external(name):
        return None
    known = published(name)
    return (known.options["mean"], known.options["std"]) if known else None


def defaults(name: str) -> dict[str, Any]:
    """The options of a backbone that its builder names, and their values where nothing else is said."""
    parameters = inspect.signature(find_builder(name)).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def accepted(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of another backbone's options that this one takes too."""
    if is_external(name):
        return {}
    parameters = inspect.signature(find_builder(name)).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return {option: value for option, value in options.items() if takes_any or option in parameters}


def count_parameters(net: nn.Module) -> int:
    """Trainable parameters of a network."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
