"""Changes of the disk by a process, one after the other: it can be killed before each, or find no room for each."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree")


def count_changes(into: Path) -> None:
    """Writes down how many changes there were so far."""
    target = os.open(into, os.O_WRONLY | os.O_CREAT)
    _before_changes(lambda number, event: os.pwrite(target, b"%d\n" % number, 0))


def die_at(number: int) -> None:
    """Lets this process kill itself before its n-th change of the disk."""
    _before_changes(lambda at, event: os.kill(os.getpid(), signal.SIGKILL) if at == number else None)


def no_room_from(number: int) -> None:
    """From the n-th change of the disk on, nothing can be made on it any more; removing goes on."""

    def refuse(at: int, event: str) -> None:
        if at >= number and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _before_changes(refuse)


def no_larger_than(size: int) -> None:
    """Lets no file of this process grow beyond a size in bytes: a write ends early, and the next one fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def on_small_disk(folder: Path, size: int) -> None:
    """Puts a folder on a disk of its own, of a size in bytes. An `OSError` where this process may not mount one."""
    libc, flags = ctypes.CDLL(None, use_errno=True), 0x20000  # CLONE_NEWNS
    private = ctypes.c_ulong(0x4000 | 0x40000)  # MS_REC | MS_PRIVATE
    done = libc.unshare(flags) or libc.mount(b"none", b"/", None, private, None)
    place = str(folder).encode()
    if done or libc.mount(b"tmpfs", place, b"tmpfs", ctypes.c_ulong(0), b"size=%d" % size):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _before_changes(act: Callable[[int, str], object]) -> None:
    """Calls `act` with the number and the kind of every change of the disk, before it."""
    seen = [0]

    def look(event: str, args: tuple[object, ...]) -> None:
        if event in CHANGES or (event == "open" and _is_for_writing(*args)):
            seen[0] += 1
            act(seen[0], event)

    sys.addaudithook(look)


def _is_for_writing(path: object, mode: object, flags: object) -> bool:
    is_file = isinstance(path, (str, bytes, Path)) and not os.fsdecode(path).startswith(("/dev/", "/proc/"))
    return is_file and isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
