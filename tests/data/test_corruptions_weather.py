"""Fog, frost, snow and spatter against their formulae, with photographs of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdnet_bench.data import CORRUPTIONS, corrupt
from sdnet_bench.data.corruptions import Level, Pixels, weather
from sdnet_bench.data.corruptions.weather import plasma
from sdnet_bench.errors import DataError

FROSTS = [40, 80, 120, 160, 200]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def apply(name: str, pixels: Pixels, level: Level, seed: int = 0) -> Pixels:
    return CORRUPTIONS[name].apply(pixels, level, rng(seed))


def plasma_point_by_point(side: int, decay: float) -> Pixels:
    """The diamond-square algorithm as it is told: squares, then edges, with neighbours counted round the torus."""
    draws, heights, step, amplitude = rng(), np.zeros((side, side)), side, 1.0
    while step > 1:
        half, cells = step // 2, side // step
        for first, second in [(half, half), (0, half), (half, 0)]:
            reach = [(-half, -half), (-half, half), (half, -half), (half, half)]
            reach = reach if first == second else [(-half, 0), (half, 0), (0, -half), (0, half)]
            draw = draws.uniform(-amplitude, amplitude, (cells, cells))
            for i in range(cells):
                for j in range(cells):
                    y, x = i * step + first, j * step + second
                    mean = sum(heights[(y + dy) % side, (x + dx) % side] for dy, dx in reach) / 4
                    heights[y, x] = mean + draw[i, j]
        step, amplitude = half, amplitude / decay**2
    heights -= heights.min()
    return heights / float(heights.max())


@pytest.mark.parametrize(("side", "decay"), [(2, 3), (8, 1.75), (16, 3)])
def test_clouds_are_diamonds_and_squares(side: int, decay: float) -> None:
    assert np.allclose(plasma(side, decay, rng()), plasma_point_by_point(side, decay))


def test_clouds_fill_their_range_and_are_smoother_with_more_decay() -> None:
    clouds = [plasma(64, decay, rng()) for decay in (1.4, 2, 3)]
    assert all((cloud.min(), cloud.max()) == (0, 1) for cloud in clouds)
    slopes = [np.abs(np.diff(cloud)).mean() for cloud in clouds]
    assert slopes == sorted(slopes, reverse=True)


def test_fog_adds_a_cloud_and_keeps_the_brightest_value() -> None:
    pixels = rng(1).random((3, 24, 32)) * 0.8
    cloud, brightest = plasma(32, 2, rng())[:24], pixels.max()
    assert np.allclose(apply("fog", pixels, (1.5, 2)), (pixels + 1.5 * cloud) * brightest / (brightest + 1.5))
    assert apply("fog", pixels, (1.5, 2)).max() <= brightest
    assert np.array_equal(apply("fog", np.zeros((3, 8, 8)), (1.5, 2)), np.zeros((3, 8, 8)))


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six grey photographs of 60 x 50, as the archives name them."""
    for number, (value, kind) in enumerate(zip([*FROSTS, 250], ["png"] * 3 + ["jpg"] * 3, strict=True), start=1):
        Image.fromarray(np.full((50, 60, 3), value, np.uint8)).save(tmp_path / f"frost{number}.{kind}", quality=95)
    monkeypatch.setattr(weather, "frost_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("photographs")
def test_frost_is_a_weighted_sum_with_one_of_five_photographs() -> None:
    grey = np.full((3, 16, 16), 100, np.uint8)
    seen = {int(corrupt("frost", grey, level=(0.5, 0.4, 0.5), seed=0, index=index)[0, 0, 0]) for index in range(60)}
    assert seen == {50 + int(0.4 * value) for value in FROSTS}


@pytest.mark.parametrize("size", [(16, 16), (25, 30), (80, 30), (200, 300)])
@pytest.mark.usefixtures("photographs")
def test_photographs_are_enlarged_where_the_picture_is_larger(size: tuple[int, int]) -> None:
    pixels = apply("frost", np.zeros((3, *size)), (1, 1, 0.5))
    assert pixels.shape == (3, *size)
    assert pixels.min() > 0


def test_crops_of_frost_are_drawn_and_scaled_without_smoothing(photographs: Path) -> None:
    """At a scale of 1/5 every fifth pixel is left, the middle one of five."""
    values = rng().integers(256, size=(50, 60, 3), dtype=np.uint8)
    for number in range(1, 6):
        kind = "png" if number < 4 else "jpg"
        Image.fromarray(values).save(photographs / f"frost{number}.{kind}", "PNG")
    scaled = np.moveaxis(values[2::5, 2::5], -1, 0) / 255
    crops = {apply("frost", np.zeros((3, 8, 8)), (1, 1, 0.2), seed).tobytes() for seed in range(60)}
    assert crops == {scaled[:, top : top + 8, left : left + 8].tobytes() for top in range(2) for left in range(4)}


def test_without_photographs_frost_says_where_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weather, "find_spec", lambda name: None)
    hint = r"Install them with `pip install --no-deps imagecorruptions-imaug`\."
    with pytest.raises(DataError, match=rf"^the photographs of frost are not installed\. {hint}$"):
        corrupt("frost", np.zeros((3, 8, 8), np.uint8), level=(1, 0.2, 0.2), seed=0, index=0)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_snow_only_brightens_and_falls_twice(family: str) -> None:
    level = CORRUPTIONS["snow"].level(family, 5)
    pixels = rng(1).random((3, 40, 40)) * 0.9
    assert (apply("snow", pixels, level) >= pixels - 1e-12).all()
    flakes = apply("snow", np.zeros((3, 40, 40)), level)
    assert np.allclose(flakes, flakes[:, ::-1, ::-1])
    assert flakes.std() > 0


def test_without_flakes_snow_mixes_the_picture_with_its_whitened_self() -> None:
    pixels = rng(1).random((3, 8, 8))
    grey = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    expected = 0.7 * pixels + 0.3 * np.maximum(pixels, 1.5 * grey + 0.5)
    assert np.allclose(apply("snow", pixels, (0.1, 0.1, 1, 9, 10, 4, 0.7)), expected)


def test_water_is_turquoise_and_brightens_where_the_drops_are() -> None:
    pytest.importorskip("cv2")
    water = apply("spatter", np.zeros((3, 64, 64)), (0.65, 0.3, 2, 0.68, 0.5, 0))
    wet = water[0] > 0
    assert 0.02 < wet.mean() < 0.6
    assert water.max() == pytest.approx(0.5 * 238 / 255)
    assert np.allclose(water[:, wet] / water[1, wet], np.array([175, 238, 238])[:, None] / 238)


def test_mud_is_brown_and_opaque_in_the_middle_of_a_splash() -> None:
    muddy = apply("spatter", np.ones((3, 64, 64)), (0.65, 0.3, 3, 0.65, 1, 1))
    changed = (muddy < 1).any(0)
    assert 0.02 < changed.mean() < 0.98
    assert np.allclose(muddy[:, changed].min(1), np.array([63, 42, 20]) / 255, atol=0.01)
    assert muddy[0, changed].max() <= 1 - 0.8 * (1 - 63 / 255) + 1e-9


@pytest.mark.parametrize("is_mud", [0, 1])
def test_without_a_drop_the_picture_stays_as_it_is(is_mud: int) -> None:
    pytest.importorskip("cv2")
    pixels = rng(1).random((3, 16, 16))
    assert np.array_equal(apply("spatter", pixels, (0.5, 0.1, 1, 0.99, 0.5, is_mud)), pixels)
