"""Threat models: distances by hand, borders judged in double precision, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sdnet_bench.attacks import DEFAULT_EPS, Threat, parse_eps
from sdnet_bench.errors import UnknownNameError, UsageError


def image(*values: float) -> Tensor:
    """`(1, 3, 1, n)`: the same row of pixels in every channel."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1).repeat(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("text", "norm", "eps"),
    [
        ("8/255", "linf", 8 / 255),
        ("0.031", "linf", 0.031),
        ("1", "l2", 1.0),
        (" 1 / 4 ", "l2", 0.25),
        ("1e-3", "l2", 0.001),
        (None, "linf", 8 / 255),
        (None, "l2", 0.5),
    ],
)
def test_a_budget_is_a_number_or_a_fraction(text: str | None, norm: str, eps: float) -> None:
    assert parse_eps(text, norm) == eps


@pytest.mark.parametrize("text", ["", "eight", "8/0", "8/x", "/255", "8/2/5"])
def test_a_budget_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="eps is no number, expected a number or a fraction, such as 8/255"):
        parse_eps(text, "linf")


def test_the_default_budgets_are_those_of_the_paper() -> None:
    assert DEFAULT_EPS == {"linf": 8 / 255, "l2": 0.5}


@pytest.mark.parametrize(("norm", "distance"), [("linf", 0.4), ("l2", math.sqrt(3 * (0.3**2 + 0.4**2)))])
def test_distances_go_over_all_pixels_and_channels(norm: str, distance: float) -> None:
    moved = Threat(norm, 1.0).distance(image(0.5, 0.5), image(0.2, 0.9))
    assert moved.tolist() == pytest.approx([distance], abs=1e-12)
    assert moved.dtype == torch.float64


def test_each_image_has_its_own_distance() -> None:
    clean, moved = torch.cat([image(0.5)] * 2), torch.cat([image(0.5), image(0.6)])
    assert Threat("linf", 0.1).distance(clean, moved).tolist() == pytest.approx([0, 0.1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("excess", "allowed"), [(0, True), (5e-7, True), (2e-6, False), (0.1, False)])
def test_the_border_of_the_ball_is_sharp_to_a_millionth(norm: str, excess: float, allowed: bool) -> None:
    moved = image(0.5)
    moved[0, 0] += 0.1 + excess
    assert Threat(norm, 0.1).allows(image(0.5), moved).tolist() == [allowed]


@pytest.mark.parametrize(("value", "allowed"), [(0.0, True), (1.0, True), (1.00001, False), (-0.00001, False)])
def test_an_adversarial_image_is_an_image(value: float, allowed: bool) -> None:
    assert Threat("linf", 1.0).allows(image(0.5), image(value)).tolist() == [allowed]


def test_what_is_not_a_number_is_not_allowed() -> None:
    assert Threat("l2", 1.0).allows(image(0.5), image(math.nan)).tolist() == [False]


@pytest.mark.parametrize("eps", [0, -0.1, math.nan, math.inf])
def test_a_budget_is_positive_and_finite(eps: float) -> None:
    with pytest.raises(UsageError, match="eps out of range, expected a finite number > 0, such as 8/255"):
        Threat("linf", eps)


@pytest.mark.parametrize(("typed", "meant"), [("linff", "linf"), ("l1", "l2"), ("Linf", "linf")])
def test_a_misspelt_norm_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown norm '{typed}'. Did you mean '{meant}'"):
        Threat(typed, 0.1)
