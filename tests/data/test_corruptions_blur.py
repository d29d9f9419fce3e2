"""The blurs against closed forms: constants, points and lines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sdnet_bench.data import CORRUPTIONS, corrupt
from sdnet_bench.data.corruptions import Pixels
from sdnet_bench.data.corruptions.blur import disc, gaussian_blur, scatter, streak
from sdnet_bench.data.corruptions.pixels import floored, magnify, written

BLURS = ["gaussian_blur", "glass_blur", "defocus_blur", "motion_blur", "zoom_blur"]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def point(side: int = 33) -> Pixels:
    """A white pixel in the middle of black."""
    pixels = np.zeros((3, side, side))
    pixels[:, side // 2, side // 2] = 1
    return pixels


def test_grey_levels_are_cut_or_written() -> None:
    values = np.array([-1, 0, 3, 3.4, 3.6, 255, 300]) / 255
    assert np.array_equal(floored(values), np.array([0, 0, 3, 3, 3, 255, 255]) / 255)
    assert np.array_equal(written(values), np.array([0, 0, 3, 3, 3, 255, 255]) / 255)
    levels = np.arange(256) / 255
    assert np.array_equal(floored(levels), levels)


@pytest.mark.parametrize("family", ["cifar", "tiny-imagenet"])
@pytest.mark.parametrize("name", BLURS)
def test_blurs_leave_a_constant_alone(name: str, family: str) -> None:
    grey = np.full((3, 20, 24), 129, np.uint8)
    for severity in (1, 3, 5):
        image = corrupt(name, grey, level=CORRUPTIONS[name].level(family, severity), seed=0, index=0)
        assert np.abs(image.astype(int) - 129).max() <= 2  # glass floors twice


@pytest.mark.parametrize("sigma", [0.8, 1.0, 2.0])
def test_gaussian_blur_spreads_a_point_by_its_variance(sigma: float) -> None:
    blurred = gaussian_blur(point(), sigma, rng())
    offsets = np.arange(33) - 16
    assert np.allclose(blurred.sum((1, 2)), 1)
    assert (blurred[0].sum(0) * offsets**2).sum() == pytest.approx(sigma**2, rel=0.02)
    assert np.allclose(blurred, blurred.transpose(0, 2, 1))


@pytest.mark.parametrize(("level", "area"), [((3, 0.1), 29), ((2.5, 0.01), 21), ((1, 0.1), 5), ((10, 0.5), 317)])
def test_a_point_out_of_focus_is_a_disc(level: tuple[float, float], area: int) -> None:
    kernel = disc(*level)
    assert kernel.max() == pytest.approx(1 / area, rel=1e-6)
    assert np.allclose(kernel, np.rot90(kernel))
    assert np.array_equal(kernel, kernel[::-1])


@pytest.mark.parametrize("family", ["cifar", "tiny-imagenet", "imagenet"])
def test_discs_are_those_that_the_archives_used(family: str) -> None:
    cv2 = pytest.importorskip("cv2")
    for radius, smoothing in CORRUPTIONS["defocus_blur"].severities[family]:  # type: ignore[misc]
        x = np.arange(-max(8, int(radius)), max(8, int(radius)) + 1)
        sharp = (x[:, None] ** 2 + x**2 <= radius**2).astype(np.float32)
        taps = 3 if radius <= 8 else 5
        expected = cv2.GaussianBlur(sharp / sharp.sum(), (taps, taps), smoothing)
        assert np.allclose(disc(radius, smoothing), expected, atol=1e-6)


def test_defocus_brightens_by_one_percent_where_the_disc_fills_its_kernel() -> None:
    assert [round(disc(radius, 0.5).sum(), 3) for radius in (4, 6, 8, 10)] == [1, 1, 1.013, 1.011]


@pytest.mark.parametrize("reach", [1, 2, 4])
@pytest.mark.parametrize("size", [(9, 12), (16, 11)])
def test_glass_moves_pixels_as_one_loop_over_them_would(reach: int, size: tuple[int, int]) -> None:
    """From the last pixel to the first, each is overwritten by its neighbour of that moment."""
    height, width = size
    pixels = rng().random((3, *size))
    expected, rows, columns = pixels.copy(), height - 2 * reach, width - 2 * reach
    down, right = rng().integers(-reach, reach, size=(2, rows, columns))
    for y in range(height - reach, reach, -1):
        for x in range(width - reach, reach, -1):
            dy, dx = down[y - reach - 1, x - reach - 1], right[y - reach - 1, x - reach - 1]
            expected[:, y, x] = expected[:, y + dy, x + dx]
    assert np.array_equal(scatter(pixels, reach, rng()), expected)


def test_glass_without_blur_only_moves_pixels() -> None:
    pixels = floored(rng().random((3, 16, 16)))
    moved = CORRUPTIONS["glass_blur"].apply(pixels, (0, 1, 2), rng())
    assert not np.array_equal(moved, pixels)
    assert set(map(tuple, moved.reshape(3, -1).T)) <= set(map(tuple, pixels.reshape(3, -1).T))


@pytest.mark.parametrize(("angle", "axis"), [(0, -1), (-90, -2)])
def test_a_streak_is_half_a_gaussian_along_its_line(angle: float, axis: int) -> None:
    blurred = streak(point(), 6, 2, angle=angle)
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    line = np.moveaxis(blurred, axis, -1)[0, 16]
    tail = line[16::-1][:13] if angle == 0 else line[16:][:13]
    assert np.allclose(tail, weights / weights.sum())
    assert blurred[0].sum() == pytest.approx(1)


@pytest.mark.parametrize("angle", [-45, -20.5, 0, 33, 45, -120])
@pytest.mark.parametrize(("radius", "sigma"), [(6, 1), (20, 15)])
def test_a_streak_leaves_a_constant_alone_and_stays_on_its_line(angle: float, radius: float, sigma: float) -> None:
    assert np.allclose(streak(np.full((1, 9, 9), 0.3), radius, sigma, angle=angle), 0.3)
    (rows, columns) = np.nonzero(streak(point(101), radius, sigma, angle=angle)[0])
    normal = np.sin(np.deg2rad(angle)) * (columns - 50) - np.cos(np.deg2rad(angle)) * (rows - 50)
    assert len(rows) > radius
    assert np.abs(normal).max() <= 0.75


def test_motion_blur_comes_in_whole_grey_levels_at_many_angles() -> None:
    level = CORRUPTIONS["motion_blur"].level("cifar", 5)
    draws = np.random.default_rng(1)
    images = [CORRUPTIONS["motion_blur"].apply(point(), level, draws) for _ in range(8)]
    assert all(np.array_equal(image, written(image)) for image in images)
    assert len({image.tobytes() for image in images}) > 4


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (21, 30)])
@pytest.mark.parametrize("factor", [1, 1.01, 1.11, 1.26, 2.25, 4.5])
def test_magnifying_is_the_zoom_of_scipy_cropped_to_the_middle(factor: float, size: tuple[int, int]) -> None:
    pixels = rng().random((2, *size))
    crop = [int(np.ceil(side / factor)) for side in size]
    top, left = ((side - kept) // 2 for side, kept in zip(size, crop, strict=True))
    zoomed = ndimage.zoom(pixels[:, top : top + crop[0], left : left + crop[1]], (1, factor, factor), order=1)
    y, x = ((side - kept) // 2 for side, kept in zip(zoomed.shape[1:], size, strict=True))
    assert np.allclose(magnify(pixels, factor), zoomed[:, y : y + size[0], x : x + size[1]])


def test_zoom_blur_is_the_mean_of_its_zooms() -> None:
    pixels = rng().random((3, 20, 20))
    expected = (2 * pixels + magnify(pixels, 1.25) + magnify(pixels, 1.5)) / 4
    assert np.allclose(CORRUPTIONS["zoom_blur"].apply(pixels, (1.6, 0.25), rng()), expected)
