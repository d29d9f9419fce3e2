"""The corruptions of CIFAR-10-C-bar and ImageNet-C-bar: their lists and levels, and what each does to an image."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from math import erf, sqrt
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdnet_bench import Bench
from sdnet_bench.api.requests import corruption_names
from sdnet_bench.data import CORRUPTIONS, SEVERITIES, corrupt
from sdnet_bench.data.corruptions import bar
from sdnet_bench.data.corruptions.pixels import Pixels
from sdnet_bench.errors import UsageError

SHARED = {"blue_noise_sample", "brownish_noise", "checkerboard_cutout", "inverse_sparkles", "sparkles"}
CIFAR = {"circular_motion_blur", "lines", "pinch_and_twirl", "ripple", "transverse_chromatic_abberation"}
IMAGENET = {"caustic_refraction", "cocentric_sine_waves", "perlin_noise", "plasma_noise", "single_frequency_greyscale"}
BENCHMARKS = {"cifar": SHARED | CIFAR, "imagenet": SHARED | IMAGENET}
PAIRS = [(family, name) for family, names in BENCHMARKS.items() for name in sorted(names)]
SIDES = {"cifar": 32, "imagenet": 96}
DIGESTS = {
    "cifar": {
        "blue_noise_sample": "99c328aa3f38d9ef",
        "brownish_noise": "82ff8cb5fed9a2c4",
        "checkerboard_cutout": "4020d6ac3d379571",
        "circular_motion_blur": "d34c53ca7ae5d043",
        "inverse_sparkles": "748f1e597c5a2061",
        "lines": "901744e103f53ca7",
        "pinch_and_twirl": "9f0437759979eb70",
        "ripple": "ffb3f3e814d854ee",
        "sparkles": "7aae1d50dc9c18c2",
        "transverse_chromatic_abberation": "63fbf0ecb467b64f",
    },
    "imagenet": {
        "blue_noise_sample": "b05275e6ff68f443",
        "brownish_noise": "0bd83e2f313d6f0b",
        "caustic_refraction": "4367193bd4171e6a",
        "checkerboard_cutout": "d8d477f48050f3c1",
        "cocentric_sine_waves": "a61a252f64ed744f",
        "inverse_sparkles": "a84b98839a27eadb",
        "perlin_noise": "e35a3a1f9dc489f0",
        "plasma_noise": "5b34bee251dbaf81",
        "single_frequency_greyscale": "0e5c964aaaf4a036",
        "sparkles": "873ba70aa5b97c77",
    },
}
"""The first digits of the sha256 of `picture` at severities 1 to 5."""


def picture(height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    """`(3, H, W)`: a ramp of colours with a bright rectangle and stripes."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = np.stack([0.3 + 0.4 * x, 0.7 - 0.4 * y, 0.4 + 0.2 * x * y])
    image[:, height // 4 : height // 2, width // 4 : width // 2] += 0.25
    image[:, :, ::4] -= 0.2
    return (image * 255).astype(np.uint8)


def spoiled(name: str, image: NDArray[np.uint8], family: str, severity: int, index: int = 0) -> NDArray[np.uint8]:
    return corrupt(name, image, level=CORRUPTIONS[name].level(family, severity), seed=0, index=index)


def damage(name: str, family: str, severity: int) -> float:
    """The mean absolute difference to the clean image, over 20 draws."""
    clean = picture(SIDES[family], SIDES[family])
    images = [spoiled(name, clean, family, severity, index) for index in range(20)]
    return float(np.abs(np.stack(images).astype(float) - clean).mean())


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("family", BENCHMARKS)
def test_each_benchmark_has_its_ten(family: str) -> None:
    assert set(corruption_names("bar", family=family)) == BENCHMARKS[family]
    assert len(BENCHMARKS[family]) == 10


def test_the_other_groups_and_the_mean_corruption_error_are_as_they_were() -> None:
    parts = CORRUPTIONS.ours.values()
    assert {part.name for part in parts if part.group == "bar"} == SHARED | CIFAR | IMAGENET
    assert len([part for part in parts if not part.extra]) == 15
    assert not {*corruption_names(["all", "noise", "blur", "weather", "digital"])} & {*corruption_names("bar")}


def test_one_of_the_other_benchmark_alone_has_no_levels() -> None:
    assert corruption_names("lines", family="imagenet") == ["lines"]
    with pytest.raises(UsageError, match="lines has no levels for such images, expected cifar, got imagenet"):
        CORRUPTIONS["lines"].level("imagenet", 1)


@pytest.mark.parametrize(
    ("name", "family", "levels"),
    [
        ("blue_noise_sample", "cifar", (0.7, 1.4, 2.1, 3.5, 4.2)),
        ("sparkles", "cifar", (0.7, 3.5, 5.6, 6.3, 7.0)),
        ("pinch_and_twirl", "cifar", (5.5, 6.0, 6.5, 8.5, 10.0)),
        ("inverse_sparkles", "imagenet", (1.0, 2.0, 4.0, 9.0, 10.0)),
        ("caustic_refraction", "imagenet", (2.35, 3.2, 4.9, 6.6, 9.15)),
        ("single_frequency_greyscale", "imagenet", (1.0, 1.5, 2.0, 4.5, 5.0)),
    ],
)
def test_levels_are_those_of_the_publication(name: str, family: str, levels: tuple[float, ...]) -> None:
    assert CORRUPTIONS[name].severities[family] == levels


@pytest.mark.parametrize("size", [(5, 7), (32, 32), (40, 33)])
@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_images_of_any_size_stay_images(family: str, name: str, size: tuple[int, int]) -> None:
    clean = picture(*size)
    before = clean.copy()
    for severity in SEVERITIES:
        image = spoiled(name, clean, family, severity)
        assert (image.dtype, image.shape) == (np.uint8, (3, *size))
    assert np.array_equal(clean, before)


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_each_severity_hurts_more_than_the_one_below(family: str, name: str) -> None:
    found = [damage(name, family, severity) for severity in SEVERITIES]
    assert all(higher > 1.005 * lower for lower, higher in pairwise(found)), found


@pytest.mark.parametrize("name", sorted((SHARED | CIFAR | IMAGENET) - {"circular_motion_blur"}))
def test_nothing_but_seed_and_index_decides(name: str) -> None:
    clean, level = picture(), next(iter(CORRUPTIONS[name].severities.values()))[4]
    first = corrupt(name, clean, level=level, seed=0, index=0)
    assert np.array_equal(first, corrupt(name, clean, level=level, seed=0, index=0))
    others = [[corrupt(name, clean, level=level, seed=at, index=0) for at in range(1, 6)]]
    others += [[corrupt(name, clean, level=level, seed=0, index=at) for at in range(1, 6)]]
    assert all(any(not np.array_equal(first, each) for each in some) for some in others), "six orders of channels"


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_bytes_are_a_promise(family: str, name: str) -> None:
    """Records stand only as long as the same seed gives the same images; otherwise `REVISIONS` says so."""
    clean = picture(SIDES[family], SIDES[family])
    content = b"".join(spoiled(name, clean, family, severity).tobytes() for severity in SEVERITIES)
    assert hashlib.sha256(content).hexdigest()[:16] == DIGESTS[family][name]


def test_blue_noise_blackens_its_share_of_points_and_leaves_the_others() -> None:
    grey = np.full((3, 128, 128), 0.5)
    for strength in (2.0, 5.0):
        image = bar.blue_noise_sample(grey, strength, rng())
        expected = (1 + erf((0.3 * strength - 2.5) / sqrt(2))) / 2
        assert set(np.unique(image)) == {0, 0.5}
        assert (image == 0).mean() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("amplitude", "is_fine"), [(lambda f: f, True), (lambda f: 1 / (f**2 + 1), False)])
