"""Small networks whose attacks take milliseconds."""

from __future__ import annotations

import pytest
import torch
from networks import OneByOne
from torch import Tensor, nn

from sdnet_bench.csc import CSCConv2d


@pytest.fixture
def images() -> Tensor:
    """Eight images of 8 x 8 pixels."""
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def net() -> nn.Sequential:
    """Five classes; in eval mode."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 5)
    return nn.Sequential(*layers).eval()


@pytest.fixture
def csc_net() -> nn.Sequential:
    """The same with a CSC-layer."""
    torch.manual_seed(0)
    layers = CSCConv2d(3, 6, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.Flatten(), nn.Linear(96, 5)
    return nn.Sequential(*layers).eval()


@pytest.fixture
def labels(net: nn.Sequential, images: Tensor) -> Tensor:
    """What `net` takes the images for."""
    return net(images).argmax(1)


@pytest.fixture
def one_by_one(net: nn.Sequential) -> OneByOne:
    """`net`, whose answer for an image does not depend on the batch that it is in, not even by rounding."""
    return OneByOne(net)
