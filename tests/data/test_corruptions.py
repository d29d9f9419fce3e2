"""The four noises against their formulae and the archives' severities; nothing but the seed decides the outcome."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdnet_bench.data import CORRUPTIONS, SEVERITIES, Augmentation, corrupt
from sdnet_bench.data.corruptions import Pixels
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.engine.evaluate import Noise
from sdnet_bench.errors import UnknownNameError, UsageError

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
CPU = torch.device("cpu")


def noisy_pixels(name: str, value: float, level: float) -> Pixels:
    """Many pixels of one value, with noise, before they are clipped and floored."""
    return CORRUPTIONS[name].apply(np.full((3, 200, 200), value), level, np.random.default_rng(0))


def grey(value: int, side: int = 200) -> NDArray[np.uint8]:
    return np.full((3, side, side), value, dtype=np.uint8)


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
    name: str, level: float, deviation: object, value: float
) -> None:
    assert callable(deviation)
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


def test_black_has_no_shot_and_no_speckle_noise() -> None:
    for name in ("shot", "speckle"):
        assert not corrupt(name, grey(0), level=CIFAR[name][-1], seed=0, index=0).any()


def test_values_are_floored_and_not_rounded() -> None:
    """Flooring loses half a grey level on average."""
    image = corrupt("gaussian", grey(128), level=0.04, seed=0, index=0)
    assert image.mean() == pytest.approx(127.5, abs=0.15)


def test_values_are_clipped_and_do_not_wrap_around() -> None:
    assert corrupt("gaussian", grey(255), level=0.1, seed=0, index=0).min() > 100
    assert corrupt("gaussian", grey(0), level=0.1, seed=0, index=0).max() < 155


@pytest.mark.parametrize("name", NAMES)
def test_images_stay_images(name: str) -> None:
    clean = np.random.default_rng(0).integers(256, size=(3, 5, 7), dtype=np.uint8)
    before = clean.copy()
    noisy = corrupt(name, clean, level=CIFAR[name][2], seed=0, index=0)
    assert (noisy.dtype, noisy.shape) == (np.uint8, (3, 5, 7))
    assert np.array_equal(clean, before)


@pytest.mark.parametrize("name", NAMES)
def test_severities_are_those_of_the_archives(name: str) -> None:
    corruption = CORRUPTIONS[name]
    assert tuple(corruption.level("cifar", severity) for severity in SEVERITIES) == CIFAR[name]
    assert tuple(corruption.level("imagenet", severity) for severity in SEVERITIES) == IMAGENET[name]


def test_the_four_additive_noises_are_there() -> None:
    assert set(NAMES) <= set(CORRUPTIONS)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", NAMES)
def test_each_severity_hurts_more_than_the_one_below(name: str, family: str) -> None:
    level = CORRUPTIONS[name].level
    clean = grey(128)
    damage = [
        np.square(corrupt(name, clean, level=level(family, severity), seed=0, index=0) - 127.5).mean()
        for severity in SEVERITIES
    ]
    assert damage == sorted(damage)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_there_are_five_severities(severity: int) -> None:
    with pytest.raises(UsageError, match=f"severity out of range, expected 1 to 5, got {severity}"):
        CORRUPTIONS["gaussian"].level("cifar", severity)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", NAMES)
def test_the_levels_of_algorithm_1_cover_the_severities_and_reach_beyond(name: str, family: str) -> None:
    corruption = CORRUPTIONS[name]
    fit, severities = corruption.fit_levels[family], corruption.severities[family]
    assert min(fit) <= min(severities)
    assert max(fit) >= max(severities)
    assert (min(fit), max(fit)) != (min(severities), max(severities))
    assert len(set(fit)) >= 5


@pytest.mark.parametrize(("typed", "meant"), [("gausian", "gaussian"), ("impuls", "impulse"), ("speckel", "speckle")])
def test_a_misspelt_corruption_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown corruption '{typed}'. Did you mean '{meant}'"):
        corrupt(typed, grey(0, 2), level=0.1, seed=0, index=0)


BASE = {"name": "gaussian", "level": 0.08, "seed": 0, "index": 0}


@pytest.mark.parametrize("change", [{"name": "speckle"}, {"level": 0.0800001}, {"seed": 1}, {"index": 1}])
def test_the_outcome_depends_on(change: dict[str, object]) -> None:
    def noise(name: str, level: float, seed: int, index: int) -> NDArray[np.int64]:
        return corrupt(name, grey(128, 16), level=level, seed=seed, index=index).astype(np.int64)

    first, other = noise(**BASE), noise(**BASE | change)  # type: ignore[arg-type]
    assert np.array_equal(first, noise(**BASE))  # type: ignore[arg-type]
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.15


@pytest.fixture
def split() -> TensorSplit:
    images = torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8)
    return TensorSplit(images, torch.arange(10), torch.arange(100, 110), Augmentation())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_the_outcome_does_not_depend_on_the_batch_size(split: TensorSplit, name: str, batch_size: int) -> None:
    noise = Noise(name, CIFAR[name][4], seed=5)
    whole = torch.cat([noise(batch) for batch in split.batches(10, CPU)])
    assert torch.equal(whole, torch.cat([noise(batch) for batch in split.batches(batch_size, CPU)]))


def test_the_outcome_does_not_depend_on_order_or_company(split: TensorSplit) -> None:
    noise = Noise("shot", 50, seed=5)
    (whole,) = (noise(batch) for batch in split.batches(10, CPU))
    (part,) = (noise(batch) for batch in split.subset([7, 2]).batches(10, CPU))
    assert torch.equal(part, whole[[7, 2]])


def test_equal_images_get_different_noise(split: TensorSplit) -> None:
    same = TensorSplit(split.images[:1].expand(10, -1, -1, -1), split.labels, split.index, split.augmentation)
    (noisy,) = (Noise("gaussian", 0.1)(batch) for batch in same.batches(10, CPU))
    assert not torch.equal(noisy[0], noisy[1])


def test_a_whole_level_is_the_same_level_as_a_float() -> None:
    image = np.full((3, 8, 8), 100, np.uint8)
    first, second = (corrupt("shot", image, level=level, seed=0, index=7) for level in (500, 500.0))
    assert np.array_equal(first, second)
