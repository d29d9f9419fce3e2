"""Histograms: exact counts against NumPy, and sums that do not depend on how the values came in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sdnet_bench.errors import ModelError
from sdnet_bench.studies.codes import HALF, Histogram


def values(*shape: int, scale: float = 1.0) -> Tensor:
    """Normal, a third of them zero."""
    return scale * torch.randn(*shape) * (torch.rand(*shape) > 1 / 3)


def same(one: Histogram, other: Histogram) -> bool:
    return (one.exponent, one.zeros, one.bins()) == (other.exponent, other.zeros, other.bins())


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 777.0, 1e20])
def test_counts_are_those_of_numpy(scale: float) -> None:
    drawn = values(4, 5, 50, 50, scale=scale)
    histogram, plain = Histogram.of(drawn), drawn.double().numpy()
    assert (histogram.zeros, histogram.total) == ((plain == 0).sum(), plain.size)
    assert histogram.share_of_zeros == (plain == 0).mean()
    lows, highs, counts = zip(*histogram.bins(), strict=True)
    assert lows[1:] == highs[:-1]
    assert list(counts) == np.histogram(plain[plain != 0], [*lows, highs[-1]])[0].tolist()


def test_bins_are_as_fine_as_the_largest_value_allows() -> None:
    for peak in (0.99, 1.0, 1.01, -1.0, 12345.0):
        histogram = Histogram.of(torch.tensor([peak, 0.1]))
        assert HALF / 2 <= abs(peak) / 2**histogram.exponent < HALF


def test_a_bin_holds_its_low_end_and_not_its_high_one() -> None:
    histogram = Histogram.of(torch.tensor([1.0, 1.0, 1 - 2**-24, -1.0, -1 - 2**-23]))
    width = 2.0**histogram.exponent
    counts = {low: count for low, _, count in histogram.bins() if count}
    assert counts == {1.0: 2, 1 - width: 1, -1.0: 1, -1 - width: 1}


@pytest.mark.parametrize("scales", [(1, 1, 1), (1e-3, 1, 1e3), (1e3, 1, 1e-3), (1e-20, 1e-25, 1e15)])
def test_the_histograms_of_batches_add_up_to_that_of_all(scales: tuple[float, ...]) -> None:
    batches = [values(1000, scale=scale) for scale in scales]
    total = sum((Histogram.of(batch) for batch in batches), Histogram())
    assert same(total, Histogram.of(torch.cat(batches)))


def test_nothing_but_zeros_is_one_number() -> None:
    histogram = Histogram.of(torch.zeros(7)) + Histogram.of(torch.zeros(2))
    assert (histogram.zeros, histogram.share_of_zeros, histogram.bins()) == (9, 1, [])
    assert same(histogram + Histogram.of(torch.tensor([0.0, 3.0])), Histogram.of(torch.tensor([0.0] * 10 + [3.0])))


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_is_refused(odd: float) -> None:
    with pytest.raises(ModelError, match="codes of this network are not finite"):
        Histogram.of(torch.tensor([0.0, odd, 1.0]))
