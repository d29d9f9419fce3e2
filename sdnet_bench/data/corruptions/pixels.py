"""Shared operations of corruptions on pixels: rounding to the 256 grey levels, and bilinear resampling.

Images are arrays `(..., H, W)` of float64 in [0, 1].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]


def floored(pixels: Pixels) -> Pixels:
    """Clips to [0, 1] and rounds down to a multiple of 1 / 255, as the archives' cast to uint8 does."""
    return np.floor(np.clip(pixels, 0, 1) * 255) / 255


def written(pixels: Pixels) -> Pixels:
    """Clips to [0, 1], rounds to 16 bits, and rounds these down to a multiple of 1 / 255, as ImageMagick writes PNG."""
    return np.floor(np.rint(np.clip(pixels, 0, 1) * 65535) / 257) / 255


def interpolate(pixels: Pixels, at: Pixels, axis: int) -> Pixels:
    """Linear interpolation at the fractional positions `at` of an axis, clamped to the image."""
    last = pixels.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.floor(at).astype(np.intp)
    weight = (at - low).reshape([-1 if side == axis else 1 for side in range(-pixels.ndim, 0)])
    before: Pixels = pixels.take(low, axis)
    after: Pixels = pixels.take(np.minimum(low + 1, last), axis)
    return before * (1 - weight) + after * weight


def magnify(pixels: Pixels, factor: float) -> Pixels:
    """The centre of an image, magnified by `factor` >= 1 to the size of the image, bilinear."""
    for axis in (-2, -1):
        pixels = interpolate(pixels, _zoomed_positions(pixels.shape[axis], factor), axis)
    return pixels


def _zoomed_positions(side: int, factor: float) -> Pixels:
    """The source positions of a magnified axis; the corners of the crop are kept, as by `scipy.ndimage.zoom`."""
    crop = math.ceil(side / factor)
    zoomed = round(crop * factor)
    pace = (crop - 1) / max(zoomed - 1, 1)
    return (side - crop) // 2 + pace * (np.arange(side, dtype=np.float64) + (zoomed - side) // 2)
