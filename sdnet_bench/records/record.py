"""A measured cell. It keeps one bit per image, so that accuracies, intervals, paired tests and unions are derived."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer, model_validator

from ..config import Frozen
from .cell import Cell, Images, Inference

Outcomes = NDArray[np.bool_]

SCHEMA = 1
"""Of the form that records are written in."""


def up_to_date(content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a written record as they are called today, whichever version wrote it.

    Those without a `schema` are from before it was counted: fields that came later have their defaults. A `ValueError`
    for a form that a later version wrote.
    """
    schema = content.get("schema", 0)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ValueError(f"schema {schema} is of a later version of sdnet-bench")
    return {name: value for name, value in content.items() if name != "schema"}


class Record(Frozen):
    """A measured cell."""

    model: str
    """Name of the model, for people; the key holds its weights."""
    cell: Cell
    n: PositiveInt
    outcomes: str | None = None
    """One bit per image, in the order of the split: was it classified correctly? Packed, base64."""
    lost_to: dict[str, str] = Field(default_factory=dict)
    """Under attack: which images fell to what, packed like `outcomes`: to `CLEAN`, or to an attack by name."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Whatever else was measured: `residual`, `parameters`, `images_per_second`, ..."""
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _bring_up_to_date(cls, content: Any) -> Any:
        return up_to_date(content) if isinstance(content, dict) else content

    @model_serializer(mode="wrap")
    def _with_schema(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"schema": SCHEMA, **fields(self)}

    @model_validator(mode="after")
    def _has_a_bit_for_each_image(self) -> Self:
        length = 4 * math.ceil(math.ceil(self.n / 8) / 3)
        if any(len(bits) != length for bits in (self.outcomes, *self.lost_to.values()) if bits is not None):
            raise ValueError(f"outcomes are not those of {self.n} images")
        return self

    @classmethod
    def of(
        cls,
        model: str,
        cell: Cell,
        outcomes: Outcomes,
        metrics: Mapping[str, float] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Self:
        """From `(n,)`: which images were classified correctly."""
        told = {"metrics": dict(metrics or {}), "provenance": dict(provenance or {})}
        return cls(model=model, cell=cell, n=len(outcomes), outcomes=_pack(outcomes), **told)

    @classmethod
    def of_attack(
        cls,
        model: str,
        cell: Cell,
        losses: Mapping[str, Outcomes],
        metrics: Mapping[str, float] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Self:
        """From which images fell to what; the others stand."""
        lost_to = {name: _pack(lost) for name, lost in losses.items() if lost.any()}
        record = cls.of(model, cell, ~np.logical_or.reduce(list(losses.values())), metrics, provenance)
        return record.model_copy(update={"lost_to": lost_to})

    @property
    def images(self) -> Images:
        """Those of its cell."""
        return self.cell.images

    @property
    def inference(self) -> Inference:
        """What classified them."""
        return self.cell.inference

    @property
    def correct(self) -> Outcomes:
        """`(n,)`: which images were classified correctly."""
        return _unpack(self.outcomes or "", self.n)

    def lost(self, name: str) -> Outcomes:
        """`(n,)`: which images fell to an attack, or were misclassified as they are: `CLEAN`."""
        return _unpack(self.lost_to[name], self.n) if name in self.lost_to else np.zeros(self.n, bool)

    @property
    def accuracy(self) -> float:
        """Share of correct images, in [0, 1]."""
        return float(self.correct.mean())


def _pack(bits: Outcomes) -> str:
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def _unpack(text: str, count: int) -> Outcomes:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)
