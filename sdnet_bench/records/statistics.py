"""Proportions of records with their intervals, and whether two of them differ by more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .cell import CLEAN, Images
from .record import Outcomes, Record


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
    if not found or len(found) < len(records) or len({record.cell.averaging for record in found}) > 1:
        return None
    parts = {(record.images.corruption, record.images.archive) for record in found}
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
    return share(unbroken(records), records) if records else None


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
    if not one.records or _pairings(one) != _pairings(other):
        return None
    return paired_p(one.hits, other.hits)


def _pairings(value: Value) -> list[tuple[Images, str]]:
    return list(dict.fromkeys(record.cell.pairing for record in value.records))


def accuracy(record: Record) -> float:
    """Accuracy (%) as a bare number, rounded to 1e-6 so that differences of accuracies can be compared."""
    return in_percent(record.correct)


def clean_accuracy(record: Record) -> float:
    """Accuracy (%) on the same images before anybody attacked them, from the record of an attack."""
    return in_percent(~record.lost(CLEAN))


def in_percent(outcomes: Outcomes) -> float:
    """How many of `(n,)` are true, in percent, rounded to 1e-6."""
    return round(100 * float(outcomes.mean()), 6)


def unbroken(records: Iterable[Record]) -> Outcomes:
    """`(n,)`: which images are classified correctly in every one of the records, all of the same images."""
    every: Outcomes = np.logical_and.reduce([record.correct for record in records])
    return every


def best_lambda(records: Sequence[Record]) -> float:
    """The lambda of the most accurate record, the smallest where several are."""
    return float(best_record(records).inference.lambda_ or 0)


def best_record(records: Iterable[Record]) -> Record:
    """The most accurate record of a sweep, that of the smallest lambda where several are."""
    return max(records, key=lambda record: (record.accuracy, -(record.inference.lambda_ or 0)))


def show(value: Value | None) -> str:
    """ "74.2 [73.3, 75.1]", or the bare number where it has no interval."""
    if value is None:
        return "—"
    if value.low is None or value.high is None:
        return f"{value.value:,.0f}" if value.value >= 100 else f"{value.value:.3g}"
    return f"{value.value:.1f} [{value.low:.1f}, {value.high:.1f}]"


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share (%) of hits among n."""
    from scipy.stats import binomtest

    low, high = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return 100 * low, 100 * high


def sign_test(wins: int, losses: int) -> float:
    """p of the exact sign test, McNemar's where an image wins or loses once: could the two sides be alike?"""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def paired_p(one: ArrayLike, other: ArrayLike) -> float:
    """p of McNemar's exact test: could two accuracies on the same images differ so by chance?

    Args:
        one: `(n,)`, for each image whether, or how often, it was classified correctly.
        other: the same images by the other side.
    """
    difference = np.asarray(one, int) - np.asarray(other, int)
    return sign_test(int((difference > 0).sum()), int((difference < 0).sum()))


def show_p(p: float) -> str:
    """ "0.013", or "< 0.0001"."""
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def say_p(p: float) -> str:
    """ "p = 0.013", or "p < 0.0001": for a sentence."""
    text = show_p(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
