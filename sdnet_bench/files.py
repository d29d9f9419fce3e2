"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import RecordError


def make_folder(path: Path) -> Path:
    """Makes sure that a folder is there and can be written to, before hours of work go into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise RecordError(f"cannot write to {path}: {error}", hint="Name another folder.") from None
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch file that becomes `path` when the block ends well, and is removed when it does not.

    Raises:
        RecordError: the folder cannot be made or written to.
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
    """Cuts off what follows the last line break of a file: a crash came in the middle of that line."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
