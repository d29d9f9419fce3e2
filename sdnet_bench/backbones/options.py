"""Options of our own backbones that several share, with their defaults. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

DEPTHS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}
"""Residual blocks in each of the four stages, by the number in a network's name."""
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True)
class CSCOptions:
    """Options of all CSC-layers of an SDNet: arguments of `CSCConv2d` of the same names, with the paper's values."""

    lambda_: float = 0.1
    steps: int = 2
    nonnegative: bool = True
    gradient_checkpointing: bool = False
