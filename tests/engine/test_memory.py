"""Freed memory: kept where speed counts, returned where memory is measured."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

BLOCK = 64 * 2**20
SCRIPT = """
import ctypes, resource
from sdnet_bench.engine.memory import keep_freed_blocks, return_freed_blocks

def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        block = libc.malloc(ctypes.c_size_t({block}))
        ctypes.memset(block, 1, {block})
        libc.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
{setting}()
faults(1)
print(faults(4))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
@pytest.mark.parametrize(("setting", "blocks"), [("keep_freed_blocks", 0), ("return_freed_blocks", 4)])
def test_freed_blocks_are_used_again_or_returned(setting: str, blocks: int) -> None:
    """A page that is used for the first time is a fault of the process."""
    script = SCRIPT.format(block=BLOCK, setting=setting)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    pages = BLOCK / 4096
    assert abs(int(done.stdout) - blocks * pages) < pages / 2