def test_noise_has_the_spectrum_that_it_is_asked_for(amplitude: object, is_fine: bool) -> None:
    noise = bar.coloured_noise((3, 64, 48), amplitude, rng())  # type: ignore[arg-type]
    assert noise.std((1, 2)) == pytest.approx(1)
    power = np.abs(np.fft.fft2(noise)) ** 2
    coarse = power[:, :8, :8].mean() / power[:, 24:40, 16:32].mean()
    assert (coarse < 0.2) if is_fine else (coarse > 100)


def test_the_checkerboard_loses_half_of_its_squares_at_most() -> None:
    white = np.ones((3, 224, 224))
    shares = [np.mean([(bar.checkerboard_cutout(white, s, rng()) < 1).mean() for _ in range(3)]) for s in (0, 10)]
    assert shares == [0, pytest.approx(0.5, abs=0.05)]
    assert set(np.unique(bar.checkerboard_cutout(white, 5, rng()))) == {128 / 255, 1}


def test_a_stroke_covers_its_pixels_and_half_of_what_is_half_a_pixel_away() -> None:
    level = bar.stroke((3, 5, 9), np.array([2.0, 1.0]), np.array([2.0, 7.0]))
    assert np.array_equal(level, np.pad(np.ones((1, 7)), ((2, 2), (1, 1))))
    sloped = bar.stroke((3, 3, 9), np.array([0.0, 0.0]), np.array([1.0, 8.0]))
    assert sloped[:2, 4] == pytest.approx(1 - 0.5 * np.cos(np.arctan(1 / 8)))


