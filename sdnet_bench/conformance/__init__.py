"""Checks whether a part, of the package or of a plugin, keeps its contract."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..adaptations import ADAPTATIONS
from ..attacks import ATTACKS
from ..backbones import BACKBONES, is_external
from ..data import CORRUPTIONS, DATASETS
from ..errors import UnknownNameError
from ..registry import Part, Registry
from .adaptation import ADAPTATION_CHECKS, AdaptationSubject
from .attack import ATTACK_CHECKS, AttackSubject
from .backbone import BACKBONE_CHECKS, BackboneSubject
from .corruption import CORRUPTION_CHECKS, CorruptionSubject
from .dataset import DATASET_CHECKS, DatasetSubject
from .findings import Finding, make_checks

__all__ = ["Finding", "all_parts", "check_part"]

REGISTRIES: tuple[Registry[Any], ...] = (ADAPTATIONS, ATTACKS, BACKBONES, CORRUPTIONS, DATASETS)


def all_parts() -> list[Part]:
    """Our own parts and those of plugins, sorted by kind and name; loads every plugin."""
    return [part for registry in REGISTRIES for part in registry.listing()]


def check_part(name: str, *, side: int = 32, data_dir: Path = Path("data")) -> Iterator[Finding]:
    """Checks every part called `name`; a network of a library, such as `torchvision:resnet18`, as a backbone.

    Args:
        name: name of the part.
        side: side of the square test images of a backbone.
        data_dir: folder of the data sets.

    Yields:
        Each finding as soon as it is made.

    Raises:
        UnknownNameError: there is no part of that name.
    """
    if is_external(name):
        return _findings("backbone", name, side, data_dir)
    kinds = [registry.kind for registry in REGISTRIES if name in registry]
    left_out = [*_left_out(name)]
    if not kinds and not left_out:
        raise UnknownNameError("part", name, {known for registry in REGISTRIES for known in registry})
    return chain(left_out, *(_findings(kind, name, side, data_dir) for kind in kinds))


def _findings(kind: str, name: str, side: int, data_dir: Path) -> Iterator[Finding]:
    if kind == "backbone":
        return make_checks(kind, BACKBONE_CHECKS, BackboneSubject(name, side))
    if kind == "corruption":
        return make_checks(kind, CORRUPTION_CHECKS, CorruptionSubject(CORRUPTIONS[name]))
    if kind == "attack":
        return make_checks(kind, ATTACK_CHECKS, AttackSubject(name))
    if kind == "adaptation":
        return make_checks(kind, ADAPTATION_CHECKS, AdaptationSubject(name))
    return make_checks(kind, DATASET_CHECKS, DatasetSubject(name, data_dir))


def _left_out(name: str) -> Iterator[Finding]:
    """Findings for rejected plugins of that name."""
    for registry in REGISTRIES:
        for part in registry.rejected:
            if part.name == name:
                says = f"expected a {part.kind} that can be used, got {part.distribution}'s: {part.state}"
                yield Finding(kind=part.kind, check="loads", verdict="fail", says=says)
