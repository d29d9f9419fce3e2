"""Histograms that add up: those of two batches make that of both, exactly, without a range to be known beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ModelError

HALF = 128
"""Bins on each side of zero."""
LEAST = -100
"""The exponent of a histogram of nothing: finer than any that is needed."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many values there are: the zeros, and the others in bins of one width on both sides of zero.

    The width is the least power of 2 that takes in the largest value, so that no value is counted in the wrong bin by
    rounding, and bins become wider by joining: two, four, ... become one. At least half of the
    bins on the side of the largest value lie below it.
    """

    exponent: int = LEAST
    """Bins are 2**exponent wide."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))
    """`(2 HALF,)`: from the one that begins at -HALF 2**exponent. A bin holds its lower end and not its upper one."""
    zeros: int = 0
    """Exact ones; they are in no bin."""

    @classmethod
    def of(cls, values: Tensor) -> Histogram:
        """Counts a tensor of any shape; a `ModelError` where values are not finite."""
        peak = float(values.abs().max())
        if not math.isfinite(peak):
            raise ModelError("the codes of this network are not finite")
        others = values[values != 0]
        exponent = max(math.frexp(peak / HALF)[1], LEAST) if peak else LEAST
        bins = (others * 2.0**-exponent).floor().long() + HALF
        counts = torch.bincount(bins, minlength=2 * HALF).cpu().numpy()
        return cls(exponent, counts, values.numel() - others.numel())

    def __add__(self, other: Histogram) -> Histogram:
        exponent = max(self.exponent, other.exponent)
        counts = self._widened(exponent) + other._widened(exponent)
        return Histogram(exponent, counts, self.zeros + other.zeros)

    def _widened(self, exponent: int) -> NDArray[np.int64]:
        """The counts in wider bins."""
        bins = (np.arange(-HALF, HALF) >> min(exponent - self.exponent, HALF.bit_length())) + HALF
        return np.bincount(bins, weights=self.counts, minlength=2 * HALF).astype(np.int64)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum()) + self.zeros

    @property
    def share_of_zeros(self) -> float:
        return self.zeros / self.total

    def bins(self) -> list[tuple[float, float, int]]:
        """(low, high, count) of each bin, from the first that holds a value to the last."""
        width, used = 2.0**self.exponent, self.counts.nonzero()[0].tolist()
        return [
            ((at - HALF) * width, (at - HALF + 1) * width, int(self.counts[at]))
            for at in (range(used[0], used[-1] + 1) if used else ())
        ]
