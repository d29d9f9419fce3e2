"""The network architectures, by name.

A backbone is a function `(num_classes: int, *, mean, std, **options) -> nn.Module`. The module maps images
`(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`, normalises its input itself with the given mean and
standard deviation per channel, is deterministic in eval mode, and passes gradients to its input there too. A
module in it that has to do something after every step of the optimiser is a `Follower`. A plugin adds a backbone as
an entry point of the group `sdnet_bench.backbones`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import nn

from ..errors import UsageError
from ..registry import Registry
from .mdeq import Convergence, ConvergenceMeter, convergence, equilibria, mdeq, mdeq_tiny
from .resnet import ResNet
from .scn import SCN, scn18
from .sdnet import sdnet, sdnet_all

Builder = Callable[..., nn.Module]


@runtime_checkable
class Follower(Protocol):
    """A module that follows the optimiser: training calls it after every step, before the next batch."""

    def after_step(self) -> None: ...


BACKBONES: Registry[Builder] = Registry("backbone")
for name, blocks in {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}.items():
    BACKBONES.register(f"resnet{name}")(partial(ResNet, blocks))
    BACKBONES.register(f"sdnet{name}")(partial(sdnet, blocks))
    BACKBONES.register(f"sdnet{name}_all")(partial(sdnet_all, blocks))
BACKBONES.register("scn")(SCN)
BACKBONES.register("scn18")(scn18)
BACKBONES.register("mdeq")(mdeq)
BACKBONES.register("mdeq_tiny")(mdeq_tiny)


def build(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """Builds a backbone by name, with fresh weights from torch's global generator.

    Unknown names are an `UnknownNameError`; options that the backbone does not take, or values it refuses, are
    a `UsageError`.
    """
    builder = BACKBONES[name]
    try:
        inspect.signature(builder).bind(num_classes, **options)
        return builder(num_classes, **options)
    except TypeError as error:
        raise UsageError(f"backbone {name!r}: {error}") from None


def defaults(name: str) -> dict[str, Any]:
    """The options of a backbone that its builder names, and their values where nothing else is said."""
    parameters = inspect.signature(BACKBONES[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def count_parameters(net: nn.Module) -> int:
    """Trainable parameters of a network."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


__all__ = [
    "BACKBONES",
    "Builder",
    "Convergence",
    "ConvergenceMeter",
    "Follower",
    "build",
    "convergence",
    "count_parameters",
    "defaults",
    "equilibria",
]
