"""Changes of the disk by a process, one after the other: it can be killed before each, or find no room for each."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
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


def die_after(pattern: str) -> None:
    """Lets this process kill itself before its next change of the disk after there is something in such a file."""

    def look(at: int, event: str) -> None:
        if any(path.stat().st_size for path in Path.cwd().glob(pattern)):
            os.kill(os.getpid(), signal.SIGKILL)

    _before_changes(look)


def no_room_from(number: int) -> None:
    """From the n-th change of the disk on, nothing can be made on it any more; removing goes on."""

    def refuse(at: int, event: str) -> None:
        if at >= number and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _before_changes(refuse)


def on_small_disk(room: int) -> None:
    """Goes on in a copy of this folder on a disk of its own, with so many bytes of room.

    What becomes of it is copied to the folder `after` beside this one. Ends with NO_MOUNT where no disk can be mounted.
    """
    here, disk, after = Path.cwd(), Path.cwd().with_name("disk"), Path.cwd().with_name("after")
    disk.mkdir()
    try:
        _call("unshare", CLONE_NEWNS)
        _call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
        _mount(disk, 0, "100m")
    except OSError:
        sys.exit(NO_MOUNT)
    shutil.copytree(here, disk / "world")
    os.chdir(disk / "world")
    state = os.statvfs(disk)
    _mount(disk, MS_REMOUNT, str((state.f_blocks - state.f_bfree) * state.f_frsize + room))
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shutil.copytree(disk / "world", after, symlinks=True)
        os._exit(status if status >= 0 else 128 - status)


NO_MOUNT = 77
"""Exit status of a process that may not have a disk of its own."""
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_REMOUNT = 0x20000, 0x4000, 0x40000, 0x20
"""Constants of Linux."""


def _mount(folder: Path, flags: int, size: str) -> None:
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(flags), f"size={size}".encode())


def _call(name: str, *args: object) -> None:
    """A function of the C library that returns 0 where it succeeds."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


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
