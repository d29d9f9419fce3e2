"""A cell: the images, the inference and the attack of one measurement.

A `Cell` holds no outcome; its digest is the key of its record. In JSON it is flat: one object with the fields of all
its parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_serializer, model_validator

from ..config import Frozen
from ..names import Layers, Protocol
from .attack import AttackSetting

Severity = int | Literal["mixed"]
Order = Literal["shuffled", "sorted"]
"""Order of a stream: as the seed shuffles it, or by label, and as shuffled within a label."""

CLEAN = "misclassified"
"""Name in `Record.lost_to` of the images that are misclassified without an attack."""
NOISES = ("gaussian", "shot", "speckle", "impulse")
"""The additive noises, in the order of the paper's Table 3."""
UNKNOWN = "unknown"
"""Name of the corruption of a stream in which each image has one of the NOISES."""
MIXED: Literal["mixed"] = "mixed"
"""Severity of a stream in which each image has one of the five severities."""
ADAPTED_AT_ONCE = 200
"""Default number of images of a batch that is adapted to, that of TENT and of Nado et al. (2020) on CIFAR-10-C."""


class Images(Frozen):
    """Images and their corruption, without any attack. Equal values mean equal pixels."""

    dataset: str
    """Name of the data set."""
    split: Literal["train", "validation", "test"]
    """The part of the data set."""
    digest: str
    """Digest of the clean images and labels; for images of an archive, of their places and labels only."""
    limit: int | None = None
    """Number of images, spread evenly over the split; None for all."""
    block: tuple[int, int] | None = None
    """Range (start, stop) of these images in the order that `seed` shuffles them into; used by `race`."""
    corruption: str | None = None
    """Name of the corruption; "unknown" where each image has one of the four noises; None for clean images."""
    level: float | tuple[float, ...] | None = None
    """The corruption's own parameters."""
    severity: Severity | None = None
    """1 to 5 where `level` belongs to a severity; "mixed" where each image has one of the five."""
    archive: str | None = None
    """Origin and md5 of the part of a -C archive that the images were read from, such as "official:ecaf8b...".

    None for images that were corrupted here."""
    seed: int = 0
    """Seed of the corruption and of the attack."""
    revision: int = 1
    """Version of the corruption's pixels (`Corruption.revision`), where they are made here; in JSON unless it is 1."""

    @property
    def clean(self) -> Images:
        """The same images without corruption, with seed 0."""
        untouched = {"corruption": None, "level": None, "severity": None, "archive": None, "seed": 0, "revision": 1}
        return self.model_copy(update=untouched)

    @property
    def origin(self) -> str | None:
        """Origin of the archive, "official", "generated" or "unknown"; None for images that were corrupted here."""
        return self.archive.partition(":")[0] if self.archive else None


class AdaptationSetting(Frozen):
    """Adaptations to a stream of test images, with all that decides their outcome."""

    name: str
    """The adaptations with all their settings, in the order in which an image passes them: "median,bn:prior=16"."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Images of a batch, the last of a stream may be smaller; None where no image depends on the others."""
    order: Order | None = None
    """Order of the stream; None where no image depends on the others."""

    def __str__(self) -> str:
        """The setting in words, such as "bn:prior=0 in batches of 200" or "... of 200, sorted"."""
        order = ", sorted by label" if self.order == "sorted" else ""
        return self.name if self.batch_size is None else f"{self.name} in batches of {self.batch_size}{order}"


class Inference(Frozen):
    """How the images of a cell are classified: by the network at a lambda, or with a lambda chosen by a rule."""

    lambda_: float | None = None
    """The trade-off lambda; None for a network without a CSC-layer, and where a rule chooses one per image."""
    layers: Layers = "all"
    """CSC-layers with this lambda; with "stem" the other layers keep the lambda of training."""
    steps: int | None = None
    """FISTA iterations at inference; None for the number of training."""
    rule: str | None = None
    """Name of the rule that chose lambda (`LambdaFit.rule`); None where lambda was given."""
    defence: str | None = None
    """Name of an input transformation before the network, or "net:" and the sha256 of the weights of another network
    that classifies the images instead; None for neither."""
    precision: str = "float32"
    """Precision of the forward pass: "float32", "bfloat16" or "tf32"."""
    classes: str | None = None
    """Which of the model's classes are compared (`Model.selected`); None, not in JSON, for all."""
    adaptation: AdaptationSetting | None = None
    """The adaptation to the test images besides lambda; None, not in JSON, for none."""

    @property
    def choice(self) -> InferenceChoice:
        """The name of the rule that chooses lambda; lambda itself where there is no rule."""
        return self.rule or self.lambda_

    def at(self, lambda_: float | None) -> Inference:
        """This inference at another lambda."""
        return self.model_copy(update={"lambda_": lambda_})

    def by(self, rule: str, lambda_: float | None = None) -> Inference:
        """This inference with the lambda that `rule` chose; None where the rule chooses one per image."""
        return self.model_copy(update={"rule": rule, "lambda_": lambda_})


