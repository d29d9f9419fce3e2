"""Intermediate results of a long measurement on disk, from which it resumes after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import RecordError
from ..files import drop_torn_line

Entry = dict[str, Any]


class Journal:
    """Entries on disk, one JSON object per line. Each process writes its own file; every process reads all files.

    The folder of the measurement is made with the first entry; None stores nothing. `writer` is the process's rank.
    """

    def __init__(self, folder: Path | None = None, writer: int = 0) -> None:
        self._folder, self._writer = folder, writer

    def __iter__(self) -> Iterator[Entry]:
        """The entries of all processes. An incomplete last line is skipped; other damage raises a `RecordError`."""
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder else []:
            lines = path.read_bytes().split(b"\n")
            try:
                yield from map(json.loads, lines[:-1])  # a line without a line break is incomplete
            except ValueError:
                hint = "Remove it; what it told of is measured again."
                raise RecordError(f"{path} is damaged", hint=hint) from None

    def append(self, entry: Entry) -> None:
        """Appends an entry to the file of this process, without waiting for the disk."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{self._writer}.jsonl"
            with path.open("ab") as file:
                drop_torn_line(path)
                file.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise RecordError(f"cannot write {self._folder}: {error}", hint="Name another --runs-dir.") from None

    def close(self) -> None:
        """Removes the journal; call it when the measurement is on record."""
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder else []:
            path.unlink(missing_ok=True)
        if self._folder and self._folder.is_dir():
            self._folder.rmdir()
