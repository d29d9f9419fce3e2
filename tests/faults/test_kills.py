"""Processes that are killed or interrupted: the same command again ends where an undisturbed one does."""

from __future__ import annotations

import signal
import time
from functools import partial

import pytest

from .commands import COMMANDS, Command
from .conftest import Try
from .process import Started
from .tally import rounds, scaled
from .writes import die_at

SIGNALS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
"""The exit status of a process that gets them."""


@rounds("command", COMMANDS, plain=1, soak=20, only=("evaluate",))
def test_killed_at_a_random_moment(command: Command, count: int, trial: Try) -> None:
    each = trial("SIGKILL, SIGTERM, SIGINT at a random moment", command)
    for draw in each.tally.draw(count):
        number, after = draw.choice(list(SIGNALS)), draw.uniform(0, 1.1 * each.wanted.ended.seconds)
        folder = each.world()
        started = Started(command.words, folder, command.prepare)
        time.sleep(after)
        started.send(number)
        each.judge(folder, started.ended(), f"{number.name} after {after:.3f} s", SIGNALS[number])
    each.tally.settle()


@rounds("command", COMMANDS, plain=2, soak=200, only=("attack --save",))
def test_killed_before_a_change_of_the_disk(command: Command, count: int, trial: Try) -> None:
    each = trial("SIGKILL before a change of the disk", command)
    for at in each.tally.places(count, each.wanted.changes):
        each.disturb(partial(die_at, at), f"before change {at}", -signal.SIGKILL)
    each.tally.settle()


@pytest.mark.soak
def test_a_pull_is_killed(pull: Command, trial: Try) -> None:
    test_killed_at_a_random_moment(pull, scaled(20), trial)
    test_killed_before_a_change_of_the_disk(pull, scaled(200), trial)
