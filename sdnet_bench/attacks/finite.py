"""The logits of a network for evaluation and attacks, and the check that values of images are finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UsageError, not_finite


def logits_of(net: nn.Module, images: Tensor) -> Tensor:
    """Logits `(N, classes)` float32 of images `(N, 3, H, W)` in [0, 1], without waiting for the device.

    All logits of an image are NaN where one is not finite, or where the largest minus the smallest is not. A
    `UsageError` where the network returns something else than a tensor.
    """
    logits = net(images)
    if not isinstance(logits, Tensor):
        raise UsageError(
            "the network returns more than logits",
            expected="a tensor (N, classes)",
            got=type(logits).__name__,
            hint="Wrap it in a module that returns the logits alone.",
        )
    logits = logits.float()
    values = logits.detach()
    spread = values.amax(1, keepdim=True) - values.amin(1, keepdim=True)
    return logits.where(spread.isfinite(), torch.nan)


def finite(values: Tensor, what: str) -> Tensor:
    """The values `(n,)` of images, as given; a `ModelError` that counts the images where they are not finite."""
    if count := int((~values.isfinite()).sum()):
        raise not_finite(what, count, len(values))
    return values


def largest_entries(gradients: Tensor) -> Tensor:
    """`(N,)`: largest absolute entry of each image's gradient; 0 where there is no gradient, NaN where one is NaN."""
    return gradients.detach().abs().flatten(1).amax(1).float()


def are_probabilities(logits: Tensor) -> Tensor:
    """`(N,)` bool: whether the logits of an image are probabilities, of which attacks see too small a gradient."""
    return (logits.amin(1) >= 0) & ((logits.sum(1) - 1).abs() < 1e-3)
