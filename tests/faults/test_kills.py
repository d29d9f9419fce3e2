"""Processes that are killed or interrupted: the same command again ends where an undisturbed one does."""

from __future__ import annotations

import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from .commands import COMMANDS, Command, World
from .conftest import Undisturb, complete
from .process import Started, run
from .tally import Tally, rounds
from .writes import count_changes, die_at

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def kill_at_random(command: Command, count: int, world: World, undisturb: Undisturb) -> None:
    tally, wanted = Tally("SIGKILL, SIGTERM, SIGINT at a random moment", command.name), undisturb(command)
    for draw in tally.draw(count):
        folder, number = world(), draw.choice(SIGNALS)
        started = Started(command.words, folder, command.prepare)
        time.sleep(draw.uniform(0, 1.1 * wanted.ended.seconds))
        started.send(number)
        ended = started.ended()
        tally.note(
            tally.wrong, *ended.complaints(wanted.ended.status or 0, 130 if number == signal.SIGINT else -number)
        )
        tally.note(tally.lost, *complete(command, folder, wanted))
        shutil.rmtree(folder.parent)
    tally.settle()


def kill_at_changes(command: Command, count: int, world: World, undisturb: Undisturb, into: Path) -> None:
    tally, wanted = Tally("SIGKILL before a change of the disk", command.name), undisturb(command)
    run(command.words, world(), (*command.prepare, partial(count_changes, into)))
    changes = int(into.read_text("utf-8"))
    for draw in tally.draw(min(count, changes)):
        folder = world()
        at = tally.rounds if count >= changes else draw.randint(1, changes)
        ended = run(command.words, folder, (*command.prepare, partial(die_at, at)))
        tally.note(tally.wrong, *ended.complaints(wanted.ended.status or 0, -signal.SIGKILL))
        tally.note(tally.lost, *(f"killed before change {at}: {each}" for each in complete(command, folder, wanted)))
        shutil.rmtree(folder.parent)
    tally.settle()


QUICK = [command for command in COMMANDS if command.name in ("train", "attack --save")]
SLOW = [command for command in COMMANDS if command not in QUICK]


@rounds(2, 100)
@pytest.mark.parametrize("command", QUICK, ids=str)
def test_killed_at_a_random_moment(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    kill_at_random(command, count, world, undisturbed)


@rounds(0, 60)
@pytest.mark.parametrize("command", SLOW, ids=str)
def test_killed_at_a_random_moment_as_well(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    kill_at_random(command, count, world, undisturbed)


@rounds(2, 1000)
@pytest.mark.parametrize("command", QUICK, ids=str)
def test_killed_at_every_change_of_the_disk(
    command: Command, count: int, world: World, undisturbed: Undisturb, tmp_path: Path
) -> None:
    kill_at_changes(command, count, world, undisturbed, tmp_path / "changes")


@rounds(0, 1000)
@pytest.mark.parametrize("command", SLOW, ids=str)
def test_killed_at_every_change_of_the_disk_as_well(
    command: Command, count: int, world: World, undisturbed: Undisturb, tmp_path: Path
) -> None:
    kill_at_changes(command, count, world, undisturbed, tmp_path / "changes")


@rounds(0, 40)
def test_a_pull_is_killed(pull: Command, count: int, world: World, undisturbed: Undisturb, tmp_path: Path) -> None:
    kill_at_random(pull, count, world, undisturbed)
    kill_at_changes(pull, 10 * count, world, undisturbed, tmp_path / "changes")
