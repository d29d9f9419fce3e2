"""The world of the fault suite, and trials of commands in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hub_server import running

from .commands import REPO, Command, differences, fill_world, pulling, seen
from .process import Ended, Prepare, run
from .tally import Tally
from .writes import count_changes

Once = Callable[[str, Callable[[Path], None]], Path]
World = Callable[[], Path]
"""Makes a copy of the world, in a folder of its own."""


@pytest.fixture(scope="session")
def world(once: Once, trained_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    whole = once("world", lambda folder: fill_world(folder, trained_runs))
    return lambda: Path(shutil.copytree(whole, tmp_path_factory.mktemp("round") / "world"))


@dataclass(frozen=True)
class Undisturbed:
    """What a command makes of the world, and how it ends.

    Args:
        changes: how often it changes something on the disk.
        pages: pages of 4,096 bytes that it takes on the disk at most, or a few more.
    """

    seen: dict[str, object]
    ended: Ended
    changes: int
    pages: int

    @classmethod
    def of(cls, command: Command, folder: Path) -> Undisturbed:
        """Runs a command to its end."""
        began, changes = time.time(), folder.with_name("changes")
        ended = run(command.words, folder, (*command.prepare, partial(count_changes, changes)))
        assert not ended.complaints(0, 1), ended
        files = [path.stat() for path in folder.rglob("*")]
        pages = sum(file.st_size // 4096 + 1 for file in files if file.st_mtime >= began)
        return cls(seen(folder), ended, int(changes.read_text("utf-8")), pages)


@dataclass(frozen=True)
class Trial:
    """The rounds of one fault and one command."""

    command: Command
    world: World
    wanted: Undisturbed
    tally: Tally

    @property
    def status(self) -> int:
        """The exit status of the undisturbed command."""
        return self.wanted.ended.status or 0

    def disturb(self, fault: Prepare, how: str, status: int) -> None:
        """A round: the command with a fault that may let it end with a status, and the same command again."""
        folder = self.world()
        self.judge(folder, run(self.command.words, folder, (*self.command.prepare, fault)), how, status)

    def judge(self, folder: Path, ended: Ended, how: str, status: int) -> None:
        """Judges how the command ended, types it again, and compares what there is then with the undisturbed work.

        Where all is done already, it is not typed again, and where the second one finds all done, it may refuse.
        """
        self.tally.note(self.tally.wrong, ended.complaints(self.status, status), how)
        after = folder.with_name("after")
        place = after if after.exists() else folder
        if seen(place) != self.wanted.seen:
            again = run(self.command.again, place, self.command.prepare)
            found = differences(seen(place), self.wanted.seen)
            self.tally.note(self.tally.lost, [*found, *again.complaints(self.status, self.status if found else 2)], how)
        shutil.rmtree(folder.parent)


Try = Callable[[str, Command], Trial]


@pytest.fixture(scope="session")
def trial(world: World) -> Try:
    """Begins the trial of a fault and a command."""
    known: dict[str, Undisturbed] = {}

    def begin(fault: str, command: Command) -> Trial:
        if command.name not in known:
            known[command.name] = Undisturbed.of(command, world())
        return Trial(command, world, known[command.name], Tally(fault, command.name))

    return begin


@pytest.fixture
def pull(trained_runs: Path) -> Iterator[Command]:
    """`models pull` from a Hub that has one model."""
    card = b"---\nlibrary_name: sdnet-bench\n---\n\n# tiny\n"
    with running() as hub:
        hub.publish(REPO, trained_runs / "sdnet18-tiny", **{"README.md": card})
        yield pulling(hub)
