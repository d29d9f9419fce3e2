"""SDNet: a ResNet whose first convolution is a CSC-layer (paper, Section 4, "Network architecture")."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ..csc import CSCConv2d
from .resnet import ResNet


def sdnet(
    blocks: Sequence[int],
    num_classes: int,
    *,
    lambda_: float = 0.1,
    steps: int = 2,
    nonnegative: bool = True,
    stem_relu: bool = False,
    **options: Any,
) -> ResNet:
    """A `ResNet` with a CSC-layer as its stem's convolution; it has the same number of parameters.

    Args:
        blocks: residual blocks in each of the four stages.
        num_classes: length of the logits.
        lambda_: the trade-off that the network is trained with; 0.1 in the paper.
        steps: FISTA iterations; 2 in the paper.
        nonnegative: constrain codes to z >= 0, as the released networks do and the paper's equations do not.
        stem_relu: a ReLU after the stem's batch norm: the paper keeps it, the released networks drop it.
        options: the others of `ResNet`.
    """
    stem_conv = partial(CSCConv2d, lambda_=lambda_, steps=steps, nonnegative=nonnegative)
    return ResNet(blocks, num_classes, stem_conv=stem_conv, stem_relu=stem_relu, **options)