InferenceChoice = float | str | None
"""A classifier of one model: a lambda, the name of a rule for lambda, or None for a network without lambda."""


IMAGES, INFERENCE = tuple(Images.model_fields), tuple(Inference.model_fields)
OF_PARTS = {"images", *IMAGES, *INFERENCE}
"""Fields of the flat form of a cell that are those of its parts."""
ABSENT = object()


class Cell(Frozen):
    """One measurement to make: images, inference and attack, for one model."""

    kind: Literal["training", "accuracy"] = "accuracy"
    """What is measured; a training has figures and no outcomes."""
    weights: str
    """sha256 of the model's weights."""
    images: Images
    """The images, and their corruption."""
    inference: Inference = Inference()
    """How they are classified."""
    attack: AttackSetting | None = None
    """The attack on them; None for none."""

    @model_validator(mode="before")
    @classmethod
    def _read_flat(cls, content: Any) -> Any:
        """The fields of a cell from the flat form, in which `images` is the digest; unknown fields stay as they are."""
        if not isinstance(content, dict) or not isinstance(content.get("images"), str):
            return content
        if "digest" in content or "inference" in content:  # no fields of the flat form
            raise ValueError("neither flat nor in parts")
        flat: dict[str, Any] = content | {"digest": content["images"]}
        parts = {name: value for name, value in flat.items() if name not in OF_PARTS}
        if isinstance(attack := parts.get("attack"), dict):
            parts["attack"] = _shared(AttackSetting, attack, list(attack))
        images, inference = _shared(Images, flat, IMAGES), _shared(Inference, flat, INFERENCE)
        return parts | {"images": images, "inference": inference}

    @model_serializer
    def _write_flat(self) -> dict[str, Any]:
        """The flat form of the files; the order of the fields decides the `key`."""
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
        } | {
            **({} if images.revision == 1 else {"revision": images.revision}),
            **({} if inference.classes is None else {"classes": inference.classes}),
            **({} if inference.adaptation is None else {"adaptation": inference.adaptation}),
        }

    @property
    def key(self) -> str:
        """Digest of the cell's content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]

    @property
    def images_key(self) -> str:
        """Digest of everything that decides which pixels are classified, adversarial images included.

        Cells with one `images_key` differ only in lambda, rule and defence, and are measured in one pass. An attack
        through a rule makes images of its own, so there the rule is part of the digest.
        """
        rule = self.inference.rule if self.attack and self.attack.through else None
        bare = self.inference.model_copy(update={"lambda_": None, "rule": rule, "defence": None})
        return self.with_inference(bare).key

    @property
    def unattacked(self) -> Cell:
        """The cell without its attack."""
        return self.model_copy(update={"attack": None})

    @property
    def pairing(self) -> tuple[Images, str]:
        """Key of paired tests: the images before any attack, and the precision."""
        return (self.images, self.inference.precision)

    @property
    def averaging(self) -> tuple[object, ...]:
        """Key of means over corruptions: the clean images, the seed, the precision and the rule."""
        images, by = self.images, self.inference
        clean = (images.dataset, images.split, images.digest, images.limit, images.block)
        return (*clean, images.seed, by.precision, by.rule)

    def with_inference(self, inference: Inference) -> Self:
        """This cell with another inference."""
        return self.model_copy(update={"inference": inference})

    @property
    def protocol(self) -> Protocol | None:
        """The protocol of the attack; None without an attack, with a defence, and for an attack on a surrogate."""
        attack = self.attack
        if attack is None or self.inference.defence or attack.uses_surrogate:
            return None
        if attack.through:
            return "adaptive"
        if isinstance(attack.crafted_at, tuple):
            return "ensemble"
        return "matched" if attack.crafted_at == self.inference.choice else "transfer"

    @property
    def is_white_box(self) -> bool:
        """Whether the attacked network is the one that classifies the images."""
        return self.protocol in ("matched", "adaptive")


def _shared(kind: type[Frozen], content: dict[str, Any], names: Sequence[str]) -> Frozen | dict[str, Any]:
    """A part of a cell, one for all cells with the same fields; its fields where they are refused, or have no hash."""
    try:
        return _made(kind, tuple(names), tuple(map(content.get, names, repeat(ABSENT))))
    except (TypeError, ValidationError):
        return {name: content[name] for name in names if name in content}


@lru_cache(maxsize=10_000)
def _made(kind: type[Frozen], names: tuple[str, ...], values: tuple[Any, ...]) -> Frozen:
    fields = zip(names, values, strict=True)
    return kind.model_validate({name: value for name, value in fields if value is not ABSENT})
