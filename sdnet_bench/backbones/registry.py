"""The registry of backbones, and their options. Imports no torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from ..registry import Registry, check_call
from .builders import mdeq, mdeq_tiny, resnet, scn, scn18, sdnet, sdnet_all
from .options import DEPTHS, CSCOptions

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[..., nn.Module]


def is_external(name: str) -> bool:
    """Whether a backbone's name is one with a colon: a network of a library or a file."""
    return ":" in name


def is_code(name: str) -> bool:
    """Whether the name points to a Python file, which building the network runs."""
    return is_external(name) and name.rpartition(":")[0].endswith(".py")


def check_builder(builder: Builder) -> None:
    """Raises a TypeError where `builder` cannot be called as a backbone."""
    expected = "(num_classes, *, mean, std, **options)"
    check_call(builder, expected, 10, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


BACKBONES: Registry[Builder] = Registry("backbone", check_builder)
for name, blocks in DEPTHS.items():
    BACKBONES.register(f"resnet{name}")(partial(resnet, blocks))
    BACKBONES.register(f"sdnet{name}")(partial(sdnet, blocks))
    BACKBONES.register(f"sdnet{name}_all")(partial(sdnet_all, blocks))
BACKBONES.register("scn")(scn)
BACKBONES.register("scn18")(scn18)
BACKBONES.register("mdeq")(mdeq)
BACKBONES.register("mdeq_tiny")(mdeq_tiny)


def defaults(name: str) -> dict[str, Any]:
    """The options of a backbone's builder with their default values; empty for a network of a library."""
    if is_external(name):
        return {}
    parameters = inspect.signature(BACKBONES[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def accepted(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The subset of `options` that the backbone `name` accepts."""
    if is_external(name):
        return {}
    parameters = inspect.signature(BACKBONES[name]).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return {option: value for option, value in options.items() if takes_any or option in parameters}


def csc_stem_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the CSC-layer given as `csc_stem` in a network's options; empty where there are none."""
    wanted = options.get("csc_stem", False)
    if wanted is False:
        return {}
    return asdict(CSCOptions()) | ({} if wanted is True else dict(wanted))
