"""Replaces convolutions of any network by CSC-layers (paper, Section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from ..errors import UsageError
from .layer import CSCConv2d

Which = Literal["first", "all"] | Callable[[str, nn.Conv2d], bool]
"""Choice of convolutions: "first", "all", or a function of a convolution's name and the convolution."""


def replace_convs(net: nn.Module, which: Which = "first", **options: Any) -> nn.Module:
    """Replaces convolutions by CSC-layers in place, and returns the network.

    A CSC-layer has the output shape of its convolution; its atoms start as the convolution's weights, scaled to unit
    norm. A bias is dropped, because a code has none.

    Args:
        which: "first" for the first in the order of modules; "all" for all larger than 1x1 (an SDNet-All keeps its 1x1
            shortcuts); or a function of a convolution's name and the convolution.
        options: `lambda_`, `steps`, `nonnegative` and `gradient_checkpointing` of `CSCConv2d`.

    Raises:
        UsageError: no convolution is chosen, or one has no equivalent CSC-layer: it has groups, dilation, a kernel or
            stride that is not square, padding other than equal zeros on all sides, or is a subclass of `nn.Conv2d`.
    """
    found = _chosen({name: each for name, each in net.named_modules() if isinstance(each, nn.Conv2d)}, which)
    if not found or "" in found:
        raise UsageError("no convolution to replace", expected="a network with one inside", got=type(net).__name__)
    layers = {name: _counterpart(name, conv, options) for name, conv in found.items()}
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        setattr(net.get_submodule(parent), last, layer)
    return net


def _chosen(convs: dict[str, nn.Conv2d], which: Which) -> dict[str, nn.Conv2d]:
    if which == "first":
        return dict(list(convs.items())[:1])
    if which == "all":
        return {name: conv for name, conv in convs.items() if max(conv.kernel_size) > 1}
    if callable(which):
        return {name: conv for name, conv in convs.items() if which(name, conv)}
    raise UsageError("unknown choice of convolutions", expected="first, all or a function", got=which)


def _counterpart(name: str, conv: nn.Conv2d, options: dict[str, Any]) -> CSCConv2d:
    """The CSC-layer with a convolution's shape, device and dtype; a `UsageError` where there is none."""
    (size, *_), (stride, *_), padding = conv.kernel_size, conv.stride, _padding(conv)
    shape = (type(conv), conv.kernel_size, conv.stride, conv.dilation, conv.groups, conv.padding_mode)
    if padding is None or shape != (nn.Conv2d, (size, size), (stride, stride), (1, 1), 1, "zeros"):
        expected = "an nn.Conv2d with a square kernel and stride, zeros on all sides alike, no groups, no dilation"
        raise UsageError(f"{name} has no CSC-layer of its shape", expected=expected, got=conv)
    usual = size % 2 == 1 and padding == size // 2
    geometry = (conv.in_channels, conv.out_channels, size, stride)
    layer = CSCConv2d(*geometry, padding=None if usual else padding, **options).to(conv.weight)
    with torch.no_grad():
        layer.dictionary.copy_(conv.weight)
    layer.settle()
    return layer.train(conv.training)


def _padding(conv: nn.Conv2d) -> int | None:
    """Number of zeros on each side of the image; None where the sides differ."""
    size = conv.kernel_size[0]
    if isinstance(conv.padding, str):
        return 0 if conv.padding == "valid" else size // 2 if size % 2 else None
    return conv.padding[0] if len(set(conv.padding)) == 1 and conv.padding[0] < size else None
