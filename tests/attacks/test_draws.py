"""What is drawn for an image depends on its seed alone, whoever is in the batch with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.overrides import _get_current_function_mode_stack

from sdnet_bench.attacks.draws import ImageDraws

SHAPE = (3, 4, 4)
SEEDS = [5, 6, 7]

DRAWN: dict[str, tuple[Callable[[int], Tensor], Callable[[torch.Generator], Tensor]]] = {
    "rand": (lambda n: torch.rand(n, *SHAPE), lambda g: torch.rand(SHAPE, generator=g)),
    "rand of a size": (lambda n: torch.rand((n, *SHAPE)), lambda g: torch.rand(SHAPE, generator=g)),
    "randn": (lambda n: torch.randn(n, *SHAPE), lambda g: torch.randn(SHAPE, generator=g)),
    "rand_like": (lambda n: torch.rand_like(torch.ones(n, *SHAPE)), lambda g: torch.rand(SHAPE, generator=g)),
    "randn_like": (lambda n: torch.randn_like(torch.ones(n, *SHAPE)), lambda g: torch.randn(SHAPE, generator=g)),
    "uniform_": (
        lambda n: torch.zeros(n, *SHAPE).uniform_(-2, 3),
        lambda g: torch.zeros(SHAPE).uniform_(-2, 3, generator=g),
    ),
    "uniform_ by name": (
        lambda n: torch.zeros(n, *SHAPE).uniform_(2, to=3),
        lambda g: torch.zeros(SHAPE).uniform_(2, 3, generator=g),
    ),
    "normal_": (
        lambda n: torch.zeros(n, *SHAPE).normal_(mean=1, std=2),
        lambda g: torch.zeros(SHAPE).normal_(1, 2, generator=g),
    ),
}


def by_hand(name: str, seeds: list[int]) -> Tensor:
    return torch.stack([DRAWN[name][1](torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.mark.parametrize("name", DRAWN)
def test_each_image_has_the_numbers_of_its_own_generator(name: str) -> None:
    with ImageDraws(SEEDS):
        drawn = DRAWN[name][0](3)
    assert torch.equal(drawn, by_hand(name, SEEDS))


def test_a_generator_goes_on_where_it_was() -> None:
    with ImageDraws(SEEDS):
        first, second = torch.rand(3, *SHAPE), torch.rand(3, *SHAPE)
    for row, seed in enumerate(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        assert torch.equal(first[row], torch.rand(SHAPE, generator=generator))
        assert torch.equal(second[row], torch.rand(SHAPE, generator=generator))


def test_an_image_keeps_its_numbers_when_others_have_left() -> None:
    draws = ImageDraws(SEEDS)
    draws.rows = torch.tensor([0, 2])
    with draws:
        drawn = torch.rand(2, *SHAPE)
    assert torch.equal(drawn, by_hand("rand", [5, 7]))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 4, 4), (4, 3, 4, 4)])
def test_what_belongs_to_no_image_comes_from_torch(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    expected = torch.rand(shape)
    torch.manual_seed(1)
    with ImageDraws(SEEDS):
        assert torch.equal(torch.rand(shape), expected)


@pytest.mark.parametrize("draw", [torch.rand, torch.randn])
def test_a_generator_of_the_attack_s_own_is_heeded(draw: Callable[..., Tensor]) -> None:
    expected = draw((3, *SHAPE), generator=torch.Generator().manual_seed(9))
    with ImageDraws(SEEDS):
        drawn = draw((3, *SHAPE), generator=torch.Generator().manual_seed(9))
    assert torch.equal(drawn, expected)


def test_numbers_of_images_leave_the_generator_of_torch_alone() -> None:
    before = torch.get_rng_state()
    with ImageDraws(SEEDS):
        for draw, _ in DRAWN.values():
            draw(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_filled_tensor_is_the_one_that_was_given() -> None:
    given = torch.zeros(3, *SHAPE)
    with ImageDraws(SEEDS):
        assert given.normal_() is given


def test_what_is_drawn_has_the_type_that_was_asked_for() -> None:
    with ImageDraws(SEEDS):
        assert torch.rand(3, *SHAPE, dtype=torch.float64).dtype == torch.float64
        assert torch.rand_like(torch.ones(3, *SHAPE, dtype=torch.float16)).dtype == torch.float16


def test_nothing_is_left_after_the_block() -> None:
    before = _get_current_function_mode_stack()
    with pytest.raises(ZeroDivisionError), ImageDraws(SEEDS):
        raise ZeroDivisionError
    assert _get_current_function_mode_stack() == before
