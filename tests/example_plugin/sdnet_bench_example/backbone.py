"""A network of three layers; the first is a CSC-layer, so that it has a lambda to sweep."""

from torch import nn

from sdnet_bench.backbones import Normalize
from sdnet_bench.csc import CSCConv2d


def tinycsc(num_classes, *, mean, std, width=16, lambda_=0.1):
    return nn.Sequential(
        Normalize(mean, std),
        CSCConv2d(3, width, kernel_size=5, stride=2, lambda_=lambda_),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * width, num_classes),
    )
