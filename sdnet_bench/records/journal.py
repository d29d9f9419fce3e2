"""Intermediate results of a long measurement on disk, from which it resumes after a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, NonNegativeInt, StrictBool

from ..errors import RecordError
from ..files import reading, replacing
from .attack import REVISION
from .cell import Cell
from .lines import LineFile
from .sealed import Sealed

HEAD = "cells.json"
HINT = "Remove it; what it told of is measured again."


class Entry(Sealed):
    """The outcome of a run of an attack on some images."""

    stage: NonNegativeInt
    """Number of the run; 0 for clean images."""
    places: tuple[NonNegativeInt, ...]
    """Places of the images in the split."""
    broken: tuple[tuple[StrictBool, ...], ...]
    """For each scorer which of these images it loses."""
    distances: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = None
    """The distance of each adversarial image of a minimum-norm attack."""

    LATER: ClassVar[tuple[str, ...]] = ("distances",)

    def fits(self, scorers: int, images: int, runs: int) -> bool:
        """Whether the entry is of a measurement of this size, with a verdict of each scorer for each of its images."""
        lengths = [len(verdicts) for verdicts in self.broken]
        is_whole = lengths == [len(self.places)] * scorers
        is_measured = self.distances is None or len(self.distances) == len(self.places)
        return is_whole and is_measured and max(self.places, default=0) < images and self.stage <= runs


class Head(Sealed):
    """The measurement that a journal is of."""

    cells: tuple[Cell, ...]
    saved: bool = False
    """Whether the adversarial images are stored."""


class Journal:
    """Entries on disk, one JSON object per line. Each process writes its own file; every process reads all files.

    The folder of the measurement is made with the first entry; None stores nothing. `writer` is the process's rank.
    """

    def __init__(self, folder: Path | None = None, writer: int = 0, head: Head | None = None) -> None:
        self._folder, self._writer, self._head = folder, writer, head

    @classmethod
    def of(cls, run: Path, cells: Sequence[Cell], *, saved: bool = False, writer: int = 0) -> Self:
        """The journal of these cells in the folder of a run; one that stores the adversarial images is another one."""
        content = " ".join([*(cell.key for cell in cells), str(saved)])
        name = f"journal-{REVISION}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        return cls(run / name, writer, Head(cells=tuple(cells), saved=saved))

    def read(self, scorers: int, images: int, runs: int) -> Iterator[Entry]:
        """The entries of all processes, without an incomplete last line.

        A `RecordError` for other damage, and for entries of a measurement of another size.
        """
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder else []:
            for entry in LineFile(path, Entry, HINT).read():
                if not entry.fits(scorers, images, runs):
                    raise RecordError(f"{path} is of another measurement", hint=HINT)
                yield entry

    def append(self, entry: Entry) -> None:
        """Appends an entry to the file of this process, without waiting for the disk."""
        if self._folder is None:
            return
        if self._head and not (self._folder / HEAD).exists():
            with replacing(self._folder / HEAD) as scratch:
                scratch.write_text(self._head.model_dump_json(), encoding="utf-8")
        LineFile(self._folder / f"{self._writer}.jsonl", Entry, HINT).append(entry)

    def close(self) -> None:
        """Removes the journal; call it when the measurement is on record."""
        if self._folder:
            _remove(self._folder)


def remove_journals(run: Path, is_done: Callable[[Head], bool]) -> None:
    """Removes the journals of a run that killed processes left: of what is done, and of other versions of the attacks.

    What is done is on record, so no process goes on with it.
    """
    for folder in run.glob("journal-*"):
        head = _head(folder)
        if not folder.name.startswith(f"journal-{REVISION}-") or (head and is_done(head)):
            _remove(folder)
        elif not head:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _remove(folder: Path) -> None:
    """Removes a journal; the file that says of what it is goes last, so that a crash leaves one that is known."""
    with suppress(OSError):  # another process removes it
        for path in sorted(folder.iterdir(), key=lambda path: path.name == HEAD):
            path.unlink()
        folder.rmdir()


def _head(folder: Path) -> Head | None:
    """The measurement of a journal; None where a crash came before it was written, or another process removed it."""
    try:
        with reading(folder / HEAD, RecordError):
            return Head.model_validate_json((folder / HEAD).read_bytes())
    except RecordError:
        return None
