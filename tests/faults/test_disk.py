"""A full disk: one line, and with room again the same command ends where an undisturbed one does."""

from __future__ import annotations

from functools import partial

import pytest

from .commands import COMMANDS, Command, World
from .conftest import Undisturb, disturb
from .process import run
from .tally import Tally, rounds
from .writes import NO_MOUNT, no_room_from, on_small_disk

PAGE = 4096


@rounds("command", COMMANDS, plain=2, soak=1000, only=("train", "data generate"))
def test_nothing_new_can_be_made(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    tally, wanted = Tally("no room for a new file", command.name), undisturbed(command)
    for at in tally.places(count, wanted.changes):
        disturb(tally, command, wanted, world(), partial(no_room_from, at), f"from change {at} on", 1)
    tally.settle()


@rounds("command", COMMANDS, plain=1, soak=60, only=("train", "data generate"))
def test_the_disk_is_full(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    if run(command.words, world(), (partial(on_small_disk, 0),)).status == NO_MOUNT:
        pytest.skip("no disk can be mounted here")
    tally, wanted = Tally("a full disk", command.name), undisturbed(command)
    for draw in tally.draw(count):
        room = PAGE * draw.randint(0, wanted.pages)
        disturb(tally, command, wanted, world(), partial(on_small_disk, room), f"{room} bytes of room", 1)
    tally.settle()
