"""Writers of generated images: one array, or folders of JPEG files; and the progress of an interrupted writer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...files import replacing
from ..corruptions import SEVERITIES

JPEG_QUALITY = 85
"""JPEG quality of the published ImageNet-C."""


class State:
    """A file with the number of finished images of a request; 0 where it is of another request."""

    def __init__(self, path: Path, request: dict[str, Any], images: Path) -> None:
        self.path = path
        self._request = json.loads(json.dumps(request))
        self.done = self._read() if images.exists() else 0

    def _read(self) -> int:
        try:
            state = json.loads(self.path.read_bytes())
            return int(state["done"]) if state["request"] == self._request else 0
        except (OSError, ValueError, LookupError, TypeError):
            return 0

    def save(self, done: int) -> None:
        with replacing(self.path) as path:
            path.write_text(json.dumps({"done": done, "request": self._request}), encoding="utf-8")
        self.done = done


class Writer(Protocol):
    """Writes the images of all severities in order, severity 1 first."""

    def write(self, done: int, images: NDArray[np.uint8]) -> None:
        """Writes images `(n, 3, H, W)` after the first `done` images."""

    def __enter__(self) -> Writer: ...

    def __exit__(self, *_: object) -> None: ...


class ArrayWriter:
    """An .npy file of `shape` (N, H, W, 3), uint8, mapped into memory."""

    def __init__(self, path: Path, shape: tuple[int, ...], *, resume: bool) -> None:
        self._path, self._shape, self._resume = path, shape, resume

    def __enter__(self) -> ArrayWriter:
        if self._resume:
            self._rows = np.lib.format.open_memmap(self._path, mode="r+")
        else:
            self._rows = np.lib.format.open_memmap(self._path, mode="w+", dtype=np.uint8, shape=self._shape)
        return self

    def __exit__(self, *_: object) -> None:
        del self._rows

    def write(self, done: int, images: NDArray[np.uint8]) -> None:
        self._rows[done : done + len(images)] = images.transpose(0, 2, 3, 1)
        self._rows.flush()


class FolderWriter:
    """Files `<severity>/<class>/<image>.JPEG`, with the names of the clean `files`: (path, label) of each.

    Every class of `whole`, the clean images of all classes, gets a folder.
    """

    def __init__(
        self, path: Path, whole: Sequence[tuple[str, int]], files: Sequence[tuple[str, int]], *, resume: bool
    ) -> None:
        self._path, self._files, self._resume = path, files, resume
        self._classes = {Path(file).parent.name for file, _ in whole}

    def __enter__(self) -> FolderWriter:
        if not self._resume:
            shutil.rmtree(self._path, ignore_errors=True)
        for severity in SEVERITIES:
            for name in self._classes:
                (self._path / str(severity) / name).mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Does nothing: every file is closed after it is written."""

    def write(self, done: int, images: NDArray[np.uint8]) -> None:
        from PIL import Image

        for place, image in enumerate(images.transpose(0, 2, 3, 1), start=done):
            severity, at = divmod(place, len(self._files))
            file = Path(self._files[at][0])
            target = self._path / str(SEVERITIES[severity]) / file.parent.name / f"{file.stem}.JPEG"
            Image.fromarray(image).save(target, "JPEG", quality=JPEG_QUALITY, optimize=True)
