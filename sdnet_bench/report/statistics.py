"""Proportions of records with their intervals, and whether two of them differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..records import Cell, Record


class Value(NamedTuple):
    """A measured number; `low` and `high` bound a proportion at 95 %, `n` images stand behind it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    records: tuple[Record, ...] = ()
    """What a proportion is the mean of."""

    @property
    def complement(self) -> Value:
        """The error (%) of an accuracy (%)."""
        low, high = (None if bound is None else 100 - bound for bound in (self.high, self.low))
        return Value(100 - self.value, low, high, self.n, self.records)


def percent(records: Sequence[Record | None]) -> Value | None:
    """Accuracy (%) over records of the same images, with Wilson's 95 % interval.

    None if one is missing, or if they differ in images, seed, precision, the rule that chose lambda, or the archive
    that a corruption was read from.

    For a mean over severities the images are not independent, so the interval counts each image once: it is
    wider than it would have to be.
    """
    from scipy.stats import binomtest

    found = [record for record in records if record is not None]
    if not found or len(found) < len(records) or len({_conditions(record.cell) for record in found}) > 1:
        return None
    parts = {(record.cell.corruption, record.cell.archive) for record in found}
    if len(parts) > len({corruption for corruption, _ in parts}):
        return None
    n = min(record.n for record in found)
    mean = float(np.mean([record.accuracy for record in found]))
    low, high = binomtest(round(mean * n), n).proportion_ci(0.95, method="wilson")
    return Value(100 * mean, 100 * low, 100 * high, n, tuple(found))


def mcnemar(one: Value, other: Value) -> float | None:
    """p of McNemar's exact test: could two accuracies on the same images differ so by chance?

    For a mean over severities it is the sign test over images: an image speaks for the side that classifies it
    correctly at more of them. None where the two were not measured on the same images with the same noise.
    """
    from scipy.stats import binomtest

    if not one.records or [_images(record.cell) for record in one.records] != [
        _images(record.cell) for record in other.records
    ]:
        return None
    ours, theirs = (sum(record.correct.astype(int) for record in side.records) for side in (one, other))
    wins, losses = int(np.sum(ours > theirs)), int(np.sum(ours < theirs))
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _images(cell: Cell) -> tuple[object, ...]:
    """What two cells share that were measured on the very same pixels."""
    return (cell.images, cell.archive, cell.corruption, cell.level, cell.severity, cell.seed, cell.precision)


def _conditions(cell: Cell) -> tuple[object, ...]:
    """What records must share to be averaged."""
    return (cell.images, cell.seed, cell.precision, cell.rule)