def test_a_point_between_pixels_is_their_mean_and_one_outside_is_black() -> None:
    pixels: Pixels = np.arange(12.0).reshape(1, 3, 4)
    at = np.array([[[0.5, 2.0, -0.5, 9.0]], [[1.5, 3.0, 2.0, 1.0]]])
    assert bar.sample(pixels, at).tolist() == [[[3.5, 11.0, 1.0, 0.0]]]


@pytest.mark.parametrize("warp", [bar.pinch_and_twirl, bar.ripple, bar.circular_motion_blur])
@pytest.mark.parametrize("level", [1, 77, 200, 255])
def test_warps_keep_the_grey_level_of_flat_areas(warp: object, level: int) -> None:
    flat = np.full((3, 48, 48), level, np.uint8)
    image = corrupt(warp.__name__, flat, level=5.0, seed=0, index=0)  # type: ignore[attr-defined]
    assert (image[:, 12:36, 12:36] == level).all()


def test_a_discs_rim_stays_and_its_inside_moves() -> None:
    y, x = np.indices((32, 32))
    moved = bar.pinch_and_twirl(np.stack([y, x, y * x]) / 1000, 10, rng())
    is_moved = np.abs(moved[:2] * 1000 - [y, x]).max(0) > 1e-9
    assert not is_moved[::10].any()
    assert not is_moved[30:].any()
    assert is_moved[3:7, 3:7].sum() == 15, "all but the centre"


def test_channels_are_magnified_unequally() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 32), (3, 32, 32))
    steps = np.diff(bar.transverse_chromatic_abberation(ramp, 10, rng())[:, 16, 8:25]).mean(1) * 31
    assert sorted(1 / steps) == pytest.approx([1, 1.25, 1.5], rel=0.05)


def test_light_and_waves_are_added_in_grey_levels() -> None:
    grey = np.full((3, 64, 64), 0.5)
    wave = bar.single_frequency_greyscale(grey, 5, rng()) - 0.5
    assert np.abs(wave).max() == pytest.approx(98 / 255, rel=0.01)
    rings = bar.cocentric_sine_waves(grey, 10, rng()) - 0.5
    assert (rings.min(), rings.max()) == pytest.approx((-64 / 255, 64 / 255), rel=0.02)


def test_gradient_noise_is_zero_at_whole_points_and_smooth_in_between() -> None:
    grid = np.indices((65, 65)) / 8
    noise = bar.gradient_noise(grid, rng())
    assert np.abs(noise[::8, ::8]).max() == 0
    assert 0.2 < noise.std() < 0.6
    assert np.abs(np.diff(noise, axis=0)).max() < 0.6


def test_water_without_depth_changes_nothing_and_caustics_repeat() -> None:
    image = picture()
    assert np.array_equal(corrupt("caustic_refraction", image, level=0.0, seed=0, index=0), image)
    grid = np.indices((16, 16)) / 16
    light = bar.caustics(grid, 1.0)
    assert light.min() >= 0
    assert light.max() <= 1
    assert bar.caustics(grid + 1, 1.0) == pytest.approx(light)


def test_the_group_on_images_of_a_family_is_its_benchmark(runs: Path) -> None:
    """Digits have the severities of ImageNet."""
    found = Bench("resnet18-tiny", runs_dir=runs, progress=False).evaluate("bar", severity=2, limit=4)
    assert {record.images.corruption for record in found} == BENCHMARKS["imagenet"]
