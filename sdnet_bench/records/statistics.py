"""Accuracies of records with confidence intervals, and paired tests of their differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .cell import CLEAN, Images
from .record import Outcomes, Record, wilson


class Value(NamedTuple):
    """A measured number; for a proportion with the bounds `low` and `high` of its 95 % interval over `n` images."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    records: tuple[Record, ...] = ()
    """The records that a proportion is computed from, all of the same images."""
    hits: tuple[int, ...] = ()
    """For each image the number of records that classify it correctly."""

    @property
    def complement(self) -> Value:
        """The error (%) of an accuracy (%)."""
        low, high = (None if bound is None else 100 - bound for bound in (self.high, self.low))
        return self._replace(value=100 - self.value, low=low, high=high)


def percent(records: Sequence[Record | None]) -> Value | None:
    """Accuracy (%) over records of the same images, with Wilson's 95 % interval.

    None if one is missing, or if they differ in images, seed, precision, the rule for lambda, or the archive of a
    corruption. In a mean over severities one image occurs several times; the interval counts it once, which makes it
    conservative.
    """
    found = [record for record in records if record is not None]
    if not found or len(found) < len(records) or len({record.cell.averaging for record in found}) > 1:
        return None
    parts = {(record.images.corruption, record.images.archive) for record in found}
    if len(parts) > len({corruption for corruption, _ in parts}):
        return None
    return _proportion(np.sum([record.correct for record in found], axis=0), len(found), found)


def share(outcomes: Outcomes, records: Sequence[Record]) -> Value:
    """Share (%) of true `outcomes` `(n,)` with Wilson's 95 % interval; `records` of these n images are its source."""
    return _proportion(outcomes.astype(int), 1, records)


def standing(records: Sequence[Record]) -> Value | None:
    """Share (%) of images that every one of these records classifies correctly; None where there is no record.

    All records are of the same images.
    """
    return share(unbroken(records), records) if records else None


def _proportion(hits: NDArray[np.int_], of: int, records: Sequence[Record]) -> Value:
    """Mean share (%) of `hits` `(n,)` out of `of`, with an interval in which an image counts once."""
    n, mean = len(hits), float(hits.mean()) / of
    low, high = wilson(int(hits.sum()) / of, n)
    return Value(100 * mean, low, high, n, tuple(records), tuple(hits.tolist()))


def mcnemar(one: Value, other: Value) -> float | None:
    """p-value of McNemar's exact test for two accuracies on the same images.

    For means over severities it is the sign test over images: an image counts for the side that classifies it
    correctly at more severities. None where images, noise or precision differ.
    """
    if not one.records or _pairings(one) != _pairings(other):
        return None
    return paired_p(one.hits, other.hits)


def _pairings(value: Value) -> list[tuple[Images, str]]:
    return list(dict.fromkeys(record.cell.pairing for record in value.records))


def accuracy(record: Record) -> float:
    """Accuracy (%) of a record, rounded to 1e-6."""
    return in_percent(record.correct)


def clean_accuracy(record: Record) -> float:
    """Accuracy (%) on the same images without attack, from the record of an attack."""
    return in_percent(~record.lost(CLEAN))


def in_percent(outcomes: Outcomes) -> float:
    """Share (%) of true entries of `(n,)`, rounded to 1e-6."""
    return round(100 * float(outcomes.mean()), 6)


def unbroken(records: Iterable[Record]) -> Outcomes:
    """`(n,)` bool: which images every one of these records of the same images classifies correctly."""
    every: Outcomes = np.logical_and.reduce([record.correct for record in records])
    return every


def best_lambda(records: Sequence[Record]) -> float:
    """The lambda of the most accurate record; the smallest lambda of equally accurate ones."""
    return float(best_record(records).inference.lambda_ or 0)


def best_record(records: Iterable[Record]) -> Record:
    """The most accurate record of a sweep; of equally accurate ones that of the smallest lambda."""
    return max(records, key=lambda record: (record.accuracy, -(record.inference.lambda_ or 0)))


def show(value: Value | None) -> str:
    """A value as text: "74.2 [73.3, 75.1]", the number alone without an interval, "—" for None."""
    if value is None:
        return "—"
    if value.low is None or value.high is None:
        return f"{value.value:,.0f}" if value.value >= 100 else f"{value.value:.3g}"
    return f"{value.value:.1f} [{value.low:.1f}, {value.high:.1f}]"


def paired_p(one: ArrayLike, other: ArrayLike) -> float:
    """p-value of the exact two-sided sign test for two accuracies on the same images.

    `one` and `other`, `(n,)`, say how often each image was classified correctly; with one bit per image it is McNemar's
    exact test.
    """
    difference = np.asarray(one, int) - np.asarray(other, int)
    return sign_p(int((difference > 0).sum()), int((difference < 0).sum()))


def sign_p(wins: int, losses: int) -> float:
    """p-value of the exact two-sided sign test: both tails of the binomial distribution of 1/2."""
    from scipy.special import betainc  # `scipy.stats` has the test, and takes a second to load

    fewer, more = sorted((wins, losses))
    return 1.0 if more - fewer < 2 else float(2 * betainc(more, fewer + 1, 0.5))


def show_p(p: float) -> str:
    """A p-value as text: "0.013" or "< 0.0001"."""
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def say_p(p: float) -> str:
    """A p-value for a sentence: "p = 0.013" or "p < 0.0001"."""
    return f"p {show_p(p)}" if p < 1e-4 else f"p = {show_p(p)}"
