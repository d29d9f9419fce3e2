"""What is measured: a cell, made of images, of what classifies them, and of an attack.

A `Cell` says what is measured and nothing of how it went; its digest is the key of its record. Written, it is flat:
one JSON object with the fields of all its parts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import model_serializer, model_validator

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

    def __str__(self) -> str:
        """ "linf 8/255"."""
        return f"{self.norm} {show_eps(self.eps)}"

    def is_near(self, other: Threat) -> bool:
        """Whether both are one ball, their radii equal but for rounding."""
        return self.norm == other.norm and abs(self.eps - other.eps) < 1e-9

    def covers(self, other: Threat) -> bool:
        """Whether the other ball lies in this one."""
        return self.norm == other.norm and other.eps <= self.eps


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
    def bare(self) -> AttackSetting:
        """The same attack with what it looks at left open."""
        return self.model_copy(update={"crafted_at": None, "through": None})

    @property
    def is_detour(self) -> bool:
        """Whether the attack looks at a network that somebody changed so that gradients pass it better."""
        return self.smooth or self.inference_steps is not None or self.gradient is not None


class Images(Frozen):
    """Which images, and what was done to them before anybody attacks them. Equal ones have the same pixels."""

    dataset: str
    split: Literal["train", "validation", "test"]
    digest: str
    """Of the clean images and labels; where they are an archive's, of places and labels alone."""
    limit: int | None = None
    """So many images, spread evenly over the split; None for all."""
    block: tuple[int, int] | None = None
    """Of those the first to the last but one in the order that `seed` shuffles them into: how a race takes them."""
    corruption: str | None = None
    """Its name; "unknown" where each image has one of the four noises."""
    level: float | tuple[float, ...] | None = None
    """The corruption's own parameters."""
    severity: Severity | None = None
    """1 to 5 where `level` is that of an archive; "mixed" where each image has one of them."""
    archive: str | None = None
    """Origin and md5 of the archive's part that the corrupted images were read from, such as "official:ecaf8b...".

    None where they were made here."""
    seed: int = 0
    """Of the corruption and of the attack's random starts."""

    @property
    def clean(self) -> Images:
        """The same images before anything was done to them; that takes no seed."""
        untouched = {"corruption": None, "level": None, "severity": None, "archive": None, "seed": 0}
        return self.model_copy(update=untouched)

    @property
    def origin(self) -> str | None:
        """Whether an archive is "official", "generated" or "unknown"; None for images made here."""
        return self.archive.partition(":")[0] if self.archive else None


class Inference(Frozen):
    """What classifies the images of a cell: the network at a lambda, or as a rule says."""

    lambda_: float | None = None
    """The trade-off; None for a network without a CSC-layer, and where a rule chooses one per image."""
    layers: Layers = "all"
    """The CSC-layers with this trade-off; with "stem" the others keep that of training."""
    steps: int | None = None
    """FISTA iterations at inference; None for as many as in training."""
    rule: str | None = None
    """How lambda was chosen, where it was not given: the `rule` of a `LambdaFit`."""
    defence: str | None = None
    """What stands between an adversarial image and the class it is given: an input transformation by name, or "net:"
    and the sha256 of the weights of another network that classifies it."""
    precision: str = "float32"

    @property
    def choice(self) -> InferenceChoice:
        """The rule that chooses lambda, by name; where there is none, lambda itself."""
        return self.rule or self.lambda_

    def at(self, lambda_: float | None) -> Inference:
        """The same at another lambda."""
        return self.model_copy(update={"lambda_": lambda_})

    def by(self, rule: str, lambda_: float | None = None) -> Inference:
        """The same with a lambda that a rule has chosen, or, with None, chooses for each image."""
        return self.model_copy(update={"rule": rule, "lambda_": lambda_})


InferenceChoice = float | str | None
"""What classifies: the network at a lambda; robust inference, by the name of its rule; a network without lambda."""


class Cell(Frozen):
    """One thing to measure."""

    kind: Literal["training", "accuracy"] = "accuracy"
    weights: str
    """sha256 of the model's weights."""
    images: Images
    inference: Inference = Inference()
    attack: AttackSetting | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_flat(cls, content: Any) -> Any:
        """From the flat form, in which `images` is their digest; what is no field of a part is left as it is."""
        if not isinstance(content, dict) or not isinstance(content.get("images"), str):
            return content
        if "digest" in content or "inference" in content:  # no fields of the flat form
            raise ValueError("neither flat nor in parts")
        flat: dict[str, Any] = content | {"digest": content["images"]}
        parts = {"images": Images.model_fields, "inference": Inference.model_fields}
        taken = {part: {name: flat.pop(name) for name in fields if name in flat} for part, fields in parts.items()}
        return flat | taken

    @model_serializer
    def _write_flat(self) -> dict[str, Any]:
        """The one form that is written; its order counts for the `key`."""
        images, inference = self.images, self.inference
        return {
            "kind": self.kind,
            "weights": self.weights,
            "dataset": images.dataset,
            "split": images.split,
            "images": images.digest,
            "limit": images.limit,
            "block": images.block,
            "lambda_": inference.lambda_,
            "layers": inference.layers,
            "steps": inference.steps,
            "corruption": images.corruption,
            "level": images.level,
            "severity": images.severity,
            "archive": images.archive,
            "attack": self.attack,
            "defence": inference.defence,
            "rule": inference.rule,
            "precision": inference.precision,
            "seed": images.seed,
        }

    @property
    def key(self) -> str:
        """Digest of the cell's content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]

    @property
    def images_key(self) -> str:
        """Digest of all that decides which pixels are classified, adversarial ones among them.

        Cells that share it differ in lambda, in the rule that chose it and in the defence alone, and are measured in
        one pass. An attack that looks through a rule makes images of its own.
        """
        rule = self.inference.rule if self.attack and self.attack.through else None
        bare = self.inference.model_copy(update={"lambda_": None, "rule": rule, "defence": None})
        return self.with_inference(bare).key

    @property
    def pairing(self) -> tuple[Images, str]:
        """Cells that share it are compared image by image: the same pixels before any attack, in one precision."""
        return (self.images, self.inference.precision)

    @property
    def averaging(self) -> tuple[Images, int, str, str | None]:
        """Cells that share it are averaged: the same images, whatever corrupts them, one seed, precision and rule."""
        return (self.images.clean, self.images.seed, self.inference.precision, self.inference.rule)

    def with_inference(self, inference: Inference) -> Self:
        """The same images, attacked alike, classified by another inference."""
        return self.model_copy(update={"inference": inference})

    @property
    def protocol(self) -> Protocol | None:
        """By which protocol it is attacked; None where nobody attacks, or what classifies or what the attack looks at
        is another network."""
        attack = self.attack
        if attack is None or self.inference.defence or attack.is_detour:
            return None
        if attack.through:
            return "adaptive"
        if isinstance(attack.crafted_at, tuple):
            return "ensemble"
        return "matched" if attack.crafted_at == self.inference.choice else "transfer"

    @property
    def is_white_box(self) -> bool:
        """Whether the attack looks at exactly what classifies its images."""
        return self.protocol in ("matched", "adaptive")


def usual_budget(name: str) -> tuple[int, int]:
    """Iterations and restarts of an attack where nobody says otherwise."""
    return BUDGETS.get(name, (100, 1))


def usual_protocols(name: str) -> Sequence[Protocol]:
    """All for PGD. Transferred, other attacks are weaker by construction, and dear: they are matched alone."""
    return PROTOCOLS if name == "pgd" else ("matched",)
