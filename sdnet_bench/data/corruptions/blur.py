"""The five blurs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .pixels import Pixels, floored, magnify, written


def gaussian_blur(pixels: Pixels, sigma: float, _: np.random.Generator) -> Pixels:
    """Convolution with a Gaussian of standard deviation `sigma` pixels, cut at 4 sigma; the border is repeated."""
    from scipy import ndimage

    blurred: Pixels = ndimage.gaussian_filter(pixels, (0, sigma, sigma), mode="nearest")
    return blurred


def glass_blur(pixels: Pixels, level: tuple[float, ...], rng: np.random.Generator) -> Pixels:
    """Gaussian blur, local random exchange of pixels (`scatter`), and Gaussian blur again.

    Level: standard deviation of the blur in pixels; reach of the exchange in pixels; number of exchanges.
    """
    sigma, reach, times = level
    blurred = floored(gaussian_blur(pixels, sigma, rng))
    for _ in range(int(times)):
        blurred = scatter(blurred, int(reach), rng)
    return gaussian_blur(blurred, sigma, rng)


def scatter(pixels: Pixels, reach: int, rng: np.random.Generator) -> Pixels:
    """Every pixel off the border takes the value of one at most `reach` up or left, `reach` - 1 down or right.

    Pixels are processed in place from the bottom right to the top left, so a value may move several times. The
    archives' script swaps views of one array, which copies one of the two values; this function does the same.
    """
    height, width = pixels.shape[-2:]
    here = np.arange(height * width).reshape(height, width)
    inner = here[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    down, right = rng.integers(-reach, reach, size=(2, *inner.shape))
    source = here.ravel().copy()
    source[inner] = inner + down * width + right
    return pixels.reshape(-1, height * width)[:, _followed(source)].reshape(pixels.shape)


def _followed(source: NDArray[np.intp]) -> NDArray[np.intp]:
    """The original place of each value, when pixel i takes the value of pixel `source[i]` and the last pixel is first.

    A source after i has its new value already; such links are followed by repeated squaring until none is left.
    """
    here = np.arange(len(source))
    link = np.where(source > here, source, here)
    while not np.array_equal(further := link[link], link):
        link = further
    return source[link]


def defocus_blur(pixels: Pixels, level: tuple[float, ...], _: np.random.Generator) -> Pixels:
    """Convolution with a disc, the image of a point out of focus; the border is mirrored.

    Level: radius of the disc, standard deviation of the Gaussian that smooths its edge, both in pixels. The sums, of
    whole grey levels, are exact, because in flat areas their last bit decides the grey level.
    """
    from scipy import ndimage

    blurred: Pixels = ndimage.correlate(np.rint(pixels * 255), disc(*level)[None], mode="mirror") / 255
    return blurred


@lru_cache
def disc(radius: float, smoothing: float) -> Pixels:
    """`(k, k)`, multiples of 2^-40: 17 x 17, or 2 radius + 1 for radii beyond 8.

    It sums to 1, but to 1.01 where the disc touches the border of the kernel (radii 8 and 10), because the smoothing
    mirrors values at the border. The archives' images are brighter by the same factor.
    """
    from scipy import ndimage

    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    squares = np.arange(-reach, reach + 1) ** 2
    kernel = np.where(squares[:, None] + squares <= radius**2, 1.0, 0.0)
    kernel /= kernel.sum()
    edge = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * smoothing**2))
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, edge / edge.sum(), axis, mode="mirror")
    exact: Pixels = np.rint(kernel * 2**40) / 2**40
    exact[reach, reach] += np.rint(kernel.sum() * 2**40) / 2**40 - exact.sum()
    return exact


def motion_blur(pixels: Pixels, level: tuple[float, ...], rng: np.random.Generator) -> Pixels:
    """`streak` at a random angle in [-45, 45] degrees, in grey levels (`written`). Level: radius, sigma (pixels)."""
    return written(streak(pixels, *level, angle=rng.uniform(-45, 45)))


def streak(pixels: Pixels, radius: float, sigma: float, *, angle: float) -> Pixels:
    """Motion blur along a line at `angle` degrees from the x axis, downwards.

    The algorithm of ImageMagick, which the archives used: 2 radius + 1 steps of one pixel to one side, weighted by one
    half of a Gaussian of standard deviation `sigma`; positions are rounded to whole pixels, the border is repeated.
    The sum is in float64, where ImageMagick has 16 bits.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    direction = np.deg2rad(angle)
    down = np.ceil(steps * np.sin(direction) - 0.5).astype(np.intp)
    right = np.ceil(steps * np.cos(direction) - 0.5).astype(np.intp)
    rows, columns = np.arange(pixels.shape[-2])[:, None], np.arange(pixels.shape[-1])
    blurred = np.zeros_like(pixels)
    for weight, dy, dx in zip(weights / weights.sum(), down, right, strict=True):
        y, x = np.clip(rows + dy, 0, len(rows) - 1), np.clip(columns + dx, 0, len(columns) - 1)
        blurred += weight * pixels[..., y, x]
    return blurred


def zoom_blur(pixels: Pixels, level: tuple[float, ...], _: np.random.Generator) -> Pixels:
    """The mean of the image and its magnifications by 1, 1 + step, ... below stop. Level: stop and step."""
    factors = np.arange(1, *level)
    return (pixels + sum(magnify(pixels, factor) for factor in factors)) / (len(factors) + 1)
