"""Atomic writing of files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import RecordError


def make_folder(path: Path) -> Path:
    """Creates a folder, checks that it is writable, and returns it; a `RecordError` where it is not."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise RecordError(f"cannot write to {path}: {error}", hint="Name another folder.") from None
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a scratch file, which replaces `path` when the block ends without an error and is removed otherwise.

    A `RecordError` where the folder cannot be made or written to.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        scratch.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error}", hint="Name another folder.") from None
    finally:
        if path.parent.is_dir():
            scratch.unlink(missing_ok=True)


def drop_torn_line(path: Path) -> None:
    """Truncates a file after its last line break: the rest is a line that a crash left incomplete."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
