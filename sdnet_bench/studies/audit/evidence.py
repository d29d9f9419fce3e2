"""Figures that verdicts rest on: differences, intervals and tests, from the outcomes of single images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...records import CLEAN, Cell, Outcomes, Record
from .. import chance

CONTROL = "noise"
"""What looks like an attack and is none: it follows nothing."""


def percent(record: Record) -> float:
    """Accuracy (%)."""
    return share(record.correct)


def clean_percent(record: Record) -> float:
    """Accuracy (%) on the same images before anybody attacked them, from the record of an attack."""
    return share(~record.lost(CLEAN))


def share(outcomes: Outcomes) -> float:
    """How many of `(n,)` are true, in percent."""
    return round(100 * float(outcomes.mean()), 6)


def standing(records: Iterable[Record]) -> Outcomes:
    """`(n,)`: which images are classified correctly in every one of the records, all of the same images."""
    every: Outcomes = np.logical_and.reduce([record.correct for record in records])
    return every


def exceeds(points: float, threshold: float, n: int) -> bool:
    """Whether a difference is above a threshold, both in points, and more than one image of n: one proves nothing."""
    return points > threshold and round(points * n / 100) > 1


def wilson(outcomes: Outcomes) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (%)."""
    return chance.wilson(int(outcomes.sum()), len(outcomes))


def mcnemar(one: Outcomes, other: Outcomes) -> float:
    """p of McNemar's exact test: could two accuracies on the same images differ so by chance?"""
    return chance.sign_test(int((one & ~other).sum()), int((other & ~one).sum()))


def show_p(p: float) -> str:
    """ "p = 0.013", or "p < 0.0001"."""
    text = chance.show_p(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def on_same_network(records: Iterable[Record], cell: Cell) -> list[Record]:
    """Those of attacks on the images of `cell`, judged by the same network at the same lambda, within its radius.

    Noise is a control, and no attack.
    """
    return [record for record in records if _same(record.cell, cell)]


def _same(cell: Cell, wanted: Cell) -> bool:
    if cell.attack is None or wanted.attack is None or cell.defence or cell.attack.name == CONTROL:
        return False
    within = cell.attack.norm == wanted.attack.norm and cell.attack.eps <= wanted.attack.eps
    return within and _judge(cell) == _judge(wanted)


def _judge(cell: Cell) -> tuple[object, ...]:
    return (cell.weights, cell.images, cell.corruption, cell.lambda_, cell.rule, cell.steps, cell.precision)
