"""Contrast, brightness, saturation, JPEG, pixels and elastic deformation."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from .pixels import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

ELASTIC_SIDE = {224: 244}
"""Sides that the script of ImageNet-C replaces: it uses 244 for images of side 224."""


def contrast(pixels: Pixels, factor: float, _: np.random.Generator) -> Pixels:
    """(x - mean) factor + mean, with the mean of each channel."""
    means: Pixels = pixels.mean((1, 2), keepdims=True)
    return (pixels - means) * factor + means


def brightness(pixels: Pixels, amount: float, _: np.random.Generator) -> Pixels:
    """Adds `amount` to the value V of HSV."""
    value, saturation, hue = to_hsv(pixels)
    return from_hsv(np.clip(value + amount, 0, 1), saturation, hue)


def saturate(pixels: Pixels, level: tuple[float, ...], _: np.random.Generator) -> Pixels:
    """The saturation S of HSV becomes factor S + amount. Level: factor and amount."""
    factor, amount = level
    value, saturation, hue = to_hsv(pixels)
    return from_hsv(value, np.clip(saturation * factor + amount, 0, 1), hue)


def to_hsv(pixels: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """Value `(H, W)`, saturation `(H, W)` and hue `(3, H, W)`.

    The hue of a channel is its distance from the largest channel, relative to the range of the three channels: 0 for
    the largest and 1 for the smallest. Greys have the hue of red.
    """
    value = pixels.max(0)
    chroma = value - pixels.min(0)
    below = (value - pixels) / np.where(chroma > 0, chroma, 1)
    hue = np.where(chroma > 0, below, np.array([0.0, 1.0, 1.0])[:, None, None])
    return value, chroma / np.where(value > 0, value, 1), hue


def from_hsv(value: Pixels, saturation: Pixels, hue: Pixels) -> Pixels:
    """The inverse of `to_hsv`."""
    return value * (1 - saturation * hue)


def jpeg_compression(pixels: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    """JPEG compression at `quality`, from 1 to 95."""
    from PIL import Image

    file = BytesIO()
    to_picture(pixels).save(file, "JPEG", quality=int(quality))
    return from_picture(Image.open(file))


def pixelate(pixels: Pixels, factor: float, _: np.random.Generator) -> Pixels:
    """Downsampling by `factor` < 1 and upsampling to the old size, with box filters."""
    from PIL.Image import Resampling

    picture = to_picture(pixels)
    width, height = (max(1, int(side * factor)) for side in picture.size)
    return from_picture(picture.resize((width, height), Resampling.BOX).resize(picture.size, Resampling.BOX))


def to_picture(pixels: Pixels) -> Picture:
    """Converts pixels `(3, H, W)` that are multiples of 1 / 255 to a Pillow image."""
    from PIL import Image

    return Image.fromarray(np.moveaxis(np.rint(pixels * 255).astype(np.uint8), 0, -1))


def from_picture(picture: Picture) -> Pixels:
    """The inverse of `to_picture`."""
    return np.moveaxis(np.asarray(picture), -1, 0) / 255.0


def elastic_transform(pixels: Pixels, level: tuple[float, ...], rng: np.random.Generator) -> Pixels:
    """A random affine map, then a smooth random displacement, both bilinear.

    Level, in sides of the image: strength and smoothness of the displacement, and how far the corners of the
    affine map move. The side is the shorter one; at 224 it counts as 244, as in ImageNet-C.
    """
    from scipy import ndimage

    side = min(pixels.shape[-2:])
    strength, sigma, shift = (ELASTIC_SIDE.get(side, side) * part for part in level)
    grid = np.indices(pixels.shape[-2:]).astype(np.float64)
    warped = _sample(pixels, _affine(grid, side // 3, shift, rng), "mirror")
    drawn = rng.uniform(-1, 1, grid.shape)
    moved = strength * ndimage.gaussian_filter(drawn, (0, sigma, sigma), mode="reflect", truncate=3)
    return _sample(warped, grid + moved, "reflect")


def _affine(grid: Pixels, reach: int, shift: float, rng: np.random.Generator) -> Pixels:
    """The sources `(2, H, W)` of the points of a grid under the affine map that moves three points at random.

    Args:
        reach: distance of the three points from the centre along each axis, in pixels.
        shift: largest shift of each coordinate, in pixels.
    """
    middle = np.array(grid.shape[1:]) // 2
    corners = middle + max(1, reach) * np.array([[1, 1], [-1, 1], [-1, -1]])
    first, second, third = corners + rng.uniform(-shift, shift, corners.shape)
    (a, b), (c, d) = first - second, third - second  # no BLAS, whose last bits differ between processors
    down, right = grid - second[:, None, None]
    along, across = (down * d - right * c) / (a * d - b * c), (right * a - down * b) / (a * d - b * c)
    to_first, to_third = corners[0] - corners[1], corners[2] - corners[1]
    return np.stack([corners[1][axis] + along * to_first[axis] + across * to_third[axis] for axis in (0, 1)])


def _sample(pixels: Pixels, at: Pixels, border: str) -> Pixels:
    """The channels interpolated at the points `(2, H, W)`, row and column in pixels."""
    from scipy import ndimage

    return np.stack([ndimage.map_coordinates(channel, at, order=1, mode=border) for channel in pixels])
