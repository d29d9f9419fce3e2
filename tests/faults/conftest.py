"""The world of the fault suite, and what each command makes of it when nothing disturbs it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hub_server import Hub, running

from .commands import REPO, Command, World, differences, fill_world, pulling, seen
from .process import Ended, Prepare, run
from .tally import Tally
from .writes import count_changes

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def world(once: Once, trained_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Makes copies of the world, each in a folder of its own."""
    whole = once("world", lambda folder: fill_world(folder, trained_runs))
    return lambda: Path(shutil.copytree(whole, tmp_path_factory.mktemp("round") / "world"))


@dataclass(frozen=True)
class Undisturbed:
    """What a command makes of the world, and how it ends."""

    seen: dict[str, object]
    ended: Ended
    changes: int
    """How often it changes something on the disk."""
    pages: int
    """Pages of 4,096 bytes that it takes on the disk at most, or a few more."""


Undisturb = Callable[[Command], Undisturbed]


@pytest.fixture(scope="session")
def undisturbed(world: World) -> Undisturb:
    """Runs a command to its end in a world of its own, once."""
    known: dict[str, Undisturbed] = {}

    def run_once(command: Command) -> Undisturbed:
        if command.name not in known:
            folder, began = world(), time.time()
            changes = folder.with_name("changes")
            ended = run(command.words, folder, (*command.prepare, partial(count_changes, changes)))
            assert ended.complaints(0, 1) == []
            pages = sum(path.stat().st_size // 4096 + 1 for path in folder.rglob("*") if path.stat().st_mtime >= began)
            known[command.name] = Undisturbed(seen(folder), ended, int(changes.read_text("utf-8")), pages)
        return known[command.name]

    return run_once


@pytest.fixture
def pull(trained_runs: Path) -> Iterator[Command]:
    """`models pull` from a Hub that has one model."""
    with running() as hub:
        yield _published(hub, trained_runs)


def _published(hub: Hub, runs: Path) -> Command:
    hub.publish(REPO, runs / "sdnet18-tiny", **{"README.md": b"---\nlibrary_name: sdnet-bench\n---\n\n# tiny\n"})
    return pulling(hub)


def disturb(
    tally: Tally, command: Command, wanted: Undisturbed, folder: Path, fault: Prepare, how: str, status: int
) -> None:
    """A round: a command with a fault that lets it end with a status, and the same command again."""
    ended = run(command.words, folder, (*command.prepare, fault))
    judge(tally, command, wanted, folder, ended, how, status)


def judge(
    tally: Tally, command: Command, wanted: Undisturbed, folder: Path, ended: Ended, how: str, status: int
) -> None:
    """Judges how a command ended, types it again, and compares what there is then with the work of an undisturbed one.

    Where all is done already, it is not typed again.
    """
    tally.note(tally.wrong, ended.complaints(wanted.ended.status or 0, status), how)
    place = next((path for path in (folder.with_name("after"),) if path.exists()), folder)
    if seen(place) != wanted.seen:
        again = run(command.again, place, command.prepare)
        complaints = again.complaints(wanted.ended.status or 0)
        tally.note(tally.lost, [*complaints, *differences(seen(place), wanted.seen)], how)
    shutil.rmtree(folder.parent)
