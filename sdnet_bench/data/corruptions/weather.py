"""Fog, frost, snow and spatter."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...errors import DataError
from .blur import gaussian_blur, streak
from .pixels import Pixels, floored, interpolate, magnify, written

PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
LUMA = np.array([0.299, 0.587, 0.114])
TURQUOISE = np.array([175, 238, 238]) / 255
BROWN = np.array([63, 42, 20]) / 255


def fog(pixels: Pixels, level: tuple[float, ...], rng: np.random.Generator) -> Pixels:
    """Adds a fractal cloud (`plasma`) and scales the sum to the maximum of the image.

    Level: strength of the cloud; decay of its amplitude from one scale to the next.
    """
    strength, decay = level
    height, width = pixels.shape[-2:]
    side = 1 << max(1, (max(height, width) - 1).bit_length())
    brightest = float(pixels.max())
    return (pixels + strength * plasma(side, decay, rng)[:height, :width]) * brightest / (brightest + strength)


def plasma(side: int, decay: float, rng: np.random.Generator) -> Pixels:
    """A fractal cloud `(side, side)` in [0, 1] by the diamond-square algorithm on a torus; side is a power of two.

    Each halving of the grid puts the mean of the four neighbours and a uniform draw in the middle of every
    square, then in the middle of every edge; the draws shrink by decay^2.
    """
    heights = np.zeros((side, side))
    step, amplitude = side, 1.0
    while step > 1:
        half = step // 2
        corners, centres = heights[::step, ::step], heights[half::step, half::step]
        right, below = corners + np.roll(corners, -1, 1), corners + np.roll(corners, -1, 0)
        centres[:] = _wobbled(right + np.roll(right, -1, 0), amplitude, rng)
        heights[::step, half::step] = _wobbled(right + centres + np.roll(centres, 1, 0), amplitude, rng)
        heights[half::step, ::step] = _wobbled(below + centres + np.roll(centres, 1, 1), amplitude, rng)
        step, amplitude = half, amplitude / decay**2
    heights -= heights.min()
    return heights / float(heights.max())


def _wobbled(neighbours: Pixels, amplitude: float, rng: np.random.Generator) -> Pixels:
    """A quarter of the sum `neighbours`, plus uniform noise of this amplitude."""
    return neighbours / 4 + rng.uniform(-amplitude, amplitude, neighbours.shape)


def frost(pixels: Pixels, level: tuple[float, ...], rng: np.random.Generator) -> Pixels:
    """A weighted sum of the image and a random crop of one of five photographs of frost.

    Level: weight of the image, weight of the frost, and scale of the photographs, which are enlarged where the image
    is larger. The sum is computed in grey levels 0 to 255.
    """
    keep, add, scale = level
    height, width = pixels.shape[-2:]
    path = frost_folder() / PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))]
    photograph = _photograph(path, scale, height, width)
    top, left = (rng.integers(max(1, side)) for side in (photograph.shape[1] - height, photograph.shape[2] - width))
    frozen = keep * np.rint(pixels * 255) + add * photograph[:, top : top + height, left : left + width]
    return np.floor(frozen) / 255


@lru_cache(maxsize=len(PHOTOGRAPHS))
def _photograph(path: Path, scale: float, height: int, width: int) -> Pixels:
    """`(3, H, W)` in grey levels 0 to 255, at least `height` x `width`: bilinear without smoothing, rounded."""
    from PIL import Image

    with Image.open(path) as file:
        picture = np.moveaxis(np.asarray(file.convert("RGB"), np.float64), -1, 0)
    scale = max(scale, height / picture.shape[1], width / picture.shape[2])
    for axis in (1, 2):
        places = np.arange(round(picture.shape[axis] * scale)) + 0.5
        picture = interpolate(picture, places / scale - 0.5, axis - 3)
    return np.rint(picture)


def frost_folder() -> Path:
    """The folder of the archives' photographs of frost, which another package installs."""
    spec = find_spec("imagecorruptions")
    for place in (spec and spec.submodule_search_locations) or ():
        if (folder := Path(place) / "frost").is_dir():
            return folder
    hint = "Install them with `pip install --no-deps imagecorruptions-imaug`."
    raise DataError("the photographs of frost are not installed", hint=hint)


def snow(pixels: Pixels, level: tuple[float, ...], rng: np.random.Generator) -> Pixels:
    """Adds motion-blurred flakes, and the same flakes rotated by 180 degrees, to a whitened image.

    Level: mean, standard deviation, magnification and threshold of the noise of the flakes; radius and sigma of their
    motion blur, at an angle in [-135, -45] degrees; weight of the image against the whitened image.
    """
    mean, deviation, zoom, threshold, radius, sigma, keep = level
    drawn = magnify(rng.normal(mean, deviation, pixels.shape[-2:]), zoom)
    flakes = floored(np.where(drawn < threshold, 0, drawn))
    flakes = written(streak(flakes, radius, sigma, angle=rng.uniform(-135, -45)))
    whitened = np.maximum(pixels, 1.5 * np.tensordot(LUMA, pixels, 1) + 0.5)
    return keep * pixels + (1 - keep) * whitened + flakes + flakes[::-1, ::-1]


def spatter(pixels: Pixels, level: tuple[float, ...], rng: np.random.Generator) -> Pixels:
    """Drops of water or splashes of mud, where smooth noise is above a threshold.

    Level: mean, standard deviation, blur (pixels) and threshold of the noise; opacity of water, or blur of mud
    (pixels); 0 for water, 1 for mud.
    """
    mean, deviation, sigma, threshold, strength, is_mud = level
    drawn = gaussian_blur(rng.normal(mean, deviation, (1, *pixels.shape[-2:])), sigma, rng)
    if is_mud:
        mud = gaussian_blur((drawn > threshold).astype(np.float64), strength, rng)
        opacity: Pixels = np.where(mud < 0.8, 0, mud)
        return pixels * (1 - opacity) + opacity * BROWN[:, None, None]
    water = _drops(floored(np.where(drawn < threshold, 0, drawn))[0])
    return pixels + strength * water * TURQUOISE[:, None, None]


def _drops(liquid: Pixels) -> Pixels:
    """`(H, W)` in [0, 1]: brightness of the liquid, from an emboss filter of the distance to its edges.

    Zero where there is no drop; the archives' script divides by zero there.
    """
    import cv2

    grey = np.rint(liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(grey, 50, 150), cv2.DIST_L2, 5)
    relief = cv2.equalizeHist(cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8))
    light = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
    lit = grey * cv2.blur(cv2.filter2D(relief, cv2.CV_8U, light), (3, 3)).astype(np.float64)
    return lit / max(lit.max(), 1)  # type: ignore[no-any-return]
