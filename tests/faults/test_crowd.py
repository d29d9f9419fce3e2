"""Several processes that do the same at once: each answers as one alone would, and nothing is done twice.

In the plain suite `tests/studies/test_at_once.py` has evaluations and attacks that do.
"""

from __future__ import annotations

import shutil

import pytest

from .commands import COMMANDS, Command, differences, seen
from .conftest import Try
from .process import Started
from .tally import rounds, scaled


@rounds("command", COMMANDS, soak=3)
def test_several_at_once(command: Command, count: int, trial: Try) -> None:
    """Four and eight of them. Those that may not do the work say so, and at least one does it."""
    each = trial("4 and 8 processes at once", command)
    for draw in each.tally.draw(count):
        folder, number = each.world(), draw.choice([4, 8])
        started = [Started(command.words, folder, command.prepare) for _ in range(number)]
        ended = [one.ended() for one in started]
        done = [one for one in ended if one.status == each.status]
        complaints = {told for one in ended for told in one.complaints(each.status, 1, 2)}
        others = {f"another answer: {one.out[-400:]}" for one in done if one.out != each.wanted.ended.out}
        each.tally.note(each.tally.wrong, [*complaints, *others, *([] if done else ["nobody does it"])], number)
        each.tally.note(each.tally.lost, differences(seen(folder), each.wanted.seen), number)
        shutil.rmtree(folder.parent)
    each.tally.settle()


@pytest.mark.soak
def test_several_pull_at_once(pull: Command, trial: Try) -> None:
    test_several_at_once(pull, scaled(3), trial)
