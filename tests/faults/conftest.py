"""The world of the fault suite, and what each command makes of it when nothing disturbs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub_server import Hub, running

from .commands import REPO, Command, World, differences, fill_world, pulling, seen
from .process import Ended, run

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


Undisturb = Callable[[Command], Undisturbed]


@pytest.fixture(scope="session")
def undisturbed(world: World) -> Undisturb:
    """Runs a command to its end in a world of its own, once."""
    known: dict[str, Undisturbed] = {}

    def run_once(command: Command) -> Undisturbed:
        if command.name not in known:
            folder = world()
            ended = run(command.words, folder, command.prepare)
            assert ended.complaints(0, 1) == []
            known[command.name] = Undisturbed(seen(folder), ended)
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


def complete(command: Command, folder: Path, wanted: Undisturbed) -> list[str]:
    """Runs a command again that was broken off; what differs then from the work of an undisturbed one.

    Where all is done already, the command need not say yes to a second run.
    """
    if seen(folder) == wanted.seen:
        return []
    ended = run(command.again, folder, command.prepare)
    return [*ended.complaints(wanted.ended.status or 0), *differences(seen(folder), wanted.seen)]
