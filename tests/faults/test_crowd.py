"""Several processes that do the same at once: each answers as one alone would, and nothing is done twice."""

from __future__ import annotations

import shutil

import pytest

from .commands import COMMANDS, Command, World, differences, seen
from .conftest import Undisturb
from .process import Started
from .tally import SCALE, Tally, rounds


def crowd(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    """Four and eight at once. Those that may not do their work say so, and at least one does it."""
    tally, wanted = Tally("4 and 8 processes at once", command.name), undisturbed(command)
    for draw in tally.draw(count):
        folder, number = world(), draw.choice([4, 8])
        started = [Started(command.words, folder, command.prepare) for _ in range(number)]
        ended = [each.ended() for each in started]
        done = [each for each in ended if each.status == wanted.ended.status]
        complaints = {told for each in ended for told in each.complaints(wanted.ended.status or 0, 1, 2)}
        others = {f"another answer: {each.out[-400:]}" for each in done if each.out != wanted.ended.out}
        tally.note(tally.wrong, [*complaints, *others, *([] if done else ["nobody does it"])], number)
        tally.note(tally.lost, differences(seen(folder), wanted.seen), number)
        shutil.rmtree(folder.parent)
    tally.settle()


@rounds("command", COMMANDS, plain=1, soak=10, only=("evaluate", "attack --save"))
def test_several_at_once(command: Command, count: int, world: World, undisturbed: Undisturb) -> None:
    crowd(command, count, world, undisturbed)


@pytest.mark.soak
def test_several_pull_at_once(pull: Command, world: World, undisturbed: Undisturb) -> None:
    crowd(pull, round(10 * SCALE), world, undisturbed)
