"""Threat models, and attacks with all settings that decide their outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from ..config import Frozen
from ..errors import UnknownNameError, UsageError
from ..names import PROTOCOLS, Protocol

BUDGETS = {"pgd": (10, 1), "apgd-t": (100, 9), "fab-t": (100, 9), "square": (5000, 1), "noise": (1, 10)}
"""Default iterations (queries for square) and restarts by attack; 100 and 1 for attacks not listed."""
DEFAULT_EPS = {"linf": 8 / 255, "l2": 0.5}
"""Default radius by norm, in pixels of [0, 1]."""
RADII = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""The radii of a curve of accuracy against eps, relative to the radius that is asked for."""
MINIMUM_NORM = {"ddn": "l2", "fmn": "linf"}
"""Norms of the minimum-norm attacks: they look for the nearest adversarial image, at whatever radius."""
DDN_SHRINKS = 0.95
"""Factor by which a step of DDN shrinks its radius, which is 1 at first: below 0.95^steps it cannot look."""
BOUNDLESS = 1e4
"""A radius beyond all images in [0, 1]."""
REVISION = 2
"""Version of the attack code. 1: one random start per batch. 2: random numbers per image; misclassified and fooled
images leave the batch."""


@dataclass(frozen=True)
class Threat:
    """A threat model: the ball around a clean image, intersected with the valid pixels [0, 1].

    The norm is "linf" or "l2", over all pixels and channels of an image; the radius eps is in pixels of [0, 1]. Another
    norm, or an eps that is not a finite number > 0, raises a `UsageError`.
    """

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in DEFAULT_EPS:
            raise UnknownNameError("norm", self.norm, DEFAULT_EPS)
        if not math.isfinite(self.eps) or self.eps <= 0:
            raise UsageError("eps out of range", expected="a finite number > 0, such as 8/255", got=self.eps)

    def __str__(self) -> str:
        """Norm and radius, such as "linf 8/255"."""
        return f"{self.norm} {show_eps(self.eps)}"

    def is_near(self, other: Threat) -> bool:
        """Whether both have one norm and, up to rounding, one radius."""
        return self.norm == other.norm and abs(self.eps - other.eps) < 1e-9

    def covers(self, other: Threat) -> bool:
        """Whether the ball of `other` lies in this ball."""
        return self.norm == other.norm and other.eps <= self.eps


def widening(threat: Threat) -> list[Threat]:
    """Balls with the radius times each of RADII; under Linf eps is at most 1."""
    most = 1.0 if threat.norm == "linf" else math.inf
    return [Threat(threat.norm, eps) for eps in dict.fromkeys(min(most, factor * threat.eps) for factor in RADII)]


def show_eps(eps: float) -> str:
    """eps as text: "8/255" for a fraction of 255 without a short decimal, else a decimal such as "0.5"."""
    short, pixels = f"{eps:g}", 255 * eps
    return f"{pixels:.0f}/255" if float(short) != eps and abs(pixels - round(pixels)) < 1e-6 else short


class AttackSetting(Frozen):
    """An attack with all settings that decide its outcome."""

    name: str = "pgd"
    """Name of the attack, see `sdnet-bench plugins`."""
    norm: Annotated[str, Field(pattern=f"^({'|'.join(DEFAULT_EPS)})$")]
    """The norm, "linf" or "l2", over all pixels and channels of an image."""
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Radius of the ball in pixels of [0, 1]."""
    steps: int
    """Iterations, or queries of a random search."""
    step_size: float | None = None
    """Step size in pixels of [0, 1]; None where the attack adapts it."""
    restarts: int = 1
    """Random starts, or targets of a targeted attack; an image is lost to any of them."""
    crafted_at: float | tuple[float, ...] | None = None
    """Lambda of the attacked network. Several: the attack uses the mean of the logits at these lambdas. None for a
    network without lambda, and where the attack goes through the cell's rule."""
    through: Literal["attached", "detached"] | None = None
    """Whether the attack goes through the cell's rule for lambda, with ("attached") or without ("detached") the rule's
    gradient; None where it does not."""
    inference_steps: int | None = None
    """FISTA iterations of the attacked network, where they differ from the cell's."""
    smooth: bool = False
    """Whether the attacked network has softplus thresholds instead of soft thresholds."""
    gradient: str | None = None
    """Gradient of the solved layers of the attacked network, where it is not their own."""
    revision: int = 1
    """Version of the attack code (`REVISION`); records of older versions are measured again."""

    @property
    def threat(self) -> Threat:
        """The threat model of the attack."""
        return Threat(self.norm, self.eps)

    @property
    def is_minimum_norm(self) -> bool:
        """Whether the attack looks for the nearest adversarial image. Then eps only says which images are lost."""
        return self.name in MINIMUM_NORM

    @property
    def ball(self) -> Threat:
        """The ball that adversarial images lie in: without bound for a minimum-norm attack."""
        return Threat(self.norm, BOUNDLESS) if self.is_minimum_norm else self.threat

    @property
    def bare(self) -> AttackSetting:
        """The same attack with `crafted_at` and `through` set to None."""
        return _bare(self)

    @property
    def uses_surrogate(self) -> bool:
        """Whether the attack is run on a surrogate: a network changed so that gradients pass better."""
        return self.smooth or self.inference_steps is not None or self.gradient is not None


@lru_cache(maxsize=10_000)
def _bare(attack: AttackSetting) -> AttackSetting:
    return attack.model_copy(update={"crafted_at": None, "through": None})


def usual_budget(name: str, eps: float) -> tuple[int, int]:
    """Default iterations (or queries) and restarts of an attack; those of DDN are enough for the smallest of RADII."""
    steps, restarts = BUDGETS.get(name, (100, 1))
    return max(steps, 2 * least_steps(eps)) if name == "ddn" else steps, restarts


def least_steps(eps: float) -> int:
    """The steps in which the radius of DDN shrinks to the smallest of RADII times eps."""
    return math.ceil(math.log(RADII[0] * eps, DDN_SHRINKS))


def usual_protocols(name: str) -> Sequence[Protocol]:
    """Default protocols of an attack: all for PGD, "matched" for the others, which transfer poorly and are slow."""
    return PROTOCOLS if name == "pgd" else ("matched",)
