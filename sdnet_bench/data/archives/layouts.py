"""Writers of generated images: one array, or folders of JPEG files; and the progress of an interrupted writer."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import BenchError, DataError
from ...files import reading, replacing
from ..contents import CHUNK
from ..corruptions import SEVERITIES
from ..folders import FolderSplit

JPEG_QUALITY = 85
"""JPEG quality of the published ImageNet-C."""


class State:
    """A file with the number of finished images of a request; 0 where it is damaged or of another request."""

    def __init__(self, path: Path, request: dict[str, Any], images: Path) -> None:
        self.path = path
        self._request = json.dumps(request)
        self.done = self._read() if images.exists() else 0

    def _read(self) -> int:
        with suppress(BenchError), reading(self.path, DataError):
            text = self.path.read_text(encoding="utf-8")
            done = int(json.loads(text)["done"])
            return done if text == self._text(done) else 0
        return 0

    def save(self, done: int) -> None:
        with replacing(self.path) as path:
            path.write_text(self._text(done), encoding="utf-8")
        self.done = done

    def _text(self, done: int) -> str:
        checksum = hashlib.sha256(f"{done} {self._request}".encode()).hexdigest()
        return json.dumps({"done": done, "request": self._request, "sha256": checksum})


class Writer(Protocol):
    """Writes the images of all severities in order, severity 1 first."""

    def write(self, done: int, images: NDArray[np.uint8]) -> None:
        """Writes images `(n, 3, H, W)` after the first `done` images."""


class ArrayWriter:
    """An .npy file of `shape` (N, H, W, 3), uint8, mapped into memory; its room on the disk is reserved."""

    def __init__(self, path: Path, shape: tuple[int, ...], *, resume: bool) -> None:
        self._path = path
        if not resume:
            rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            _reserve(path, rows.offset, rows.nbytes)

    def write(self, done: int, images: NDArray[np.uint8]) -> None:
        with reading(self._path, DataError, f"Remove {self._path}."):
            rows = np.lib.format.open_memmap(self._path, mode="r+")
        rows[done : done + len(images)] = images.transpose(0, 2, 3, 1)
        rows.flush()


def _reserve(path: Path, start: int, count: int) -> None:
    """Gives a sparse file its blocks, because a write to its mapping kills the process where the disk is full."""
    try:
        with path.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), start, count)
                return
            file.seek(start)
            for done in range(0, count, CHUNK):
                file.write(bytes(min(CHUNK, count - done)))
    except OSError:
        path.unlink()
        raise


class FolderWriter:
    """Files `<severity>/<class>/<image>.JPEG` with the names of the clean images; every class gets a folder."""

    def __init__(self, path: Path, clean: FolderSplit, *, resume: bool) -> None:
        self._path, self._names = path, _names(clean)
        if not resume:
            shutil.rmtree(path, ignore_errors=True)
        for severity in SEVERITIES:
            for name in clean.classes:
                (path / str(severity) / name).mkdir(parents=True, exist_ok=True)

    def write(self, done: int, images: NDArray[np.uint8]) -> None:
        from PIL import Image

        for place, image in enumerate(images.transpose(0, 2, 3, 1), start=done):
            severity, at = divmod(place, len(self._names))
            target = self._path / str(SEVERITIES[severity]) / self._names[at]
            Image.fromarray(image).save(target, "JPEG", quality=JPEG_QUALITY, optimize=True)


def _names(clean: FolderSplit) -> list[str]:
    """`<class>/<image>.JPEG` of each image; after its place, where names would be equal or in another order."""
    images = [(label, Path(file).stem) for file, label in clean.files]
    plain = [(label, f"{stem}.JPEG") for label, stem in images]
    if plain != sorted(set(plain)):
        plain = [(label, f"{at:08}-{stem}.JPEG") for at, (label, stem) in enumerate(images)]
    return [f"{clean.classes[label]}/{name}" for label, name in plain]
