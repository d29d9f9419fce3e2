"""How many images a network takes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from ..data import Split

T = TypeVar("T")
BATCH_SIZE = 250
"""On a CPU, where more at once are no faster."""
BATCH_PIXELS = 2048 * 32 * 32
"""On a GPU, of small images. Python needs some milliseconds to launch the kernels of a batch, however large it is; in
2,048 images of CIFAR-10 they are lost, as they are in a CUDA graph, which would have to be recorded for each lambda."""


class AtOnce:
    """The number of images of a split that are classified at once on a device, as long as its memory does.

    Args:
        split: the images; those of a batch have one size.
        device: where the network is.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self.size = BATCH_SIZE
        if device.type != "cpu" and len(split):
            (first,) = split.subset([0]).batches(1, torch.device("cpu"))
            self.size = max(BATCH_SIZE, BATCH_PIXELS // first.images[0, 0].numel())

    def __call__(self, function: Callable[[int], T]) -> T:
        """`function(size)`. Where memory runs out it is called again with half the size, which stays."""
        while True:
            try:
                return function(self.size)
            except RuntimeError as error:
                if self.size == 1 or not should_reduce_batch_size(error):
                    raise
            self.size //= 2
            clear_device_cache(garbage_collection=True)
