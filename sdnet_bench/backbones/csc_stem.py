"""The option `csc_stem` of every backbone: the first convolution is replaced by a CSC-layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..csc import CSCConv2d, csc_layers, replace_convs
from ..errors import UsageError
from .external import External


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


def csc_stem_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the CSC-layer given as `csc_stem` in a network's options; empty where there are none."""
    wanted = options.get("csc_stem", False)
    if wanted is False:
        return {}
    parameters = inspect.signature(CSCConv2d).parameters.values()
    usual = {each.name: each.default for each in parameters if each.default is not each.empty}
    return usual | ({} if wanted is True else dict(wanted))
