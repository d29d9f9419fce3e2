"""The four noises, independent for every pixel and channel."""

from __future__ import annotations

import numpy as np

from .pixels import Pixels


def gaussian(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """x + N(0, sigma^2)."""
    return pixels + sigma * rng.standard_normal(pixels.shape)


def shot(pixels: Pixels, rate: float, rng: np.random.Generator) -> Pixels:
    """Poisson(rate x) / rate: photon counting noise, stronger at lower rates."""
    return rng.poisson(pixels * rate) / rate


def speckle(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """x + x N(0, sigma^2)."""
    return pixels + pixels * (sigma * rng.standard_normal(pixels.shape))


def impulse(pixels: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Sets a share `amount` of the values to 0 or 1, with equal probability."""
    hit, salt = rng.random(pixels.shape) < amount, rng.random(pixels.shape) < 0.5
    return np.where(hit, salt, pixels)
