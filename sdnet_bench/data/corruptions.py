"""Image corruptions: `(3, H, W)` uint8 to uint8, each image from its own seed.

The four additive noises of Hendrycks & Dietterich (2019), with the severities of their -C archives as data.
Values are floored to uint8, as the archives are. What an image becomes depends on the seed, the corruption, its
level and the image's index in its split alone: not on batch size, order or device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..registry import Registry

Pixels = NDArray[np.float64]
Noise = Callable[[Pixels, float, np.random.Generator], Pixels]
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """A named corruption.

    Args:
        name: as registered.
        apply: `(pixels in [0, 1], level, generator) -> pixels`, to be clipped to [0, 1] by the caller.
        severities: for each family of archives, the levels of severities 1 to 5.
        fit_levels: for each family, the set C of Algorithm 1: it covers the severities and reaches beyond.
    """

    name: str
    apply: Noise
    severities: Mapping[str, tuple[float, ...]]
    fit_levels: Mapping[str, tuple[float, ...]]

    def level(self, family: str, severity: int) -> float:
        """The level of a severity in a family's archive."""
        if severity not in SEVERITIES:
            raise UsageError("severity out of range", expected="1 to 5", got=severity)
        return self._of(self.severities, family)[severity - 1]

    def levels(self, family: str) -> tuple[float, ...]:
        """The set C of Algorithm 1 for the images of a family."""
        return self._of(self.fit_levels, family)

    def _of(self, table: Mapping[str, tuple[float, ...]], family: str) -> tuple[float, ...]:
        if family not in table:
            raise UsageError(f"{self.name} has no levels for such images", expected=", ".join(table), got=family)
        return table[family]


CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corrupt(name: str, image: NDArray[np.uint8], *, level: float, seed: int, index: int) -> NDArray[np.uint8]:
    """One corrupted image.

    Args:
        name: of a registered corruption.
        image: `(3, H, W)`.
        level: the corruption's own parameter (a standard deviation, a rate, a share of pixels).
        seed: of the whole corrupted set.
        index: of the image in its split.
    """
    pixels = CORRUPTIONS[name].apply(image / 255.0, level, _generator(name, level, seed, index))
    return np.floor(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _generator(name: str, level: float, seed: int, index: int) -> np.random.Generator:
    words = hashlib.sha256(f"{seed}/{name}/{float(level)!r}/{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(words[:16], "little")))


def gaussian(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """x + N(0, sigma^2)."""
    return pixels + rng.normal(0, sigma, pixels.shape)


def shot(pixels: Pixels, rate: float, rng: np.random.Generator) -> Pixels:
    """Poisson(rate x) / rate: photon counting noise, stronger at lower rates."""
    return rng.poisson(pixels * rate) / rate


def impulse(pixels: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """A share `amount` of the values becomes 0 or 1, with equal odds."""
    hit, salt = rng.random(pixels.shape) < amount, rng.random(pixels.shape) < 0.5
    return np.where(hit, salt.astype(np.float64), pixels)


def speckle(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """x + x N(0, sigma^2)."""
    return pixels + pixels * rng.normal(0, sigma, pixels.shape)


# Severities: the archives' generator scripts (hendrycks/robustness). Levels of Algorithm 1: ours.
for part in (
    Corruption(
        "gaussian",
        gaussian,
        {"cifar": (0.04, 0.06, 0.08, 0.09, 0.10), "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38)},
        {
            "cifar": (0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14),
            "imagenet": (0.06, 0.10, 0.14, 0.18, 0.24, 0.32, 0.40),
        },
    ),
    Corruption(
        "shot",
        shot,
        {"cifar": (500, 250, 100, 75, 50), "imagenet": (60, 25, 12, 5, 3)},
        {"cifar": (700, 400, 200, 120, 80, 55, 40), "imagenet": (80, 40, 20, 12, 7, 4, 3)},
    ),
    Corruption(
        "speckle",
        speckle,
        {"cifar": (0.06, 0.10, 0.12, 0.16, 0.20), "imagenet": (0.15, 0.20, 0.35, 0.45, 0.60)},
        {
            "cifar": (0.04, 0.07, 0.10, 0.13, 0.16, 0.19, 0.22),
            "imagenet": (0.12, 0.20, 0.28, 0.36, 0.44, 0.52, 0.62),
        },
    ),
    Corruption(
        "impulse",
        impulse,
        {"cifar": (0.01, 0.02, 0.03, 0.05, 0.07), "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27)},
        {
            "cifar": (0.005, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08),
            "imagenet": (0.02, 0.05, 0.09, 0.13, 0.18, 0.23, 0.29),
        },
    ),
):
    CORRUPTIONS.register(part.name)(part)
