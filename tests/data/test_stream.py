"""Streams: every image draws its own noise, all draws are equally likely, and nothing else has a say in them."""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from sdnet_bench.data import CORRUPTIONS, SEVERITIES, Batch, Noise, Stream, corrupt, stream_of
from sdnet_bench.data.stream import Workers
from sdnet_bench.errors import UnknownNameError, UsageError
from sdnet_bench.records import MIXED, NOISES, UNKNOWN

FAMILY = "imagenet"


def batch(index: Tensor) -> Batch:
    """Grey images; what is in them does not depend on their place in the batch."""
    shade = (index * 37 % 200 + 20).to(torch.uint8)
    return Batch(index, shade.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous(), torch.zeros_like(index))


def _process(_: object) -> int:
    return os.getpid()


def is_even(counts: list[int]) -> bool:
    """Whether a fair draw is as uneven as this in more than one of ten thousand cases."""
    fair = sum(counts) / len(counts)
    return sum((count - fair) ** 2 / fair for count in counts) < chi2.isf(1e-4, len(counts) - 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_types_and_severities_are_equally_frequent_and_independent(seed: int) -> None:
    drawn = Counter(map(stream_of(UNKNOWN, MIXED, FAMILY, seed).draw, range(4000)))
    assert is_even([drawn[pair] for pair in product(NOISES, SEVERITIES)])
    assert sum(drawn.values()) == 4000
    assert is_even([sum(drawn[name, severity] for severity in SEVERITIES) for name in NOISES])
    assert is_even([sum(drawn[name, severity] for name in NOISES) for severity in SEVERITIES])


def test_neighbours_and_seeds_draw_independently() -> None:
    first, second = (stream_of(UNKNOWN, MIXED, FAMILY, seed) for seed in (0, 1))
    for other, shift in ((first, 1), (second, 0)):
        pairs = Counter((first.draw(at)[1], other.draw(at + shift)[1]) for at in range(4000))
        assert is_even([pairs[pair] for pair in product(SEVERITIES, SEVERITIES)])


def test_a_known_type_is_drawn_alone_and_unknown_ones_may_share_a_severity() -> None:
    known, level_three = stream_of("shot", MIXED, FAMILY, 0), stream_of(UNKNOWN, 3, FAMILY, 0)
    assert {known.draw(at) for at in range(200)} == {("shot", severity) for severity in SEVERITIES}
    assert {level_three.draw(at) for at in range(200)} == {(name, 3) for name in NOISES}


def test_an_image_becomes_what_its_draw_makes_of_it() -> None:
    stream, images = stream_of(UNKNOWN, MIXED, FAMILY, 5), batch(torch.arange(100, 140))
    found = stream(images)
    assert found.dtype == torch.uint8
    for at, image in zip(images.index.tolist(), images.images, strict=True):
        name, severity = stream.draw(at)
        level = CORRUPTIONS[name].level(FAMILY, severity)
        expected = corrupt(name, image.numpy(), level=level, seed=5, index=at)
        assert np.array_equal(found[at - 100].numpy(), expected)


def test_batches_and_their_order_have_no_say() -> None:
    stream, index = stream_of(UNKNOWN, MIXED, FAMILY, 0), torch.arange(40)
    whole = stream(batch(index))
    assert torch.equal(whole, stream(batch(index)))
    assert torch.equal(whole.flip(0), stream(batch(index.flip(0))))
    assert torch.equal(whole, torch.cat([stream(batch(part)) for part in index.split(7)]))
    assert not torch.equal(whole, stream_of(UNKNOWN, MIXED, FAMILY, 1)(batch(index)))


@pytest.mark.slow
def test_processes_have_no_say_whether_they_have_started_or_not() -> None:
    stream, images, pool = stream_of(UNKNOWN, MIXED, FAMILY, 0), batch(torch.arange(40)), Workers(2)
    assert not pool.is_up
    early = stream(images, pool)
    while not pool.is_up:
        time.sleep(0.05)
    makers = set(pool(_process, [None] * 40))  # type: ignore[arg-type,list-item]
    assert makers
    assert os.getpid() not in makers
    assert torch.equal(early, stream(images))
    assert torch.equal(stream(images, pool), early)


def test_one_type_at_one_severity_is_that_noise() -> None:
    images, level = batch(torch.arange(5)), CORRUPTIONS["gaussian"].level(FAMILY, 4)
    assert torch.equal(Stream(("gaussian",), (4,), FAMILY, 3)(images), Noise("gaussian", level, 3)(images))
    assert torch.equal(stream_of("gaussian", 4, FAMILY, 3)(images), Noise("gaussian", level, 3)(images))


def test_a_stream_takes_the_levels_of_its_family() -> None:
    images = batch(torch.arange(5))
    assert not torch.equal(stream_of("shot", 2, "cifar", 0)(images), stream_of("shot", 2, FAMILY, 0)(images))


def test_what_cannot_be_streamed_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gaussian'"):
        stream_of("gausian", MIXED, FAMILY, 0)
    with pytest.raises(UsageError, match="severity out of range"):
        stream_of("gaussian", 6, FAMILY, 0)(batch(torch.arange(2)))
