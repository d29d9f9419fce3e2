"""When the C library returns freed memory to the system: never where speed counts, at once where memory is measured."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of glibc's `mallopt`."""


@cache
def keep_freed_blocks() -> None:
    """Makes glibc use freed blocks again, whatever their size.

    By default it returns blocks of 32 MB and more to the system, and every layer of a network waits for fresh pages.
    """
    _set(MMAP_MAX, 0)
    _set(TRIM_THRESHOLD, 2**31 - 1)


def return_freed_blocks() -> None:
    """Makes glibc return large blocks when they are freed, so that the peak is the memory in use."""
    _set(MMAP_THRESHOLD, 1 << 16)


def _set(parameter: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(parameter, value)
