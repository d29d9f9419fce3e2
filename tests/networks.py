"""Networks for tests to wrap others in."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OneByOne(nn.Module):
    """Classifies the images of a batch one after the other: to the bit as it would classify each alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.net(image[None]) for image in images])
