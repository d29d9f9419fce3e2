"""The digital corruptions against formulae, `colorsys` and Pillow."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from sdnet_bench.data import CORRUPTIONS, corrupt
from sdnet_bench.data.corruptions import Level, Pixels, digital
from sdnet_bench.data.corruptions.digital import from_hsv, to_hsv


def apply(name: str, pixels: Pixels, level: Level) -> Pixels:
    return CORRUPTIONS[name].apply(pixels, level, np.random.default_rng(0))


def colours() -> Pixels:
    """`(3, 8, 32)`: random ones, and the corners and greys where hue is a convention."""
    some = np.random.default_rng(0).random((3, 256))
    some[:, :8] = [[(corner >> bit) & 1 for corner in range(8)] for bit in range(3)]
    some[:, 8:16] = np.linspace(0.1, 0.9, 8)
    return some.reshape(3, 8, 32)


def photo(height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([y * 3 + x, 200 - 2 * y, 40 + x * y % 160])
    return np.clip(smooth + np.random.default_rng(0).integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)


def picture(image: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.moveaxis(image, 0, -1))


@pytest.mark.parametrize("factor", [0, 0.05, 0.75, 1])
def test_contrast_scales_the_distance_from_the_mean_of_each_channel(factor: float) -> None:
    pixels = colours()
    changed = apply("contrast", pixels, factor)
    assert np.allclose(changed.mean((1, 2)), pixels.mean((1, 2)))
    assert np.allclose(changed.std((1, 2)), factor * pixels.std((1, 2)))
    assert np.allclose(changed[1, 3, 5], (pixels[1, 3, 5] - pixels[1].mean()) * factor + pixels[1].mean())


def through_hsv(pixels: Pixels, change: Callable[[float, float, float], tuple[float, float, float]]) -> Pixels:
    """One colour after the other through the standard library."""
    changed = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*colour))) for colour in pixels.reshape(3, -1).T]
    return np.array(changed).T.reshape(pixels.shape)


@pytest.mark.parametrize("amount", [0, 0.05, 0.5])
def test_brightness_adds_to_the_value(amount: float) -> None:
    expected = through_hsv(colours(), lambda h, s, v: (h, s, min(v + amount, 1)))
    assert np.allclose(apply("brightness", colours(), amount), expected)


@pytest.mark.parametrize(("factor", "amount"), [(0.1, 0), (1.5, 0), (2, 0.1), (30, 0.2)])
def test_saturate_scales_and_shifts_the_saturation(factor: float, amount: float) -> None:
    expected = through_hsv(colours(), lambda h, s, v: (h, min(s * factor + amount, 1), v))
    assert np.allclose(apply("saturate", colours(), (factor, amount)), expected)


def test_hsv_goes_there_and_back() -> None:
    assert np.allclose(from_hsv(*to_hsv(colours())), colours())


@pytest.mark.parametrize("size", [(32, 32), (17, 40)])
@pytest.mark.parametrize("quality", [80, 25, 7])
def test_jpeg_is_what_pillow_writes_and_reads(quality: int, size: tuple[int, int]) -> None:
    file = BytesIO()
    picture(photo(*size)).save(file, "JPEG", quality=quality)
    expected = np.moveaxis(np.asarray(Image.open(file)), -1, 0)
    assert np.array_equal(corrupt("jpeg_compression", photo(*size), level=quality, seed=0, index=0), expected)


@pytest.mark.parametrize("factor", [0.95, 0.65, 0.25])
@pytest.mark.parametrize("size", [(32, 32), (17, 40)])
def test_pixelate_is_a_box_filter_down_and_up(factor: float, size: tuple[int, int]) -> None:
    small = picture(photo(*size)).resize((int(size[1] * factor), int(size[0] * factor)), Resampling.BOX)
    expected = np.moveaxis(np.asarray(small.resize((size[1], size[0]), Resampling.BOX)), -1, 0)
    assert np.array_equal(corrupt("pixelate", photo(*size), level=factor, seed=0, index=0), expected)


def test_pixelate_by_a_quarter_makes_blocks_of_their_mean() -> None:
    image = corrupt("pixelate", photo(), level=0.25, seed=0, index=0)
    means = photo().reshape(3, 8, 4, 8, 4).mean((2, 4))
    assert np.array_equal(image, image[:, ::4, ::4].repeat(4, 1).repeat(4, 2))
    assert np.abs(image[:, ::4, ::4] - means).max() <= 1


@pytest.mark.parametrize("value", range(0, 256, 5))
def test_pixelate_keeps_every_grey_level(value: int) -> None:
    grey = np.full((3, 20, 20), value, np.uint8)
    assert np.array_equal(corrupt("pixelate", grey, level=0.65, seed=0, index=0), grey)


def test_a_picture_of_a_few_pixels_can_be_pixelated() -> None:
    assert corrupt("pixelate", photo(2, 3), level=0.25, seed=0, index=0).shape == (3, 2, 3)


@pytest.mark.parametrize("size", [(32, 32), (20, 31)])
def test_no_strength_and_no_shift_is_no_deformation(size: tuple[int, int]) -> None:
    image = photo(*size)
    assert np.allclose(apply("elastic_transform", image / 255, (0, 0.2, 0)), image / 255)


def test_without_a_displacement_three_points_around_the_middle_move_at_random() -> None:
    """Ramps along the axes say where every pixel comes from: by one affine map, which brings the points back."""
    ramps = np.indices((33, 41)).astype(float)
    sources = apply("elastic_transform", np.stack([*ramps, ramps[0]]), (0, 0.2, 3 / 33))[:2, 9:-9, 9:-9].reshape(2, -1)
    places = np.vstack([ramps[:, 9:-9, 9:-9].reshape(2, -1), np.ones(sources.shape[1])])
    matrix = np.linalg.lstsq(places.T, sources.T, rcond=None)[0].T
    assert np.allclose(matrix @ places, sources)
    points = np.array([[27, 31], [5, 31], [5, 9]])
    moved = points + np.random.default_rng(0).uniform(-3, 3, (3, 2))
    assert np.allclose(matrix @ np.column_stack([moved, np.ones(3)]).T, points.T)


def test_a_smooth_displacement_moves_a_ramp_by_its_own_size() -> None:
    """On a ramp of slope 1 / 64 the change is the displacement: at most `strength` pixels, zero on average."""
    ramp = np.broadcast_to(np.arange(64.0) / 64, (3, 64, 64)).copy()
    moved = (apply("elastic_transform", ramp, (0.1, 0.03, 0)) - ramp)[0, 8:-8, 8:-8] * 64
    uniform_to_smooth = 1 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 0.03 * 64)
    assert moved.std() == pytest.approx(6.4 * uniform_to_smooth, rel=0.25)
    assert np.abs(moved).max() < 6.4


def test_at_224_the_side_counts_as_244(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photo(224, 230) / 255
    image = apply("elastic_transform", pixels, (0.05, 0.01, 0.02))
    monkeypatch.setattr(digital, "ELASTIC_SIDE", {})
    scaled = tuple(part * 244 / 224 for part in (0.05, 0.01, 0.02))
    assert np.allclose(image, apply("elastic_transform", pixels, scaled))
    assert not np.allclose(image, apply("elastic_transform", pixels, (0.05, 0.01, 0.02)))
