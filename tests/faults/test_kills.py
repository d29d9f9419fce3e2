"""Processes that are killed or interrupted: the same command again ends where an undisturbed one does."""

from __future__ import annotations

import signal
import time
from functools import partial

import pytest

from .commands import COMMANDS, Command, World
from .conftest import Undisturb, disturb, judge
from .process import Started
from .tally import SCALE, Tally, rounds
from .writes import die_at

SIGNALS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 130}
"""The exit status of a process that gets them."""


def kill_at_random(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    tally, wanted = Tally("SIGKILL, SIGTERM, SIGINT at a random moment", command.name), undisturbed(command)
    for draw in tally.draw(count):
        folder, number, after = world(), draw.choice(list(SIGNALS)), draw.uniform(0, 1.1 * wanted.ended.seconds)
        started = Started(command.words, folder, command.prepare)
        time.sleep(after)
        started.send(number)
        how = f"{number.name} after {after:.3f} s"
        judge(tally, command, wanted, folder, started.ended(), how, SIGNALS[number])
    tally.settle()


def kill_at_changes(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    tally, wanted = Tally("SIGKILL before a change of the disk", command.name), undisturbed(command)
    for at in tally.places(count, wanted.changes):
        disturb(tally, command, wanted, world(), partial(die_at, at), f"before change {at}", -signal.SIGKILL)
    tally.settle()


@rounds("command", COMMANDS, plain=2, soak=60, only=("train", "attack --save"))
def test_killed_at_a_random_moment(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    kill_at_random(command, count, world, undisturbed)


@rounds("command", COMMANDS, plain=2, soak=1000, only=("train", "attack --save"))
def test_killed_before_a_change_of_the_disk(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    kill_at_changes(command, count, world, undisturbed)


@pytest.mark.soak
def test_a_pull_is_killed(pull: Command, world: World, undisturbed: Undisturb) -> None:
    kill_at_random(pull, round(60 * SCALE), world, undisturbed)
    kill_at_changes(pull, round(1000 * SCALE), world, undisturbed)
