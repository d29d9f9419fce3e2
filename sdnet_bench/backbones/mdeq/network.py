"""MDEQ: an image stem, one equilibrium of features at several resolutions, and a head (Bai et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UsageError
from ..normalize import Normalize
from ..options import CIFAR10_MEAN, CIFAR10_STD
from ..resnet import conv
from .equilibrium import Equilibrium
from .transform import Transform

EXPANSION = 4
"""Output channels of the head's bottlenecks, relative to the channels inside."""
SCALE = 0.01
"""Standard deviation of initial weights."""


def units(*layers: nn.Conv2d) -> nn.Sequential:
    """Convolutions, each followed by batch norm and ReLU."""
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())))


class Bottleneck(nn.Module):
    """A bottleneck block, `(N, c, h, w)` to `(N, 4 m, h, w)` through m channels, with a projected shortcut."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        wide = EXPANSION * channels
        self.main = nn.Sequential(
            *(conv(in_channels, channels, 1), nn.BatchNorm2d(channels, affine=False), nn.ReLU()),
            *(conv(channels, channels, 3), nn.BatchNorm2d(channels, affine=False), nn.ReLU()),
            *(conv(channels, wide, 1), nn.BatchNorm2d(wide, affine=False)),
        )
        self.shortcut = nn.Sequential(conv(in_channels, wide, 1), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.shortcut(x))


class Head(nn.Module):
    """Combines features of all resolutions, from the finest to the coarsest, into one vector `(N, out_channels)`.

    Each resolution, of `in_channels`, has a bottleneck with `channels` inside.
    """

    def __init__(self, in_channels: Sequence[int], channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        wide = [EXPANSION * count for count in channels]
        self.bottlenecks = nn.ModuleList(map(Bottleneck, in_channels, channels))
        self.downs = nn.ModuleList(units(conv(fine, coarse, 3, stride=2, bias=True)) for fine, coarse in pairwise(wide))
        self.last = units(conv(wide[-1], out_channels, 1, bias=True))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        first, *others = (bottleneck(x) for bottleneck, x in zip(self.bottlenecks, features, strict=True))
        for down, other in zip(self.downs, others, strict=True):
            first = other + down(first)
        return self.last(first).mean((2, 3))  # type: ignore[no-any-return]


class MDEQ(nn.Module):
    """Images `(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`.

    Args:
        channels: channels of each resolution; the first has the size of the image, halved by each downsampling.
        head: channels inside the bottleneck of each resolution.
        features: length of the vector that is classified.
        dropout: share of the channels of f that are dropped in training, in [0, 1).
        downsampling: number of the stem's two convolutions with stride 2; 0 for CIFAR, 2 for ImageNet.
        mean, std: normalisation of the pixels, per channel.
        solving: the other options of `Equilibrium`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        channels: Sequence[int],
        head: Sequence[int],
        features: int,
        dropout: float,
        downsampling: int = 0,
        mean: Sequence[float] = CIFAR10_MEAN,
        std: Sequence[float] = CIFAR10_STD,
        **solving: Any,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise UsageError("a network needs channels", expected="width >= 1 and branches >= 1", got=list(channels))
        if not 0 <= dropout < 1:
            raise UsageError("dropout out of range", expected="a share in [0, 1)", got=dropout)
        if downsampling not in (0, 1, 2):
            raise UsageError("downsampling out of range", expected="0, 1 or 2", got=downsampling)
        first, strides = channels[0], [2 if downsampling > place else 1 for place in range(2)]
        self.normalize = Normalize(mean, std)
        self.stem = units(conv(3, first, 3, strides[0]), conv(first, first, 3, strides[1]))
        self.injection = units(conv(first, first, 1)) if len(channels) > 2 or downsampling else nn.Identity()
        self.equilibrium = Equilibrium(Transform(channels, dropout), **solving)
        self.head = Head(channels, head, features)
        self.classifier = nn.Linear(features, num_classes)
        self.apply(_draw)

    def forward(self, image: Tensor) -> Tensor:
        injection = self.injection(self.stem(self.normalize(image)))
        return self.classifier(self.head(self.equilibrium(injection)))  # type: ignore[no-any-return]


def _draw(module: nn.Module) -> None:
    """Initialises a plain convolution; convolutions under weight normalisation keep torch's initial weights."""
    if isinstance(module, nn.Conv2d):
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=SCALE)
