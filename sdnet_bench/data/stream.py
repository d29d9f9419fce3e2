"""Corruptions of whole batches: all images at one level, or with a random severity and type per image.

`workers` are processes that corrupt images; whoever does it, the images are the same.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..records import MIXED, NOISES, UNKNOWN, Severity
from .corruptions import CORRUPTIONS, SEVERITIES, Level, corrupt, drawing
from .splits import Batch

CHUNK = 16
"""Number of images that a process takes at a time."""
Image = NDArray[np.uint8]
Work = tuple[str, Level, Image, int, int]
"""Name and level of a corruption, the image, the seed and the image's index."""
Spread = Callable[[Callable[[Work], Image], Sequence[Work]], Iterable[Image]]
"""Python's `map`, or `Workers`."""


@dataclass(frozen=True)
class Noise:
    """A corruption at one level with one seed."""

    name: str
    level: Level
    seed: int = 0

    def __call__(self, batch: Batch, spread: Spread = map) -> Tensor:
        """The corrupted images of a batch, `(N, 3, H, W)` uint8 on the device of the batch."""
        return _corrupted(batch, lambda index: (self.name, self.level), self.seed, spread)


@dataclass(frozen=True)
class Stream:
    """A random corruption and severity per image, all with equal probability; `seed` decides the corruptions too."""

    names: tuple[str, ...]
    severities: tuple[int, ...]
    family: str
    seed: int = 0

    def __call__(self, batch: Batch, spread: Spread = map) -> Tensor:
        """The corrupted images of a batch, `(N, 3, H, W)` uint8 on the device of the batch."""
        return _corrupted(batch, self._level, self.seed, spread)

    def draw(self, index: int) -> tuple[str, int]:
        """The corruption and the severity of the image at `index` of its split."""
        with drawing(f"stream/{self.seed}/{index}") as rng:
            severity, name = rng.integers(len(self.severities)), rng.integers(len(self.names))
        return self.names[name], self.severities[severity]

    def _level(self, index: int) -> tuple[str, Level]:
        name, severity = self.draw(index)
        return name, CORRUPTIONS[name].level(self.family, severity)


def stream_of(corruption: str, severity: Severity, family: str, seed: int) -> Stream:
    """The stream of the corruption "unknown", the severity "mixed", or both."""
    names = NOISES if corruption == UNKNOWN else (CORRUPTIONS[corruption].name,)
    return Stream(names, SEVERITIES if severity == MIXED else (severity,), family, seed)


class Workers:
    """A pool of processes; until all of them have started, which takes seconds, this process does their work."""

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        ignore = (signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
        self._pool = ProcessPoolExecutor(processes, context, initializer=signal.signal, initargs=ignore)
        self._starts = [self._pool.submit(int) for _ in range(processes)]

    @property
    def is_up(self) -> bool:
        """Whether all processes have started."""
        return all(start.done() and not start.exception() for start in self._starts)

    def __call__(self, do: Callable[[Work], Image], work: Sequence[Work]) -> Iterable[Image]:
        """The results of `do` in the order of `work`."""
        return self._pool.map(do, work, chunksize=CHUNK) if self.is_up else map(do, work)


@cache
def workers(processes: int) -> Spread:
    """A pool of processes that lives as long as this process; for one process Python's `map`."""
    return Workers(processes) if processes > 1 else map


def _corrupted(batch: Batch, of: Callable[[int], tuple[str, Level]], seed: int, spread: Spread) -> Tensor:
    """`of` gives the corruption and the level of an image by its index."""
    pairs = zip(batch.images.cpu().numpy(), batch.index.tolist(), strict=True)
    images = spread(_corrupt, [(*of(index), image, seed, index) for image, index in pairs])
    return torch.from_numpy(np.stack(list(images))).to(batch.images.device)


def _corrupt(work: Work) -> Image:
    name, level, image, seed, index = work
    return corrupt(name, image, level=level, seed=seed, index=index)
