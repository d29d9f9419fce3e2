"""The manifest of a folder of generated images, and cached digests of large files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...config import Frozen
from ...errors import BenchError, DataError
from ...files import replacing
from ...progress import Progress

MANIFEST = "manifest.json"
DIGESTS = ".digests.json"
CHUNK = 1 << 20


class GeneratedMember(Frozen):
    """A generated member: how it was made, and its digest."""

    corruption: str | None
    levels: tuple[float | tuple[float, ...], ...]
    sha256: str
    n: int
    versions: dict[str, str]
    jpeg_quality: int | None


class Manifest(Frozen):
    """All generated members of a folder: `images` of the `of` test images of a data set, spread evenly, one seed."""

    archive: str
    dataset: str
    digest: str
    seed: int
    images: int
    of: int
    members: dict[str, GeneratedMember]

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder; None where nothing was generated."""
        path = folder / MANIFEST
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            hint = f"Remove {folder} and generate it again."
            raise DataError(f"{path} is damaged: {str(error).splitlines()[0]}", hint=hint) from None

    def write(self, folder: Path) -> None:
        with replacing(folder / MANIFEST) as path:
            path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @property
    def places(self) -> list[int]:
        """The place of each image in the clean test split."""
        return [place * self.of // self.images for place in range(self.images)]


@dataclass(frozen=True)
class Digests:
    """md5 and sha256 of a file, or of the names, sizes and contents of all files in a folder."""

    md5: str
    sha256: str


def digests(path: Path, progress: Progress) -> Digests:
    """Computes the digests of a file or a folder."""
    md5, sha256 = hashlib.md5(), hashlib.sha256()
    with progress.task(f"read {path.name}", _stamp(path)[1], "bytes") as task:
        for file in _files_in(path):
            for chunk in _chunks(file, path):
                md5.update(chunk)
                sha256.update(chunk)
                task.advance(len(chunk))
    return Digests(md5.hexdigest(), sha256.hexdigest())


def remembered(path: Path, progress: Progress) -> Digests:
    """The digests of a file or a folder, computed anew only where its size or modification time has changed.

    They are cached in `.digests.json` beside it, if that file can be written.
    """
    stamp, known = _stamp(path), _known(path.parent)
    if known.get(path.name, {}).get("stamp") == stamp:
        return Digests(known[path.name]["md5"], known[path.name]["sha256"])
    found = digests(path, progress)
    with suppress(BenchError), replacing(path.parent / DIGESTS) as file:
        file.write_text(json.dumps(known | {path.name: {"stamp": stamp, **asdict(found)}}, indent=1), "utf-8")
    return found


def _files_in(path: Path) -> Iterator[Path]:
    """The file itself, or all files of a folder in the order of their names."""
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _stamp(path: Path) -> list[int]:
    found = [file.stat() for file in _files_in(path)]
    return [len(found), sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)]


def _known(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / DIGESTS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _chunks(file: Path, root: Path) -> Iterator[bytes]:
    """The content of a file in chunks; for a file of a folder after a line with name and size."""
    if file != root:
        yield f"{file.relative_to(root).as_posix()} {file.stat().st_size}\n".encode()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk
