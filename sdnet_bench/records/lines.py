"""Append-only files of values, one JSON object per line, that processes share and that crashes cut off anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic_core import from_json

from ..config import Frozen
from ..errors import RecordError, reason
from ..files import drop_torn_line, reading

Value = TypeVar("Value", bound=Frozen)


class LineFile(Generic[Value]):
    """A file of values of one type, oldest first.

    A last line without a line break is incomplete: it is not read, and the next `append` removes it. `hint` is the
    advice of a `RecordError` for a damaged line.
    """

    def __init__(self, path: Path, kind: type[Value], hint: str) -> None:
        self.path, self._kind, self._hint = path, kind, hint
        self._read = self._lines = 0
        self.torn = 0
        """Length in bytes of the incomplete last line that the last reading found."""

    def read(self) -> Iterator[Value]:
        """The values that were appended since the last reading."""
        self.torn = 0
        with reading(self.path, RecordError):
            for line in self._new_lines():
                try:
                    value = self._kind.model_validate(from_json(line))
                except Exception:  # read once more, which is slower, and says what is wrong
                    with reading(f"{self.path}, line {self._lines + 1}", RecordError, self._hint):
                        value = self._kind.model_validate_json(line)
                self._count(line)
                yield value

    def _new_lines(self) -> Iterator[bytes]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    self.torn = len(line)
                    return
                yield line

    def append(self, value: Value, *, durable: bool = False) -> None:
        """Appends a value, which takes constant time; a durable one is flushed to the disk.

        Only one process may append at a time. A `RecordError` where the file cannot be written.
        """
        line = value.model_dump_json().encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                end = drop_torn_line(self.path)
                file.write(line)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
        except OSError as error:
            hint = "Name another folder with --runs-dir."
            raise RecordError(f"cannot write {self.path}: {reason(error)}", hint=hint) from None
        if end == self._read:
            self._count(line)

    def _count(self, line: bytes) -> None:
        """Counts a line as read."""
        self._read, self._lines = self._read + len(line), self._lines + 1
