"""The record of a measured cell. One bit per image is stored; accuracies, intervals and tests are derived from it."""

from __future__ import annotations

import base64
import math
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from ..config import Frozen
from .attack import AttackSetting, Threat
from .cell import CLEAN, Cell, Images, Inference
from .sealed import seal, unseal

Outcomes = NDArray[np.bool_]
Radii = NDArray[np.float32]
"""`(n,)`: the smallest radius at which each image is lost: 0 without an attack, infinite where none was found."""
STORED = np.dtype("<f4")
QUANTILE = 1.959963984540054
"""97.5 % of a normal distribution lie below it."""

SCHEMA = 2
"""Version of the JSON form of records. 1: without a checksum. 2: with one."""


def up_to_date(content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record in the present schema.

    A record without `schema` counts as schema 0; missing fields take their defaults. A later schema raises a
    ValueError.
    """
    fields = content.copy()
    schema = fields.pop("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ValueError(f"schema {schema} is of a later version of sdnet-bench")
    return fields


class Record(Frozen):
    """The outcome of a measured cell."""

    model: str
    """Name of the model, for display; the cell's key identifies it by its weights."""
    cell: Cell
    """What was measured."""
    n: Annotated[int, Field(gt=0, le=10**9)]
    """Number of images."""
    outcomes: str | None = None
    """Packed bits in base64, one per image in the order of the split: whether it was classified correctly."""
    lost_to: dict[str, str] = Field(default_factory=dict)
    """For an attack: packed bits of the images that were lost, by cause: `CLEAN` or the name of an attack."""
    distances: str | None = None
    """For a minimum-norm attack: the `radii` as 32-bit floats in base64. None, not in JSON, for other attacks."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Other measured values, such as `residual`, `parameters` or `images_per_second`."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Where and how it was measured: versions, commit, device, date, seconds."""

    @model_validator(mode="before")
    @classmethod
    def _bring_up_to_date(cls, content: Any) -> Any:
        return up_to_date(unseal(content)) if isinstance(content, dict) else content

    @model_serializer(mode="wrap")
    def _with_schema(self, fields: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        content = {name: value for name, value in fields(self).items() if name != "distances" or value is not None}
        return seal({"schema": SCHEMA, **content}, info)

    @model_validator(mode="after")
    def _has_a_bit_for_each_image(self) -> Self:
        if self.outcomes is None and self.cell.kind == "accuracy":
            raise ValueError("an accuracy without outcomes")
        for bits in (self.outcomes, *self.lost_to.values()):
            if bits is not None and not _is_packed(bits, self.n):
                raise ValueError(f"outcomes are not those of {self.n} images")
        if self.distances is not None and not _are_radii(self.distances, self.n):
            raise ValueError(f"distances are not those of {self.n} images")
        return self

    @classmethod
    def of(cls, model: str, cell: Cell, outcomes: Outcomes, metrics: Mapping[str, float] | None = None) -> Self:
        """A record from `outcomes` `(n,)` bool: whether each image was classified correctly."""
        return cls(model=model, cell=cell, n=len(outcomes), outcomes=_pack(outcomes), metrics=dict(metrics or {}))

    @classmethod
    def of_attack(
        cls, model: str, cell: Cell, losses: Mapping[str, Outcomes], metrics: Mapping[str, float] | None = None
    ) -> Self:
        """A record of an attack from `losses`: for each cause `(n,)` bool, which images were lost to it."""
        lost_to = {name: _pack(lost) for name, lost in losses.items() if lost.any()}
        record = cls.of(model, cell, ~np.logical_or.reduce(list(losses.values())), metrics)
        return record.model_copy(update={"lost_to": lost_to})

    @classmethod
    def of_radii(cls, model: str, cell: Cell, radii: Radii, metrics: Mapping[str, float] | None = None) -> Self:
        """A record of a minimum-norm attack; an image counts as lost where its radius is at most eps."""
        assert cell.attack
        wrong = radii == 0
        losses = {CLEAN: wrong, cell.attack.name: ~wrong & (radii <= cell.attack.eps)}
        record = cls.of_attack(model, cell, losses, metrics)
        return record.model_copy(update={"distances": base64.b64encode(radii.astype(STORED).tobytes()).decode()})

    @property
    def images(self) -> Images:
        """The images of the cell."""
        return self.cell.images

    @property
    def inference(self) -> Inference:
        """The inference of the cell."""
        return self.cell.inference

    @property
    def attack(self) -> AttackSetting:
        """The attack of a cell that has one."""
        assert self.cell.attack
        return self.cell.attack

    @property
    def correct(self) -> Outcomes:
        """`(n,)` bool: whether each image was classified correctly."""
        return _unpack(self.outcomes or "", self.n)

    def lost(self, name: str) -> Outcomes:
        """`(n,)` bool: which images were lost to an attack by name, or misclassified without one (`CLEAN`)."""
        return _unpack(self.lost_to[name], self.n) if name in self.lost_to else np.zeros(self.n, bool)

    @property
    def radii(self) -> Radii | None:
        """The radii of a minimum-norm attack; None for other attacks."""
        return None if self.distances is None else np.frombuffer(base64.b64decode(self.distances), STORED)

    def under(self, threat: Threat) -> Record | None:
        """What a record of an attack says under a threat; at another radius of its norm one made from its radii.

        None where it says nothing.
        """
        attack, radii = self.cell.attack, self.radii
        if attack and attack.threat.is_near(threat):
            return self
        if attack is None or attack.norm != threat.norm or radii is None:
            return None
        cell = self.cell.model_copy(update={"attack": attack.model_copy(update={"eps": threat.eps})})
        found = Record.of_radii(self.model, cell, radii, self.metrics)
        return found.model_copy(update={"provenance": self.provenance})

    @property
    def accuracy(self) -> float:
        """Share of correctly classified images, in [0, 1]; under attack the robust accuracy."""
        return float(self.correct.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `accuracy`, in [0, 1]."""
        low, high = wilson(int(self.correct.sum()), self.n)
        return low / 100, high / 100

    @property
    def clean(self) -> float:
        """Accuracy on the same images without the attack, in [0, 1]; `accuracy` where there was none."""
        return float((~self.lost(CLEAN)).mean()) if self.cell.attack else self.accuracy

    @property
    def residual(self) -> float | None:
        """Mean of |x - A z|_2 over the images; None where it was not measured: it is at lambda_0, without attack."""
        return self.metrics.get("residual")


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Bounds of Wilson's 95 % interval of the share (%) of `hits` among `n`; a mean may have a fraction of a hit."""
    share, width = hits / n, 2 * (n + QUANTILE**2)
    centre = (2 * n * share + QUANTILE**2) / width
    reach = QUANTILE / width * math.sqrt(4 * n * share * (1 - share) + QUANTILE**2)
    return 100 * (centre - reach if hits else 0.0), 100 * (centre + reach if hits < n else 1.0)


def _pack(bits: Outcomes) -> str:
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def _unpack(text: str, count: int) -> Outcomes:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def _is_packed(text: str, count: int) -> bool:
    """Whether a text is what `_pack` makes of so many bits: strict base64 of the right length, with zeros behind."""
    content, unused = _strict(text, math.ceil(count / 8)), -count % 8
    return content is not None and content[-1] % 2**unused == 0


def _are_radii(text: str, count: int) -> bool:
    """Whether a text holds so many radii: strict base64 of numbers that are not negative."""
    content = _strict(text, STORED.itemsize * count)
    return content is not None and bool((np.frombuffer(content, STORED) >= 0).all())


def _strict(text: str, size: int) -> bytes | None:
    """The bytes of strict base64; None where a text is another one, or not of so many bytes."""
    if len(text) != 4 * math.ceil(size / 3):
        return None
    try:
        content = a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return content if len(content) == size and b2a_base64(content, newline=False).decode() == text else None
