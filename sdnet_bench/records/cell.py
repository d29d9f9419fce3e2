"""What is measured: a cell, with the attack and the threat that it may hold.

A `Cell` says what is measured and nothing of how it went; its digest is the key of its record.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..config import Frozen
from ..errors import UnknownNameError, UsageError

Layers = Literal["all", "stem"]
Severity = int | Literal["mixed"]
Protocol = Literal["transfer", "matched", "ensemble", "adaptive"]

CLEAN = "misclassified"
"""What images are lost to that are classified wrongly before anybody attacks them."""
NOISES = ("gaussian", "shot", "speckle", "impulse")
"""The additive noises, in the order of the paper's Table 3."""
UNKNOWN = "unknown"
"""The corruption of a stream in which each image has one of the NOISES."""
MIXED: Literal["mixed"] = "mixed"
"""The severity of a stream in which each image has one of the five."""

PROTOCOLS: tuple[Protocol, ...] = ("transfer", "matched", "ensemble", "adaptive")
BUDGETS = {"pgd": (10, 1), "apgd-t": (100, 9), "fab-t": (100, 9), "square": (5000, 1), "noise": (1, 10)}
"""Iterations (queries for square) and restarts of those attacks that have others than 100 and 1."""
DEFAULT_EPS = {"linf": 8 / 255, "l2": 0.5}
"""The usual radius of a ball in each norm, in pixels of [0, 1]."""
REVISION = 2
"""1: one random start per batch. 2: random numbers per image, misclassified and fooled images leave the batch."""


@dataclass(frozen=True)
class Threat:
    """What an adversary may do to an image: a ball around the clean one, cut with the box of valid pixels.

    Args:
        norm: "linf" or "l2", over all pixels and channels of an image.
        eps: its radius, in pixels of [0, 1].
    """

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in DEFAULT_EPS:
            raise UnknownNameError("norm", self.norm, DEFAULT_EPS)
        if not math.isfinite(self.eps) or self.eps <= 0:
            raise UsageError("eps out of range", expected="a finite number > 0, such as 8/255", got=self.eps)


def show_eps(eps: float) -> str:
    """As one would type it: "8/255" where eps is such a fraction and no short decimal, "0.5" elsewhere."""
    short, pixels = f"{eps:g}", 255 * eps
    return f"{pixels:.0f}/255" if float(short) != eps and abs(pixels - round(pixels)) < 1e-6 else short


class AttackSetting(Frozen):
    """An attack with all that decides its outcome. `repr` is the experiment."""

    name: str = "pgd"
    norm: str
    eps: float
    """Radius of the ball in pixels of [0, 1]."""
    steps: int
    """Iterations; queries where the attack is a random search."""
    step_size: float | None = None
    """None where the attack adapts it."""
    restarts: int = 1
    crafted_at: float | tuple[float, ...] | None = None
    """The lambda of the network that the attack looks at; several: the mean of their logits; None for a network
    without one, and where the attack looks through the cell's rule."""
    through: Literal["attached", "detached"] | None = None
    """The attack looks at the network whose lambda the cell's rule chooses, with or without the gradient of that
    choice."""
    inference_steps: int | None = None
    """FISTA iterations of the network that the attack looks at, where they are not those of the cell."""
    smooth: bool = False
    """The attack looks at a network whose threshold is a softplus."""
    gradient: str | None = None
    """How solved layers of the network that the attack looks at are differentiated, where not in their own way."""
    revision: int = 1
    """Of the code of attacks: what an older one measured is measured again."""

    @property
    def threat(self) -> Threat:
        """The ball that its images stay in."""
        return Threat(self.norm, self.eps)

    @property
    def is_detour(self) -> bool:
        """Whether the attack looks at a network that somebody changed so that gradients pass it better."""
        return self.smooth or self.inference_steps is not None or self.gradient is not None


class Cell(Frozen):
    """One thing to measure."""

    kind: Literal["training", "accuracy"] = "accuracy"
    weights: str
    """sha256 of the model's weights."""
    dataset: str
    split: Literal["train", "validation", "test"]
    images: str
    """Digest of the clean images and labels."""
    limit: int | None = None
    """So many images, spread evenly over the split; None for all."""
    block: tuple[int, int] | None = None
    """Of those the first to the last but one in the order that `seed` shuffles them into: how a race takes them."""
    lambda_: float | None = None
    """The trade-off; None for a network without a CSC-layer, and where a rule chooses one per image."""
    layers: Layers = "all"
    """The CSC-layers with this trade-off; with "stem" the others keep that of training."""
    steps: int | None = None
    """FISTA iterations at inference; None for as many as in training."""
    corruption: str | None = None
    """Its name; "unknown" where each image has one of the four noises."""
    level: float | tuple[float, ...] | None = None
    """The corruption's own parameters."""
    severity: int | Literal["mixed"] | None = None
    """1 to 5 where `level` is that of an archive; "mixed" where each image has one of them."""
    archive: str | None = None
    """Origin and md5 of the archive's part that the corrupted images were read from, such as "official:ecaf8b...".

    None where they were made here."""
    attack: AttackSetting | None = None
    defence: str | None = None
    """What stands between an adversarial image and the class it is given: an input transformation by name, or "net:"
    and the sha256 of the weights of another network that classifies it."""
    rule: str | None = None
    """How lambda was chosen, where it was not given: the `rule` of a `LambdaFit`."""
    precision: str = "float32"
    seed: int = 0
    """Of the corruption and of the attack's random starts."""

    @property
    def key(self) -> str:
        """Digest of the cell's content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]


def usual_budget(name: str) -> tuple[int, int]:
    """Iterations and restarts of an attack where nobody says otherwise."""
    return BUDGETS.get(name, (100, 1))


def protocol_of(cell: Cell) -> Protocol | None:
    """By which protocol a cell is attacked; None where nobody attacks, or the judge or the surrogate is another."""
    attack = cell.attack
    if attack is None or cell.defence or attack.is_detour:
        return None
    if attack.through:
        return "adaptive"
    if isinstance(attack.crafted_at, tuple):
        return "ensemble"
    return "matched" if cell.rule is None and attack.crafted_at == cell.lambda_ else "transfer"


def usual_protocols(name: str) -> Sequence[Protocol]:
    """All for PGD. Transferred, other attacks are weaker by construction, and dear: they are matched alone."""
    return PROTOCOLS if name == "pgd" else ("matched",)
