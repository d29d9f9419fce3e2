"""The sparse coding networks that the paper compares with: SCN (Sun, Nasrabadi and Tran, 2018) and SCN-18."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..csc import PatchCodingConv2d
from ..errors import UsageError
from .normalize import Normalize
from .options import CIFAR10_MEAN, CIFAR10_STD

BOTTLENECKS = (3, 2, 2)
"""Number of pairs of a narrow and a wide layer in each stage; a stage has half the side of the one before."""
EXPANSION = 4
"""Channels of a wide layer relative to those of a narrow one."""


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm without scale and shift, because the next layer learns its own scale."""
    return nn.BatchNorm2d(channels, eps=1e-4, affine=False)


class SCN(nn.Module):
    """Images `(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)` through 14 layers of sparse codes.

    Only batch norm is between the layers: codes are non-negative, so there is no ReLU.

    Args:
        width: channels of the wide layers of the first stage, doubled at each of the next two; 64 in the paper.
        mean, std: normalisation of the pixels, per channel.
        coding: options of `PatchCodingConv2d`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        mean: Sequence[float] = CIFAR10_MEAN,
        std: Sequence[float] = CIFAR10_STD,
        **coding: Any,
    ) -> None:
        super().__init__()
        if width < 1:
            raise UsageError("a network needs channels", expected="width >= 1", got=width)
        self.normalize = Normalize(mean, std)
        self.layers, channels = nn.Sequential(), 3
        for stage, bottlenecks in enumerate(BOTTLENECKS):
            wide = width << stage
            slim = max(1, wide // EXPANSION)
            for bottleneck in range(bottlenecks):
                stride = 2 if stage > 0 and bottleneck == 0 else 1
                self.layers.extend([norm(channels), PatchCodingConv2d(channels, slim, stride=stride, **coding)])
                self.layers.extend([norm(slim), PatchCodingConv2d(slim, wide, **coding)])
                channels = wide
        self.layers.append(norm(channels))
        self.classifier = nn.Linear(channels, num_classes)
        nn.init.normal_(self.classifier.weight, std=1 / channels)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.layers(self.normalize(image)).mean((2, 3)))  # type: ignore[no-any-return]
