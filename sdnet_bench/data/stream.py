"""Corruptions of whole batches: all images at one level, or with a random severity and type per image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..records import MIXED, NOISES, UNKNOWN, Severity
from .corruptions import CORRUPTIONS, SEVERITIES, Level
from .corruptions.batches import corrupt_batch
from .splits import Batch


@dataclass(frozen=True)
class Noise:
    """A corruption at one level with one seed."""

    name: str
    level: Level
    seed: int = 0

    def __call__(self, batch: Batch) -> Tensor:
        """The corrupted images of a batch, `(N, 3, H, W)` uint8 on the device of the batch."""
        return corrupt_batch(batch, lambda index: (self.name, self.level), self.seed)


@dataclass(frozen=True)
class Stream:
    """A random corruption and severity per image, all with equal probability; `seed` decides the corruptions too."""

    names: tuple[str, ...]
    severities: tuple[int, ...]
    family: str
    seed: int = 0

    def __call__(self, batch: Batch) -> Tensor:
        """The corrupted images of a batch, `(N, 3, H, W)` uint8 on the device of the batch."""
        return corrupt_batch(batch, self._level, self.seed)

    def draw(self, index: int) -> tuple[str, int]:
        """The corruption and the severity of the image at `index` of its split."""
        word = hashlib.sha256(f"stream/{self.seed}/{index}".encode()).digest()
        rng = np.random.Generator(np.random.Philox(key=int.from_bytes(word[:16], "little")))
        severity, name = rng.integers(len(self.severities)), rng.integers(len(self.names))
        return self.names[name], self.severities[severity]

    def _level(self, index: int) -> tuple[str, Level]:
        name, severity = self.draw(index)
        return name, CORRUPTIONS[name].level(self.family, severity)


def stream_of(corruption: str, severity: Severity, family: str, seed: int) -> Stream:
    """The stream of the corruption "unknown", the severity "mixed", or both."""
    names = NOISES if corruption == UNKNOWN else (CORRUPTIONS[corruption].name,)
    return Stream(names, SEVERITIES if severity == MIXED else (severity,), family, seed)
