"""The function f(z, u) of MDEQ: a residual block on every resolution, and a fusion of all resolutions.

`bind` fixes weights, dropout masks and the input u, so that f is one function during a solve and its backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..resnet import conv
from .solvers import Map

EXPANSION = 5
"""Channels inside a residual block, relative to its input channels."""
GROUPS, LAST_GROUPS = 8, 4
"""Numbers of groups of group normalisation: in general, and at the end of f."""


def group_norm(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """Group normalisation with the largest number of groups, at most `groups`, that divides the channels."""
    return nn.GroupNorm(max(count for count in range(1, groups + 1) if channels % count == 0), channels)


class NormedConv(nn.Module):
    """A padded convolution without bias, with weight normalisation (Salimans and Kingma, 2016).

    The weight `(out, in, k, k)` is `scale * direction / |direction|`, the norm taken for every output channel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(conv(in_channels, out_channels, kernel_size).weight.detach())
        self.scale = nn.Parameter(self._norm().detach())

    def bind(self) -> Map:
        """The convolution with the present weight, which is computed once, here."""
        weight = self.direction * (self.scale / self._norm())
        return lambda x: F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def _norm(self) -> Tensor:
        return self.direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        out_channels, in_channels, kernel_size, _ = self.direction.shape
        return f"{in_channels}, {out_channels}, kernel_size={kernel_size}"


class Block(nn.Module):
    """The residual block of one resolution of c `channels`; a share `dropout` of them is dropped in training."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        wide = EXPANSION * channels
        self.widen, self.norm1 = NormedConv(channels, wide, 3), group_norm(wide)
        self.narrow, self.norm2 = NormedConv(wide, channels, 3), group_norm(channels)
        self.norm3 = group_norm(channels)
        self.dropout = dropout

    def bind(self, injection: Tensor) -> Map:
        """The block for a fixed u, which broadcasts to `(N, c, h, w)`."""
        widen, narrow, mask = self.widen.bind(), self.narrow.bind(), self._mask(injection)

        def block(z: Tensor) -> Tensor:
            hidden = F.relu(self.norm1(widen(z)))
            hidden = self.norm2(mask * narrow(hidden) + injection)
            return self.norm3(F.relu(hidden + z))  # type: ignore[no-any-return]

        return block

    def _mask(self, injection: Tensor) -> Tensor:
        """Mask of variational dropout: the factor of each channel of each sample, `(N, c, 1, 1)`."""
        ones = injection.new_ones(*injection.shape[:2], 1, 1)
        return F.dropout(ones, self.dropout, self.training)


def _path(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """Layers from one resolution to another: convolutions of stride 2 to a coarser one, a 1x1 one to a finer one."""
    here, there = channels[source], channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(conv(here, there, 1), group_norm(there))
    path = nn.Sequential()
    for _ in range(target - source - 1):
        path.extend([conv(here, here, 3, stride=2), group_norm(here), nn.ReLU()])
    return path.extend([conv(here, there, 3, stride=2), group_norm(there)])


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """`x` resized to the height and width of `like`, by nearest neighbour."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size)


class Exit(nn.Module):
    """The fusion at the end of f for one resolution, the `target`: the sum of the features of all resolutions in its
    shape, then ReLU, a 1x1 convolution and group normalisation.
    """

    def __init__(self, channels: Sequence[int], target: int) -> None:
        super().__init__()
        self.target, own = target, channels[target]
        self.paths = nn.ModuleList(_path(channels, source, target) for source in range(len(channels)))
        self.conv, self.norm = NormedConv(own, own, 1), group_norm(own, LAST_GROUPS)

    def bind(self) -> Callable[[Sequence[Tensor]], Tensor]:
        mix = self.conv.bind()

        def leave(features: Sequence[Tensor]) -> Tensor:
            parts = [_resized(path(x), features[self.target]) for path, x in zip(self.paths, features, strict=True)]
            return self.norm(mix(F.relu(reduce(torch.add, parts))))  # type: ignore[no-any-return]

        return leave


@dataclass(frozen=True, eq=False)
class BoundTransform:
    """The function f(., u) of states `(N, D)`, with fixed weights and dropout masks."""

    injection: Tensor
    blocks: Sequence[Map]
    exits: Sequence[Callable[[Sequence[Tensor]], Tensor]]
    shapes: Sequence[tuple[int, int, int]]
    """(channels, height, width) of each resolution."""

    def __call__(self, state: Tensor) -> Tensor:
        hidden = [block(z) for block, z in zip(self.blocks, self.split(state), strict=True)]
        return torch.cat([leave(hidden).permute(0, 2, 3, 1).flatten(1) for leave in self.exits], dim=1)

    def start(self) -> Tensor:
        """The zero state, `(N, D)`."""
        return self.injection.new_zeros(len(self.injection), sum(self._sizes))

    def split(self, state: Tensor) -> list[Tensor]:
        """A state `(N, D)` as features `(N, c, h, w)` of each resolution, in the layout channels_last."""
        parts = zip(torch.split(state, self._sizes, dim=1), self.shapes, strict=True)
        return [part.view(len(part), h, w, c).permute(0, 3, 1, 2) for part, (c, h, w) in parts]

    @property
    def _sizes(self) -> list[int]:
        return [math.prod(shape) for shape in self.shapes]


class Transform(nn.Module):
    """The function f(z, u) (MDEQ, Section 3.2). u enters at the first resolution only, whose size it has.

    Args:
        channels: channels of each resolution; each has half the height and width of the one before, rounded up.
        dropout: share of channels that are dropped in training, in [0, 1).
    """

    def __init__(self, channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.blocks = nn.ModuleList(Block(count, dropout) for count in channels)
        self.exits = nn.ModuleList(Exit(channels, target) for target in range(len(channels)))

    def bind(self, injection: Tensor) -> BoundTransform:
        """The function f(., u) for u `(N, channels[0], H, W)`; draws the dropout masks."""
        height, width = injection.shape[-2:]
        injections = [injection, *(injection.new_zeros(len(injection), count, 1, 1) for count in self.channels[1:])]
        return BoundTransform(
            injection,
            [block.bind(u) for block, u in zip(self.blocks, injections, strict=True)],  # type: ignore[operator]
            [leave.bind() for leave in self.exits],  # type: ignore[operator]
            [(count, -(-height >> i), -(-width >> i)) for i, count in enumerate(self.channels)],
        )
