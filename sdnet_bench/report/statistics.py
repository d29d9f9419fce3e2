"""Proportions of records with their intervals, and whether two of them differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..records import Cell, Outcomes, Record
from ..studies.chance import sign_test, wilson


class Value(NamedTuple):
    """A measured number; `low` and `high` bound a proportion at 95 %, `n` images stand behind it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    records: tuple[Record, ...] = ()
    """What a proportion comes from, all on the same images."""
    hits: tuple[int, ...] = ()
    """For each image: how often it was classified correctly."""

    @property
    def complement(self) -> Value:
        """The error (%) of an accuracy (%)."""
        low, high = (None if bound is None else 100 - bound for bound in (self.high, self.low))
        return self._replace(value=100 - self.value, low=low, high=high)


def percent(records: Sequence[Record | None]) -> Value | None:
    """Accuracy (%) over records of the same images, with Wilson's 95 % interval.

    None if one is missing, or if they differ in images, seed, precision, the rule that chose lambda, or the archive
    that a corruption was read from.

    For a mean over severities the images are not independent, so the interval counts each image once: it is
    wider than it would have to be.
    """
    found = [record for record in records if record is not None]
    if not found or len(found) < len(records) or len({_conditions(record.cell) for record in found}) > 1:
        return None
    parts = {(record.cell.corruption, record.cell.archive) for record in found}
    if len(parts) > len({corruption for corruption, _ in parts}):
        return None
    return _proportion(np.sum([record.correct for record in found], axis=0), len(found), found)


def share(outcomes: Outcomes, records: Sequence[Record]) -> Value:
    """Share (%) of true outcomes `(n,)`, with Wilson's 95 % interval, found in records of the same n images."""
    return _proportion(outcomes.astype(int), 1, records)


def standing(records: Sequence[Record]) -> Value | None:
    """Share (%) of images that are classified correctly in every one of these records of the same images.

    None where there is no record.
    """
    return share(np.logical_and.reduce([record.correct for record in records]), records) if records else None


def _proportion(hits: NDArray[np.int_], of: int, records: Sequence[Record]) -> Value:
    """From how often, of so many times, each image was classified correctly; an image counts once."""
    n, mean = len(hits), float(hits.mean()) / of
    low, high = wilson(round(mean * n), n)
    return Value(100 * mean, low, high, n, tuple(records), tuple(hits.tolist()))


def mcnemar(one: Value, other: Value) -> float | None:
    """p of McNemar's exact test: could two accuracies on the same images differ so by chance?

    For a mean over severities it is the sign test over images: an image speaks for the side that classifies it
    correctly at more of them. None where the two were not measured on the same images with the same noise.
    """
    if not one.records or _pixels(one) != _pixels(other):
        return None
    difference = np.subtract(one.hits, other.hits)
    return sign_test(int(np.sum(difference > 0)), int(np.sum(difference < 0)))


def _pixels(value: Value) -> list[tuple[object, ...]]:
    """What two numbers share that were measured on the very same pixels, whatever was done to attack them."""
    cells = [record.cell for record in value.records]
    return list(
        dict.fromkeys(
            (cell.images, cell.archive, cell.corruption, cell.level, cell.severity, cell.seed, cell.precision)
            for cell in cells
        )
    )


def _conditions(cell: Cell) -> tuple[object, ...]:
    """What records must share to be averaged."""
    return (cell.images, cell.seed, cell.precision, cell.rule)
