"""The logits of a network for evaluation and attacks, and the check that values of images are finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UsageError, not_finite


def logits_of(net: nn.Module, images: Tensor) -> Tensor:
    """Logits `(N, classes)` float32 of images `(N, 3, H, W)` in [0, 1], without waiting for the device.

    Those of an image are NaN where one of them, or the largest minus the smallest, is not finite. A `UsageError` where
    the network does not return a tensor.
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
    return logits.where((values.amax(1, True) - values.amin(1, True)).isfinite(), torch.nan)


def finite(values: Tensor, what: str) -> Tensor:
    """The values `(n,)` of images, as given; a `ModelError` that counts the images where they are not finite."""
    if count := int((~values.isfinite()).sum()):
        raise not_finite(what, count, len(values))
    return values
