"""Corrupts batches in one or several processes, with equal results."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..splits import Batch
from . import Level, corrupt

Work = tuple[str, NDArray[np.uint8], Level, int, list[int]]
"""Name, images, level, seed, and the index of each image."""


@dataclass(frozen=True)
class CorruptionPool:
    """Corrupts images with `map`: Python's own, or that of a process pool."""

    size: int
    spread: Callable[[Callable[[Work], NDArray[np.uint8]], Iterable[Work]], Iterable[NDArray[np.uint8]]]

    def corrupt(self, name: str, batch: Batch, level: Level, seed: int) -> NDArray[np.uint8]:
        """`(N, 3, H, W)` uint8: the corrupted images of a batch."""
        images, index = batch.images.numpy(), batch.index.tolist()
        size = -(-len(index) // self.size)
        parts = [slice(start, start + size) for start in range(0, len(index), size)]
        work = [(name, images[part], level, seed, index[part]) for part in parts]
        return np.concatenate(list(self.spread(_corrupt, work)))


def _corrupt(work: Work) -> NDArray[np.uint8]:
    name, images, level, seed, index = work
    pairs = zip(images, index, strict=True)
    return np.stack([corrupt(name, image, level=level, seed=seed, index=at) for image, at in pairs])


@contextmanager
def pool_of(size: int) -> Iterator[CorruptionPool]:
    """Yields a pool of `size` processes for the length of a block; for 1 it works in this process."""
    if size == 1:
        yield CorruptionPool(1, map)
        return
    context = multiprocessing.get_context("spawn")
    ignore = (signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    with ProcessPoolExecutor(size, context, initializer=signal.signal, initargs=ignore) as pool:
        yield CorruptionPool(size, pool.map)


def corrupt_batch(batch: Batch, of: Callable[[int], tuple[str, Level]], seed: int) -> Tensor:
    """`(N, 3, H, W)` uint8 on the batch's device: `of` gives the corruption and the level of an image by its index."""
    images = []
    for image, index in zip(batch.images.cpu().numpy(), batch.index.tolist(), strict=True):
        name, level = of(index)
        images.append(corrupt(name, image, level=level, seed=seed, index=index))
    return torch.from_numpy(np.stack(images)).to(batch.images.device)
