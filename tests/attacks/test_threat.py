"""Threat models: distances by hand, borders judged in double precision, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, strategies as st
from torch import Tensor

from sdnet_bench.attacks.threat import allows, distance, quantize
from sdnet_bench.errors import UnknownNameError, UsageError
from sdnet_bench.records import DEFAULT_EPS, Threat


def image(*values: float) -> Tensor:
    """`(1, 3, 1, n)`: the same row of pixels in every channel."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1).repeat(1, 3, 1, 1)


def test_the_default_budgets_are_those_of_the_paper() -> None:
    assert DEFAULT_EPS == {"linf": 8 / 255, "l2": 0.5}


@pytest.mark.parametrize(("norm", "expected"), [("linf", 0.4), ("l2", math.sqrt(3 * (0.3**2 + 0.4**2)))])
def test_distances_go_over_all_pixels_and_channels(norm: str, expected: float) -> None:
    moved = distance(Threat(norm, 1.0), image(0.5, 0.5), image(0.2, 0.9))
    assert moved.tolist() == pytest.approx([expected], abs=1e-12)
    assert moved.dtype == torch.float64


def test_each_image_has_its_own_distance() -> None:
    clean, moved = torch.cat([image(0.5)] * 2), torch.cat([image(0.5), image(0.6)])
    assert distance(Threat("linf", 0.1), clean, moved).tolist() == pytest.approx([0, 0.1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("excess", "allowed"), [(0, True), (5e-7, True), (2e-6, False), (0.1, False)])
def test_the_border_of_the_ball_is_sharp_to_a_millionth(norm: str, excess: float, allowed: bool) -> None:
    moved = image(0.5)
    moved[0, 0] += 0.1 + excess
    assert allows(Threat(norm, 0.1), image(0.5), moved).tolist() == [allowed]


@pytest.mark.parametrize(
    ("value", "allowed"), [(0.0, True), (1.0, True), (1.00001, False), (-0.00001, False), (math.nan, False)]
)
def test_an_adversarial_image_is_an_image(value: float, allowed: bool) -> None:
    for norm in ("linf", "l2"):
        assert allows(Threat(norm, 1.0), image(0.5), image(value)).tolist() == [allowed]


@pytest.mark.parametrize("eps", [0, -0.1, math.nan, math.inf])
def test_a_budget_is_positive_and_finite(eps: float) -> None:
    with pytest.raises(UsageError, match="eps out of range, expected a finite number > 0, such as 8/255"):
        Threat("linf", eps)


@pytest.mark.parametrize(("typed", "meant"), [("linff", "linf"), ("l1", "l2"), ("Linf", "linf")])
def test_a_misspelt_norm_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown norm '{typed}'. Did you mean '{meant}'"):
        Threat(typed, 0.1)


@pytest.mark.parametrize(("excess", "allowed"), [(5e-6, True), (2e-5, False)])
def test_the_border_of_a_large_ball_is_sharp_to_a_millionth_of_it(excess: float, allowed: bool) -> None:
    """A projection rounds in proportion to its radius."""
    clean = torch.zeros(1, 3, 20, 20, dtype=torch.float64)
    moved = torch.full_like(clean, (10 + excess) / 1200**0.5)
    assert allows(Threat("l2", 10), clean, moved).tolist() == [allowed]


# whole levels


def levels(seed: int, count: int = 3) -> Tensor:
    """`(count, 3, 8, 8)` uint8, with black and white pixels among them."""
    noise = np.random.default_rng(seed).integers(-60, 316, (count, 3, 8, 8))
    return torch.from_numpy(noise.clip(0, 255).astype(np.uint8))


def projected(clean: Tensor, norm: str, eps: float, seed: int) -> Tensor:
    """Adversarial images on the border of the ball, where the box lets them."""
    direction = torch.from_numpy(np.random.default_rng(seed + 1).normal(size=clean.shape))
    if norm == "linf":
        moved = eps * direction.sign()
    else:
        moved = eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (clean.double() / 255 + moved).clamp(0, 1)


def excess(norm: str, clean: Tensor, quantized: Tensor, eps: float) -> float:
    moved = (quantized.double() - clean.double()).flatten(1) / 255
    distance = moved.abs().amax(1) if norm == "linf" else moved.square().sum(1).sqrt()
    return float(distance.max()) - eps


@given(
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(math.log(1e-4), math.log(3)).map(math.exp),
    seed=st.integers(0, 2**32),
    is_single=st.booleans(),
)
@example(norm="linf", eps=8 / 255 - 1.57e-6, seed=0, is_single=True)
@example(norm="linf", eps=8 / 255 - 1e-7, seed=0, is_single=True)
@example(norm="linf", eps=0.5 / 255, seed=0, is_single=False)
def test_whole_levels_never_leave_the_ball(norm: str, eps: float, seed: int, is_single: bool) -> None:
    clean = levels(seed)
    adversarial = projected(clean, norm, eps, seed)
    quantized = quantize(Threat(norm, eps), clean, adversarial.float() if is_single else adversarial)
    assert quantized.dtype == torch.uint8
    assert excess(norm, clean, quantized, eps) <= 1e-6
    assert allows(Threat(norm, eps), clean / 255, quantized / 255).all()


@pytest.mark.parametrize("overshoot", [0.0, 0.9e-6])
def test_what_the_ball_forgives_does_not_add_up(overshoot: float) -> None:
    eps, clean = 8 / 255 - 1.57e-6, torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    adversarial = clean.double() / 255 + eps + overshoot
    threat = Threat("linf", eps)
    assert allows(threat, clean.double() / 255, adversarial).all()
    assert allows(threat, clean.double() / 255, quantize(threat, clean, adversarial).double() / 255).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [1, 2, 4, 8, 16])
def test_a_ball_of_whole_levels_is_exhausted(radius: int, dtype: torch.dtype) -> None:
    """8/255 is 8 levels, whatever floating point made of it."""
    clean = levels(3)
    adversarial = projected(clean, "linf", radius / 255, 3).to(dtype)
    quantized = quantize(Threat("linf", radius / 255), clean, adversarial)
    assert torch.equal(quantized, (adversarial.double() * 255).round().to(torch.uint8))
    assert (quantized.int() - clean.int()).abs().max() == radius


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_unchanged_images_stay_as_they_are(norm: str) -> None:
    clean = levels(4)
    assert torch.equal(quantize(Threat(norm, 0.1), clean, clean / 255), clean)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_whole_levels_keep_most_of_a_change(norm: str) -> None:
    eps = 2.0 if norm == "l2" else 0.05
    clean = levels(5)
    adversarial = projected(clean, norm, eps, 5)
    before = adversarial - clean.double() / 255
    after = (quantize(Threat(norm, eps), clean, adversarial).double() - clean.double()) / 255
    assert torch.cosine_similarity(before.flatten(), after.flatten(), dim=0) > 0.98
    assert after.norm() > 0.9 * before.norm()
