"""A full disk: one line, and with room again the same command ends where an undisturbed one does."""

from __future__ import annotations

from functools import partial

import pytest

from .commands import COMMANDS, Command
from .conftest import Try
from .process import run
from .tally import rounds
from .writes import NO_MOUNT, no_room_from, on_small_disk

PAGE = 4096


@rounds("command", COMMANDS, plain=1, soak=30, only=("data generate",))
def test_nothing_new_can_be_made(command: Command, count: int, trial: Try) -> None:
    each = trial("no room for a new file or folder", command)
    for at in each.tally.places(count, each.wanted.changes):
        each.disturb(partial(no_room_from, at), f"from change {at} on", 1)
    each.tally.settle()


@rounds("command", COMMANDS, plain=1, soak=15, only=("data generate",))
def test_the_disk_is_full(command: Command, count: int, trial: Try) -> None:
    each = trial("a full disk", command)
    if run(("--version",), each.world(), (partial(on_small_disk, 10 * PAGE),)).status == NO_MOUNT:
        pytest.skip("no disk can be mounted here")
    for draw in each.tally.draw(count):
        room = PAGE * draw.randint(0, each.wanted.pages)
        each.disturb(partial(on_small_disk, room), f"{room} bytes of room", 1)
    each.tally.settle()
