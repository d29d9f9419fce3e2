"""Counts rounds and what went wrong in them; one number scales all rounds, one seed repeats them.

`FAULT_ROUNDS=3` takes three times as many rounds, `FAULT_SEED=7` draws others, `FAULT_ROUND=41` repeats one alone, and
`FAULT_TABLE=FILE` adds up the table of docs/reliability.md in a file.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

SEED = os.environ.get("FAULT_SEED", "0")
HEAD = ("| fault | commands or files | rounds | lost | wrong |", "| --- | ---: | ---: | ---: | ---: |")


def rounds(
    name: str, values: Iterable[object], *, plain: int = 0, soak: int, only: Collection[str] = ()
) -> pytest.MarkDecorator:
    """Gives a test each of the values by name, and `count`, its rounds: many with `-m soak`, a few in the plain suite.

    The plain suite has `only` these values, where some are named, and none where `plain` is 0.
    """
    known = list(values)
    named = [each for each in known if plain and (not only or str(each) in only)]
    few = [pytest.param(each, scaled(plain), id=f"{each}") for each in named]
    many = [pytest.param(each, scaled(soak), id=f"{each}-soak", marks=pytest.mark.soak) for each in known]
    return pytest.mark.parametrize((name, "count"), [*few, *many])


def scaled(count: int) -> int:
    """A number of rounds times `FAULT_ROUNDS`, and at least one."""
    return max(1, round(count * float(os.environ.get("FAULT_ROUNDS", "1"))))


class Tally:
    """The rounds of one test. What is `lost` is not there when the command has run again; all else is `wrong`."""

    def __init__(self, fault: str, on: str) -> None:
        self.fault, self.on = fault, on
        self.rounds = 0
        self.lost: list[str] = []
        self.wrong: list[str] = []

    def draw(self, count: int) -> Iterator[random.Random]:
        """Random numbers for each round."""
        only = os.environ.get("FAULT_ROUND")
        for self.rounds in range(1, count + 1):
            if only in (None, str(self.rounds)):
                yield random.Random(f"{SEED} {self.fault} {self.on} {self.rounds}")

    def places(self, count: int, most: int) -> Iterator[int]:
        """A place from 1 to `most` for each round: all of them, where there are rounds enough."""
        for draw in self.draw(min(count, most)):
            yield self.rounds if count >= most else draw.randint(1, most)

    def note(self, where: list[str], found: Iterable[str], how: object) -> None:
        """Adds complaints about the round; `how` says what was done in it."""
        where += [f"round {self.rounds} of seed {SEED}, {how}: {each}" for each in found]

    def settle(self) -> None:
        """Adds the rounds to the table; the test fails where something was lost or wrong."""
        if table := os.environ.get("FAULT_TABLE"):
            with FileLock(f"{table}.lock"):
                _add(Path(table), self.fault, [1, self.rounds, len(self.lost), len(self.wrong)])
        found = [*(f"lost, {each}" for each in self.lost), *(f"wrong, {each}" for each in self.wrong)]
        assert not found, f"{len(found)} in {self.rounds} rounds of {self.fault} on {self.on}\n" + "\n".join(found[:40])


def _add(table: Path, fault: str, counts: list[int]) -> None:
    """Adds counts to the line of a fault in a table of Markdown."""
    lines = table.read_text("utf-8").splitlines()[2:] if table.exists() else []
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    sums = {name: [int(count.replace(",", "")) for count in old] for name, *old in cells}
    sums[fault] = [old + new for old, new in zip(sums.get(fault, [0] * 4), counts, strict=True)]
    rows = [f"| {name} | {' | '.join(f'{count:,}' for count in row)} |" for name, row in sums.items()]
    table.write_text("\n".join([*HEAD, *rows, ""]), encoding="utf-8")
