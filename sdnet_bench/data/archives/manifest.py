"""The manifest of a folder of generated images."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt

from ...config import Frozen
from ...errors import DataError
from ...files import reading, replacing

MANIFEST = "manifest.json"


class GeneratedMember(Frozen):
    """A generated member: how it was made, and its digest; `revision` is that of its corruption."""

    corruption: str | None
    levels: tuple[float | tuple[float, ...], ...]
    sha256: str
    n: int
    versions: dict[str, str]
    jpeg_quality: int | None
    revision: int = 1


class Manifest(Frozen):
    """All generated members of a folder: `images` of the `of` test images of a data set, spread evenly, one seed.

    `classes` is the number of classes of the data set; None in manifests of earlier versions, for that of the archive.
    """

    archive: str
    dataset: str
    digest: str
    seed: int
    images: PositiveInt
    of: PositiveInt
    members: dict[str, GeneratedMember]
    classes: PositiveInt | None = None

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder; None where nothing was generated."""
        path = folder / MANIFEST
        with reading(path, DataError, f"Remove {folder} and generate it again."):
            return cls.model_validate_json(path.read_bytes()) if path.exists() else None

    def write(self, folder: Path) -> None:
        with replacing(folder / MANIFEST) as path:
            path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @property
    def places(self) -> list[int]:
        """The place of each image in the clean test split."""
        return [place * self.of // self.images for place in range(self.images)]
