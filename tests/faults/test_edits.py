"""Files that were damaged: a line that names the file, or the same figures as before; no traceback, and no hang."""

from __future__ import annotations

import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from .commands import register_archive
from .conftest import Once, World
from .damage import damage
from .files import TARGETS, Answer, Target, make_files
from .tally import Tally, rounds

pytestmark = pytest.mark.filterwarnings("default")
LONGEST = 10.0
"""Seconds that a damaged file may take."""
MEMORY = 4 << 30
"""Bytes of memory that a damaged file may take."""


@pytest.fixture(scope="session")
def many_files(once: Once, world: World) -> Path:
    """A world with a file of every kind that is read. Nobody writes to it."""
    return once("many", lambda folder: make_files(world(), folder)) / "world"


@pytest.fixture
def careful() -> Iterator[None]:
    """Bounds the memory of this process."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


def judge(target: Target, path: Path, wanted: Answer, found: Answer, seconds: float) -> Iterator[str]:
    """What is wrong with an answer."""
    told, names = repr(found.talk[-400:]), (path.name, path.stem, path.parent.name)
    if seconds > LONGEST:
        yield f"took {seconds:.0f} s"
    if found.fault:
        yield f"an error of another library: {found.fault}"
    elif "error: " in found.talk and not any(name in found.talk for name in names):
        yield f"the file is not named: {told}"
    elif found.figures and path.name not in found.talk and not _agree(target, found.figures, wanted.figures):
        yield f"other figures without a word: {told} {found.figures[:200]!r} instead of {wanted.figures[:200]!r}"


def _agree(target: Target, found: str, wanted: str) -> bool:
    """Whether figures are those of the whole file."""
    if target.fewer:
        return {*re.findall(r"\d+\.\d+", found)} <= {*re.findall(r"\d+\.\d+", wanted)}
    return target.own or found == wanted


IN_SHORT = ("config", "records in a report", "fits", "journal", "unfinished training", "labels of an archive")


@rounds("target", TARGETS, plain=2, soak=100, only=IN_SHORT)
def test_a_damaged_file(
    target: Target, count: int, many_files: Path, tmp_path: Path, careful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_archive()
    tally = Tally("random edits", target.name)
    _, wanted, _ = _ask(target, many_files, tmp_path / "whole", monkeypatch)
    assert wanted.fault is None
    assert target.own or wanted.figures
    for draw in tally.draw(count):
        how, found, seconds = _ask(target, many_files, tmp_path / "world", monkeypatch, partial(damage, draw))
        tally.note(tally.wrong, judge(target, target.path(many_files), wanted, found, seconds), how)
    tally.settle()


def _ask(
    target: Target, many_files: Path, world: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], str] = str
) -> tuple[str, Answer, float]:
    """How a file was damaged in a copy of the world, the answer there, and the seconds that it took."""
    shutil.copytree(many_files, world)
    monkeypatch.chdir(world)
    monkeypatch.setenv("XDG_CACHE_HOME", str(world.parent / "cache"))
    monkeypatch.delenv("SDNET_BENCH_DATA", raising=False)
    how = harm(target.path(world))
    began = time.perf_counter()
    answer = target.ask(world)
    seconds = time.perf_counter() - began
    monkeypatch.chdir(world.parent)
    shutil.rmtree(world)
    return how, answer, seconds
