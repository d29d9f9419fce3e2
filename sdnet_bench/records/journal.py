"""What a long measurement writes down on its way, so that it goes on where it was after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import RecordError
from ..files import drop_torn_line

Entry = dict[str, Any]


class Journal:
    """Entries on disk, one JSON object per line; several processes write to files of their own and read all.

    Args:
        folder: of this one measurement; made with the first entry. None keeps nothing.
        writer: which process this is.
    """

    def __init__(self, folder: Path | None = None, writer: int = 0) -> None:
        self._folder, self._writer = folder, writer

    def __iter__(self) -> Iterator[Entry]:
        """What all processes wrote so far; a line torn by a crash is left out. A `RecordError` for any other damage."""
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder else []:
            lines = path.read_bytes().split(b"\n")
            try:
                yield from map(json.loads, lines[:-1])  # what follows the last line break is torn
            except ValueError:
                hint = "Remove it; what it told of is measured again."
                raise RecordError(f"{path} is damaged", hint=hint) from None

    def append(self, entry: Entry) -> None:
        """Adds an entry; it is on its way to the disk when this returns."""
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
        """The measurement is done and on record: its journal goes."""
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder else []:
            path.unlink(missing_ok=True)
        if self._folder and self._folder.is_dir():
            self._folder.rmdir()
