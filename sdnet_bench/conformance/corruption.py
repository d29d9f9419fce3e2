"""The contract of a corruption: pixels of the same shape, which depend only on input, level and generator."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import SEVERITIES, Corruption, corrupt, limited, open_dataset
from ..data.corruptions import Level, Pixels
from .findings import Check

IMAGES = 16
TINT = np.array([1.0, 0.7, 0.4]).reshape(3, 1, 1)
SHAPES = ((3, 32, 32), (3, 48, 64))


@dataclass(frozen=True)
class CorruptionSubject:
    """A corruption by name, with a few handwritten digits as test images."""

    corruption: Corruption

    @property
    def images(self) -> NDArray[np.uint8]:
        """`(16, 3, 32, 32)` uint8: coloured digits."""
        split = limited(open_dataset("digits", Path()).open("test"), IMAGES)
        grey: NDArray[np.uint8] = next(split.batches(IMAGES, torch.device("cpu"))).images.numpy()
        tinted: NDArray[np.uint8] = (grey * TINT).astype(np.uint8)
        return tinted

    @property
    def levels(self) -> Iterator[tuple[str, int, Level]]:
        """All triples (family, severity, level) of the corruption."""
        for family, levels in self.corruption.severities.items():
            yield from ((family, severity, level) for severity, level in zip(SEVERITIES, levels, strict=True))

    def corrupted(self, level: Level) -> NDArray[np.uint8]:
        """The images corrupted at a level, as `corrupt` returns them."""
        name = self.corruption.name
        return np.stack([corrupt(name, image, level=level, seed=0, index=at) for at, image in enumerate(self.images)])

    def apply(self, pixels: Pixels, level: Level) -> Pixels:
        """The corrupted pixels of one image, before clipping."""
        return self.corruption.apply(pixels, level, np.random.default_rng(0))


def _has_five_severities(subject: CorruptionSubject) -> str | None:
    counts = {family: len(levels) for family, levels in subject.corruption.severities.items()}
    wrong = [f"{count} for {family}" for family, count in counts.items() if count != len(SEVERITIES)]
    if wrong or not counts:
        return ", ".join(wrong) or "none"
    odd = [level for _, _, level in subject.levels if not np.isfinite(np.asarray(level, dtype=float)).all()]
    return f"the level {odd[0]}" if odd else None


def _keeps_the_shape(subject: CorruptionSubject) -> str | None:
    for shape in SHAPES:
        for family, severity, level in subject.levels:
            made = np.asarray(subject.apply(_picture(shape), level))
            if made.shape != shape or not np.isfinite(made).all():
                fault = made.shape if made.shape != shape else "values that are not finite"
                return f"{fault} for {shape} at severity {severity} of {family}"
    return None


def _repeats(subject: CorruptionSubject) -> str | None:
    for family, severity, level in subject.levels:
        if not np.array_equal(subject.corrupted(level), subject.corrupted(level)):
            return f"other images the second time at severity {severity} of {family}"
    return None


def _leaves_generators_alone(subject: CorruptionSubject) -> str | None:
    _, _, level = next(subject.levels)
    before = _generators()
    subject.apply(_picture(SHAPES[0]), level)
    moved = [name for name, state in _generators().items() if state != before[name]]
    return f"another state of {moved[0]}'s" if moved else None


def _leaves_its_input_alone(subject: CorruptionSubject) -> str | None:
    for family, severity, level in subject.levels:
        pixels = _picture(SHAPES[0])
        subject.apply(pixels, level)
        if not np.array_equal(pixels, _picture(SHAPES[0])):
            return f"another input after severity {severity} of {family}"
    return None


def _changes_images(subject: CorruptionSubject) -> str | None:
    for family, severity, level in subject.levels:
        if np.array_equal(subject.corrupted(level), subject.images):
            return f"the clean images at severity {severity} of {family}"
    return None


def _grows(subject: CorruptionSubject) -> str | None:
    for family in subject.corruption.severities:
        distances = [
            subject.corrupted(level) - subject.images.astype(float) for of, _, level in subject.levels if of == family
        ]
        means = [float(np.abs(distance).mean()) for distance in distances]
        if any(later <= earlier for earlier, later in pairwise(means)):
            return f"{', '.join(f'{mean:.3g}' for mean in means)} levels of 255 for {family}"
    return None


def _picture(shape: tuple[int, ...]) -> Pixels:
    """An image of uniform noise in [0, 1]."""
    return np.random.default_rng(1).random(shape)


def _generators() -> dict[str, str]:
    """States of the global random generators, by library."""
    return {
        "numpy": str(np.random.get_state()),
        "torch": str(torch.get_rng_state().tolist()),
        "random": str(random.getstate()),
    }


CORRUPTION_CHECKS = (
    Check("severities", "five levels, of finite numbers, for each family of archives", _has_five_severities, "stop"),
    Check("shape", "finite pixels of the image's shape", _keeps_the_shape, "stop"),
    Check("determinism", "the same image from the same seed", _repeats),
    Check("generators", "random numbers from the generator that it is given alone", _leaves_generators_alone),
    Check("input", "an input that stays as it is", _leaves_its_input_alone),
    Check("change", "images that are changed", _changes_images, "warn"),
    Check("order", "images that are further from the clean ones as severity grows", _grows, "warn"),
)
