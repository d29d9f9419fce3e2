"""ResNet-18 and ResNet-34 (He et al., 2016) with the stems of CIFAR and ImageNet.

The stem's convolution, the blocks and the stem's pooling are arguments; an SDNet changes only these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..csc import CSCConv2d
from ..errors import UsageError
from .normalize import Normalize
from .options import CIFAR10_MEAN, CIFAR10_STD

ConvBuilder = Callable[[int, int, int, int], nn.Module]
"""(in_channels, out_channels, kernel_size, stride) -> a layer with the output shape of a padded convolution."""

BlockBuilder = Callable[[int, int, int], nn.Module]
"""(in_channels, channels, stride) -> a block with the output shape of a `BasicBlock`."""

PoolBuilder = Callable[[int], nn.Module]
"""(channels) -> a layer that halves height and width."""

LINKS = (Normalize, CSCConv2d, nn.BatchNorm2d, nn.ReLU, nn.Identity)
"""Types of the layers that a chain of CSC-layers may contain."""


class StemGeometry(NamedTuple):
    kernel_size: int
    stride: int
    max_pool: bool


STEMS = {"cifar": StemGeometry(3, 1, max_pool=False), "imagenet": StemGeometry(7, 2, max_pool=True)}


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A convolution padded to keep the size at stride 1, without bias where a norm follows it."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias)


def max_pool(_channels: int) -> nn.MaxPool2d:
    """The max-pool of the ImageNet stem."""
    return nn.MaxPool2d(3, stride=2, padding=1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, which `branch_conv` builds, and a shortcut, with a 1x1 one where the shape changes.

    A ReLU follows on the sum, and one stands between the two convolutions unless `inner_relu` is False.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, branch_conv: ConvBuilder = conv, inner_relu: bool = True
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = branch_conv(in_channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = branch_conv(channels, channels, 3, 1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU() if inner_relu else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(conv(in_channels, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """Images `(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`.

    Args:
        blocks: residual blocks in each of the four stages.
        num_classes: length of the logits.
        width: channels of the first stage, doubled at each of the next three; 64 in the paper.
        stem: "cifar" (3x3, stride 1) or "imagenet" (7x7, stride 2, max-pool).
        stem_width: channels of the stem, by default `width`; for an SDNet the number of atoms.
        stem_conv: builds the stem's convolution.
        stem_relu: a ReLU after the stem's batch norm.
        stem_pool: builds the pooling of the ImageNet stem.
        block: builds a block.
        mean, std: normalisation of the pixels, per channel.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        num_classes: int,
        *,
        width: int = 64,
        stem: str = "cifar",
        stem_width: int | None = None,
        stem_conv: ConvBuilder = conv,
        stem_relu: bool = True,
        stem_pool: PoolBuilder = max_pool,
        block: BlockBuilder = BasicBlock,
        mean: Sequence[float] = CIFAR10_MEAN,
        std: Sequence[float] = CIFAR10_STD,
    ) -> None:
        super().__init__()
        if stem not in STEMS:
            raise UsageError("unknown stem", expected=" or ".join(STEMS), got=stem)
        geometry, channels = STEMS[stem], width if stem_width is None else stem_width
        if min(width, channels) < 1:
            raise UsageError("a network needs channels", expected="width >= 1", got=min(width, channels))
        self.normalize = Normalize(mean, std)
        self.stem = stem_conv(3, channels, geometry.kernel_size, geometry.stride)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU() if stem_relu else nn.Identity()
        self.pool = stem_pool(channels) if geometry.max_pool else nn.Identity()
        self.stages = nn.Sequential()
        for stage, count in enumerate(blocks):
            for place in range(count):
                stride = 2 if stage > 0 and place == 0 else 1
                self.stages.append(block(channels, width << stage, stride))
                channels = width << stage
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        features = self.pool(self.relu(self.bn(self.stem(self.normalize(image)))))
        return self.classifier(self.stages(features).mean((2, 3)))  # type: ignore[no-any-return]

    def path(self) -> list[nn.Module]:
        """The chain of layers that the network begins with, in order.

        It starts with the normalisation and ends before the first layer that is none of `LINKS`, such as a
        convolution, a residual block or a max-pool, at the latest before the average over positions.
        """
        parts = (self.normalize, self.stem, self.bn, self.relu, self.pool, *self.stages)
        layers = (layer for part in parts for layer in (part if isinstance(part, nn.Sequential) else [part]))
        return list(takewhile(lambda layer: isinstance(layer, LINKS), layers))
