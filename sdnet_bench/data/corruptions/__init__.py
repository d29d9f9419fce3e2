"""The corruptions of the -C and C-bar benchmarks: `(3, H, W)` uint8 to uint8.

The group "bar" is that of CIFAR-10-C-bar and ImageNet-C-bar (Mintun, Kirillov & Xie, 2021), the others are those of the
-C benchmarks (Hendrycks & Dietterich, 2019).

The levels of the archives' severities are in `severities.toml`. Our images follow the distributions of the archives;
their pixels differ, because the archives have no seed. ImageNet-C and Tiny-ImageNet-C were also saved as JPEG of
quality 85; images that are corrupted on the fly are not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from . import bar, blur, digital, noise, weather
from .corruption import (
    CORRUPTIONS,
    SEVERITIES,
    Apply,
    Corruption,
    Group,
    Level,
    corrupt,
    drawing,
    library_versions,
    revision_of,
)
from .pixels import Pixels

__all__ = [
    "CORRUPTIONS",
    "SEVERITIES",
    "Corruption",
    "Level",
    "Pixels",
    "corrupt",
    "drawing",
    "library_versions",
    "revision_of",
]

PARTS: dict[Group, tuple[Apply, ...]] = {
    "noise": (noise.gaussian, noise.shot, noise.speckle, noise.impulse),
    "blur": (blur.gaussian_blur, blur.glass_blur, blur.defocus_blur, blur.motion_blur, blur.zoom_blur),
    "weather": (weather.fog, weather.frost, weather.snow, weather.spatter),
    "digital": (
        digital.contrast,
        digital.brightness,
        digital.saturate,
        digital.jpeg_compression,
        digital.pixelate,
        digital.elastic_transform,
    ),
    "bar": (
        bar.blue_noise_sample,
        bar.brownish_noise,
        bar.checkerboard_cutout,
        bar.inverse_sparkles,
        bar.sparkles,
        bar.circular_motion_blur,
        bar.lines,
        bar.pinch_and_twirl,
        bar.ripple,
        bar.transverse_chromatic_abberation,
        bar.caustic_refraction,
        bar.cocentric_sine_waves,
        bar.perlin_noise,
        bar.plasma_noise,
        bar.single_frequency_greyscale,
    ),
}
EXTRA = {"speckle", "gaussian_blur", "spatter", "saturate"}
REVISIONS = {"defocus_blur": 2, "elastic_transform": 2, "motion_blur": 2, "snow": 2}
"""Versions of pixels, where they are not 1. In 1, motion blur rounded to the nearest grey level, not down (`written`),
and the grey levels of defocus blur and elastic transform depended on the processor and on the versions of libraries."""


def _register(group: Group, apply: Apply, table: dict[str, Any]) -> None:
    name = apply.__name__
    severities = {family: _levels(table[family]) for family in table if family != "fit"}
    fit = {family: _levels(levels) for family, levels in table.get("fit", {}).items()}
    is_extra = group == "bar" or name in EXTRA
    corruption = Corruption(name, apply, severities, fit, group=group, extra=is_extra, revision=REVISIONS.get(name, 1))
    CORRUPTIONS.register(name)(corruption)


def _levels(values: Iterable[Any]) -> tuple[Any, ...]:
    """Converts lists of numbers, nested or not, to tuples of floats."""
    return tuple(_levels(value) if isinstance(value, list) else float(value) for value in values)


TABLES = tomllib.loads(files(__name__).joinpath("severities.toml").read_text(encoding="utf-8"))
for group, parts in PARTS.items():
    for part in parts:
        _register(group, part, TABLES[part.__name__])
