"""Normalisation as the first layer of a network, so that all other code uses pixels in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import UsageError


class Normalize(nn.Module):
    """(x - mean) / std per channel, for images `(N, 3, H, W)` in [0, 1].

    A `UsageError` unless there are three means and three standard deviations > 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise UsageError("no normalisation", expected="three finite means and deviations > 0", got=(mean, std))
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std
