"""The four noises against their formulae."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sdnet_bench.data import CORRUPTIONS, corrupt
from sdnet_bench.data.corruptions import Pixels

CIFAR = {
    "gaussian": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot": (500, 250, 100, 75, 50),
    "impulse": (0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle": (0.06, 0.10, 0.12, 0.16, 0.20),
}
IMAGENET = {
    "gaussian": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot": (60, 25, 12, 5, 3),
    "impulse": (0.03, 0.06, 0.09, 0.17, 0.27),
    "speckle": (0.15, 0.20, 0.35, 0.45, 0.60),
}
NAMES = sorted(CIFAR)


def noisy_pixels(name: str, value: float, level: float) -> Pixels:
    """Many pixels of one value, with noise, before they are clipped and floored."""
    return CORRUPTIONS[name].apply(np.full((3, 200, 200), value), level, np.random.default_rng(0))


@pytest.mark.parametrize("value", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    ("name", "level", "deviation"),
    [
        ("gaussian", 0.08, lambda value, sigma: sigma),
        ("speckle", 0.12, lambda value, sigma: sigma * value),
        ("shot", 100, lambda value, rate: (value / rate) ** 0.5),
    ],
)
def test_noise_has_the_mean_and_the_deviation_of_its_formula(
    name: str, level: float, deviation: Callable[[float, float], float], value: float
) -> None:
    pixels, expected = noisy_pixels(name, value, level), deviation(value, level)
    assert pixels.mean() == pytest.approx(value, abs=4 * expected / pixels.size**0.5)
    assert pixels.std() == pytest.approx(expected, rel=0.02)


def test_shot_noise_counts_photons() -> None:
    counts = noisy_pixels("shot", 0.5, 100) * 100
    assert np.allclose(counts, counts.round())


@pytest.mark.parametrize("amount", [0.05, 0.27])
def test_impulse_noise_turns_its_share_of_values_to_black_or_white_in_equal_parts(amount: float) -> None:
    pixels = noisy_pixels("impulse", 0.5, amount)
    assert set(np.unique(pixels)) == {0.0, 0.5, 1.0}
    assert (pixels == 0).mean() == pytest.approx(amount / 2, rel=0.05)
    assert (pixels == 1).mean() == pytest.approx(amount / 2, rel=0.05)


def test_impulse_noise_hits_each_channel_on_its_own() -> None:
    hit = noisy_pixels("impulse", 0.5, 0.2) != 0.5
    assert hit.all(axis=0).mean() == pytest.approx(0.2**3, rel=0.3)


@pytest.mark.parametrize("name", ["shot", "speckle"])
def test_black_has_no_shot_and_no_speckle_noise(name: str) -> None:
    black = np.zeros((3, 32, 32), np.uint8)
    assert not corrupt(name, black, level=CIFAR[name][-1], seed=0, index=0).any()


@pytest.mark.parametrize("name", NAMES)
def test_severities_are_those_of_the_archives(name: str) -> None:
    assert CORRUPTIONS[name].severities["cifar"] == CIFAR[name]
    assert CORRUPTIONS[name].severities["imagenet"] == IMAGENET[name]


@pytest.mark.parametrize("family", ["cifar", "tiny-imagenet", "imagenet"])
@pytest.mark.parametrize("name", NAMES)
def test_the_levels_of_algorithm_1_cover_the_severities_and_reach_beyond(name: str, family: str) -> None:
    corruption = CORRUPTIONS[name]
    fit, severities = corruption.levels(family), np.array(corruption.severities[family])
    assert min(fit) <= severities.min()
    assert max(fit) >= severities.max()
    assert (min(fit), max(fit)) != (severities.min(), severities.max())
    assert len(set(fit)) == 7
