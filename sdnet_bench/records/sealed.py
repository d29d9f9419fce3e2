"""Checksums of what is written, by which damaged content is recognised."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from ..config import Frozen

CHECKSUM = "checksum"


def seal(content: dict[str, Any], info: SerializationInfo) -> dict[str, Any]:
    """The content with its checksum where it is written as JSON, else unchanged."""
    return {**content, CHECKSUM: _checksum(content)} if info.mode == "json" else content


def unseal(content: Any) -> Any:
    """The content without its checksum; a ValueError where that is another one. Earlier versions wrote none."""
    if not isinstance(content, dict) or CHECKSUM not in content:
        return content
    bare = content.copy()
    if bare.pop(CHECKSUM) != _checksum(bare):
        raise ValueError("its checksum is another one: it was changed")
    return bare


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class Sealed(Frozen):
    """A model whose JSON carries a checksum of all its fields, and which refuses content that was changed."""

    LATER: ClassVar[tuple[str, ...]] = ()
    """Fields that earlier versions had not: left out where they are None."""

    @model_serializer(mode="wrap")
    def _seal(self, fields: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        content = {name: value for name, value in fields(self).items() if value is not None or name not in self.LATER}
        return seal(content, info)

    @model_validator(mode="before")
    @classmethod
    def _unseal(cls, content: Any) -> Any:
        return unseal(content)
