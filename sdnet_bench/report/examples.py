"""Examples: a few test images, corrupted and attacked, and what A z rebuilds of them at each lambda, in one small file.

They are made where network and data set are, by `scenes`; the page of a report shows them from the file alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..config import Frozen
from ..errors import ModelError
from ..files import reading, replacing
from ..records.sealed import Sealed

FILE = "examples.json"
REMEDY = "Remove it, or make it anew with `sdnet-bench visualize examples`."


class Scene(Frozen):
    """The images under one condition, by image and lambda."""

    name: str
    """`clean`, `gaussian 3`, or `linf 8/255 transfer`: the condition as a word of the page."""
    inputs: tuple[tuple[int, ...], ...]
    """Pictures of the input of each image: one, or one for each lambda where the attack is made anew."""
    rebuilt: tuple[tuple[int, ...], ...]
    """Pictures of A z, with the mean and the contrast of the input."""
    predictions: tuple[tuple[int, ...], ...]
    """The most probable class."""
    confidences: tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...]
    """Its probability."""


class Examples(Sealed):
    """Test images under several conditions. Pictures are places in a sprite, counted row by row."""

    weights: str
    """sha256 of the model's weights."""
    dataset: str
    places: tuple[int, ...]
    """Places of the images in the test split."""
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    """Name of each class; empty where nobody names them."""
    lambdas: tuple[float, ...]
    side: tuple[int, int]
    """Height and width of a picture."""
    columns: int
    rows: int
    sprite: Annotated[str, Field(pattern="^[A-Za-z0-9+/]+=*$")]
    """All pictures, as WebP in base64."""
    scenes: tuple[Scene, ...]
    provenance: dict[str, Any]

    @classmethod
    def read(cls, folders: Sequence[Path], weights: str | None) -> Examples | None:
        """The examples of these weights in the last of the folders that has some; None where none has."""
        for path in reversed([folder / FILE for folder in folders]):
            if path.exists():
                with reading(path, ModelError, hint=REMEDY):
                    found = cls.model_validate_json(path.read_bytes())
                if found.weights == weights:
                    return found
        return None


def write_examples(examples: Examples, folder: Path) -> Path:
    """Writes `examples.json` into a folder. Returns its path."""
    with replacing(folder / FILE) as scratch:
        scratch.write_text(examples.model_dump_json() + "\n", encoding="utf-8")
    return folder / FILE
