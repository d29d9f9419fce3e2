"""Pixels, and what several corruptions do to them: rounding to the 256 grey levels, bilinear resampling.

Images are arrays `(..., H, W)` of float64 in [0, 1].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]


def floored(pixels: Pixels) -> Pixels:
    """Clipped to [0, 1] and cut to the grey level k / 255 below, where the archives cast to uint8."""
    return np.floor(np.clip(pixels, 0, 1) * 255) / 255


def rounded(pixels: Pixels) -> Pixels:
    """Clipped to [0, 1] and rounded to the nearest k / 255, where a library of the archives did so."""
    return np.rint(np.clip(pixels, 0, 1) * 255) / 255


def interpolate(pixels: Pixels, at: Pixels, axis: int) -> Pixels:
    """The pixels at the fractional positions `at` of an axis, linear between two; clamped to the picture."""
    last = pixels.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.floor(at).astype(np.intp)
    weight = (at - low).reshape([-1 if side == axis else 1 for side in range(-pixels.ndim, 0)])
    before: Pixels = pixels.take(low, axis)
    after: Pixels = pixels.take(np.minimum(low + 1, last), axis)
    return before * (1 - weight) + after * weight


def magnify(pixels: Pixels, factor: float) -> Pixels:
    """The middle of a picture, enlarged by `factor` >= 1 to the size of the whole, bilinear."""
    for axis in (-2, -1):
        pixels = interpolate(pixels, _zoomed_positions(pixels.shape[axis], factor), axis)
    return pixels


def _zoomed_positions(side: int, factor: float) -> Pixels:
    """Where the pixels of a magnified axis come from: a crop's corners are kept, as `scipy.ndimage.zoom` does."""
    crop = math.ceil(side / factor)
    zoomed = round(crop * factor)
    pace = (crop - 1) / max(zoomed - 1, 1)
    return (side - crop) // 2 + pace * (np.arange(side, dtype=np.float64) + (zoomed - side) // 2)
