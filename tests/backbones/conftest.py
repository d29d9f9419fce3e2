"""What a fresh network needs before anybody looks at its outputs in eval mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def settle() -> Callable[[nn.Module, Tensor], nn.Module]:
    """Puts a network into eval mode with the batch statistics of the given images: in a deep chain of CSC-layers no
    code is left without.
    """

    @torch.no_grad()
    def settled(net: nn.Module, images: Tensor) -> nn.Module:
        for norm in (layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)):
            norm.momentum = 1.0
        net.train()(images)
        return net.eval()

    return settled
