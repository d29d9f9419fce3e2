"""Files: reading those that may be damaged, atomic writing, and locks between processes."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from .errors import BenchError, RecordError, UsageError, reason
from .progress import Progress

BLOCK = 4096
"""Number of bytes that are read at once, from the end of a file."""
LONGEST_TEXT = 2**24
"""Largest number of characters of a file of text that is read whole."""


@contextmanager
def reading(what: object, error: type[BenchError], hint: str | None = None) -> Iterator[None]:
    """A block that reads a file. Whatever a parser raises for a damaged one becomes an `error` that names the file.

    `what` is its path, or says what it is and its path; `hint` says what to do then. Errors of this package pass.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as fault:  # parsers raise RecursionError, OverflowError, MemoryError, zlib.error and many more
        raise error(f"cannot read {what}: {reason(fault)}", hint=hint) from None


def text_of(path: Path) -> str:
    """The text of a file in UTF-8; a ValueError where it is longer than LONGEST_TEXT."""
    with path.open(encoding="utf-8") as file:
        text = file.read(LONGEST_TEXT + 1)
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"it has more than {LONGEST_TEXT:,} characters")
    return text


@contextmanager
def holding(lock: Path, progress: Progress, what: str, *, waits: bool = True) -> Iterator[None]:
    """Holds a lock file; where another process has it for longer than a second, notes that it is waited for.

    Where this process does not wait, that is a `UsageError`.

    The lock of a process that dies is free; the file is removed by its last holder. `what` completes "another process
    ...", such as "measures sdnet18". A `RecordError` where the lock file cannot be made.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=1)
    except Timeout:
        if not waits:
            raise UsageError(f"another process {what}", hint="Wait until it has ended.") from None
        progress.note(f"another process {what}: waiting for it")
        held.acquire()
    except OSError as error:
        raise RecordError(f"cannot write {lock}: {reason(error)}", hint="Name another folder.") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            lock.unlink()
        held.release()


def remove_free_locks(folder: Path) -> None:
    """Removes the lock files in a folder that killed processes left: nobody holds them."""
    for lock in folder.glob("*.lock"):
        with suppress(OSError), FileLock(lock, timeout=0):
            lock.unlink()


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

    Scratch files that killed processes left for `path` are removed. A `RecordError` where the folder cannot be made or
    written to.
    """
    prefix = f".{path.name}.{platform.node()}."
    scratch = path.with_name(f"{prefix}{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent, prefix)
        yield scratch
        scratch.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {reason(error)}", hint="Name another folder.") from None
    finally:
        with suppress(OSError):  # there is no folder, or it is on storage that is read only
            scratch.unlink()


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Removes scratch files and folders of processes of this machine that are no longer there."""
    for path in folder.iterdir():
        owner = path.name.removeprefix(prefix)
        if owner != path.name and owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yields an empty hidden folder in another one, and removes it when the block ends.

    Those that killed processes left are removed. A `RecordError` where the other folder cannot be made or written to.
    """
    prefix = f".scratch.{platform.node()}."
    scratch = make_folder(parent) / f"{prefix}{os.getpid()}"
    _remove_abandoned(parent, prefix)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def drop_torn_line(path: Path) -> int:
    """Truncates a file after its last line break, and returns its size then; only its end is read.

    The rest is a line that a crash left incomplete.
    """
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            end = start + file.read(end - start).rfind(b"\n") + 1
            if end > start:
                break
        file.truncate(end)
        return end
