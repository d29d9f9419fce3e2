"""The class `Corruption`, the registry of corruptions, and `corrupt`, which corrupts one image.

The result depends only on the seed, the corruption, its level and the index of the image in its split, not on batch
size, order or device. Values are rounded down to uint8, as in the archives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...registry import Registry, check_call
from .pixels import Pixels

Level = float | tuple[float, ...]
"""The parameters of a corruption, such as a standard deviation, a rate or a share of pixels; one or several."""
Apply = Callable[[Pixels, Any, np.random.Generator], Pixels]
Group = Literal["noise", "blur", "weather", "digital", "bar"]
Levels = TypeVar("Levels")

SEVERITIES = (1, 2, 3, 4, 5)
LIBRARIES = {"PIL", "cv2", "scipy"}


@dataclass(frozen=True)
class Corruption:
    """A named corruption.

    Args:
        name: registered name.
        apply: `(pixels in [0, 1], level, generator) -> pixels`, pixels `(3, H, W)` float64; the caller clips the result
            to [0, 1].
        severities: for each family of archives, the levels of severities 1 to 5.
        fit_levels: for each family, the set C of Algorithm 1, whose range includes the severities; empty for a
            corruption that lambda is not fitted on.
        group: group in the benchmark; None for a corruption that is not in it.
        extra: whether it is not one of the 15 corruptions of the mean corruption error (mCE).
        revision: version of its pixels; records of other versions are measured again.
    """

    name: str
    apply: Apply
    severities: Mapping[str, tuple[Level, ...]]
    fit_levels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    group: Group | None = None
    extra: bool = True
    revision: int = 1

    @property
    def archive_name(self) -> str:
        """The file or folder name of the corruption in the -C archives."""
        return f"{self.name}_noise" if self.group == "noise" else self.name

    def level(self, family: str, severity: int) -> Level:
        """The level of a severity in a family's archive."""
        if severity not in SEVERITIES:
            raise UsageError("severity out of range", expected="1 to 5", got=severity)
        return self._of(self.severities, family)[severity - 1]

    def levels(self, family: str) -> tuple[float, ...]:
        """The set C of Algorithm 1 for a family; a `UsageError` where it is empty."""
        if not self.fit_levels:
            raise UsageError(f"{self.name} has no levels that lambda could be fitted on", expected="one of the noises")
        return self._of(self.fit_levels, family)

    def _of(self, table: Mapping[str, Levels], family: str) -> Levels:
        if family not in table:
            raise UsageError(f"{self.name} has no levels for such images", expected=", ".join(table), got=family)
        return table[family]


def check_corruption(part: object) -> None:
    """Raises a TypeError where `part` is not a `Corruption`."""
    if not isinstance(part, Corruption):
        raise TypeError(f"expected a sdnet_bench.data.Corruption, got {part!r}")
    check_call(part.apply, "(pixels, level, generator) as what it applies", None, 0.0, None)


CORRUPTIONS: Registry[Corruption] = Registry(
    "corruption", check_corruption, reserved=("none", "all", "unknown", *get_args(Group))
)


def library_versions() -> dict[str, str]:
    """The versions of those installed libraries that decide the pixels of corrupted images, by name."""
    names = ("numpy", "scipy", "pillow", "opencv-python", "opencv-python-headless")
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def revision_of(name: str | None) -> int:
    """The revision of a corruption; 1 for clean images and for streams."""
    part = CORRUPTIONS.get(name) if name else None
    return part.revision if part else 1


def corrupt(name: str, image: NDArray[np.uint8], *, level: Level, seed: int, index: int) -> NDArray[np.uint8]:
    """One image `(3, H, W)` uint8, corrupted to the same shape and type.

    The `seed` is that of the whole corrupted set, the `index` that of the image in its split.

    Raises:
        UsageError: a library is not installed.
        DataError: the photographs of frost are not installed.
    """
    corruption, exact = CORRUPTIONS[name], tuple(map(float, level)) if isinstance(level, tuple) else float(level)
    try:
        with drawing(f"{seed}/{name}/{exact!r}/{index}") as rng:
            pixels = corruption.apply(image / 255.0, level, rng)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in LIBRARIES:
            raise
        hint = 'Install it with `pip install "sdnet-bench[corruptions]"`.'
        raise UsageError(f"{name} needs the library {error.name}", got=error, hint=hint) from error
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)


@contextmanager
def drawing(words: str) -> Iterator[np.random.Generator]:
    """A generator of random numbers that follow from `words` alone, for the length of a block.

    It is used again afterwards: a new one would ask the system for entropy, which takes as long as a small image.
    """
    rng = _FREE.pop() if _FREE else np.random.Generator(np.random.Philox(0))
    key = np.frombuffer(hashlib.sha256(words.encode()).digest()[:16], "<u8")
    rng.bit_generator.state = START | {"state": {"counter": np.zeros(4, np.uint64), "key": key}}
    yield rng
    _FREE.append(rng)


START = np.random.Philox(0).state
"""The state of a generator that nothing was drawn from."""
_FREE: list[np.random.Generator] = []
"""Generators that no block uses."""
