"""Solvers of fixed points against closed forms on linear contractions, and what they say of themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdnet_bench.backbones.mdeq.solvers import Broyden, InverseJacobian, Map, Repeated
from sdnet_bench.errors import UsageError

SAMPLES, SIZE = 3, 8
TIGHT = 1e-13


class Affine:
    """f(z) = A z + b, another A and b for every sample; notes the states that it is asked for."""

    def __init__(self, norms: list[float]) -> None:
        directions = torch.randn(len(norms), SIZE, SIZE, dtype=torch.float64)
        lengths = torch.linalg.matrix_norm(directions, 2) / torch.tensor(norms, dtype=torch.float64)
        self.matrix = directions / lengths.view(-1, 1, 1)
        self.offset = torch.randn(len(norms), SIZE, dtype=torch.float64)
        self.asked: list[Tensor] = []

    def __call__(self, state: Tensor) -> Tensor:
        self.asked.append(state)
        return torch.einsum("nij,nj->ni", self.matrix, state) + self.offset

    def fixed_point(self) -> Tensor:
        return torch.linalg.solve(torch.eye(SIZE, dtype=torch.float64) - self.matrix, self.offset)

    def only(self, sample: int) -> Affine:
        alone = Affine([1.0])
        alone.matrix, alone.offset = self.matrix[sample, None], self.offset[sample, None]
        return alone

    def start(self) -> Tensor:
        return torch.zeros_like(self.offset)


def relative_residual(function: Map, state: Tensor) -> Tensor:
    after = function(state)
    return (after - state).norm(dim=1) / after.norm(dim=1)


@pytest.fixture
def contraction() -> Affine:
    return Affine([0.9, 0.5, 0.1])


def test_broyden_finds_the_fixed_point_of_a_linear_contraction(contraction: Affine) -> None:
    found = Broyden(60, TIGHT)(contraction, contraction.start())
    torch.testing.assert_close(found.state, contraction.fixed_point(), atol=1e-10, rtol=1e-10)
    assert (found.residual < TIGHT).all()


def test_broyden_needs_no_contraction() -> None:
    expansion = Affine([2.0, 5.0])
    found = Broyden(60, TIGHT)(expansion, expansion.start())
    torch.testing.assert_close(found.state, expansion.fixed_point(), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 4, 60])
def test_the_residual_is_that_of_the_state(contraction: Affine, steps: int) -> None:
    found = Broyden(steps)(contraction, contraction.start())
    torch.testing.assert_close(found.residual, relative_residual(contraction, found.state))


def test_the_best_of_all_states_is_kept() -> None:
    expansion = Affine([3.0, 4.0])
    found = Broyden(6)(expansion, expansion.start())
    seen = torch.stack([relative_residual(expansion, state) for state in list(expansion.asked)])
    assert len(seen) == 7
    assert (seen[-1] > seen.amin(0)).any()
    torch.testing.assert_close(found.residual, seen.amin(0))


def test_steps_are_counted_until_a_sample_has_converged(contraction: Affine) -> None:
    found = Broyden(60, 1e-3)(contraction, contraction.start())
    seen = torch.stack([relative_residual(contraction, state) for state in list(contraction.asked)])
    first = (seen < 1e-3).int().argmax(0)
    assert found.steps.tolist() == first.tolist()
    assert len(set(found.steps.tolist())) == SAMPLES
    assert len(seen) == found.steps.max() + 1


def test_no_more_steps_are_taken_than_allowed(contraction: Affine) -> None:
    found = Broyden(4, TIGHT)(contraction, contraction.start())
    assert len(contraction.asked) == 5
    assert found.steps.tolist() == [4] * SAMPLES


def test_nothing_is_done_at_a_fixed_point(contraction: Affine) -> None:
    found = Broyden(5)(contraction, contraction.fixed_point())
    assert found.steps.tolist() == [0] * SAMPLES
    assert torch.equal(found.state, contraction.fixed_point())


def test_a_converged_sample_stands_still(contraction: Affine) -> None:
    together = Broyden(60, 1e-3)(contraction, contraction.start())
    for sample in range(SAMPLES):
        function = contraction.only(sample)
        alone = Broyden(60, 1e-3)(function, function.start())
        torch.testing.assert_close(together.state[sample, None], alone.state, atol=1e-14, rtol=1e-12)
        assert together.steps[sample] == alone.steps[0]


def test_a_sample_that_explodes_leaves_the_others_alone(contraction: Affine) -> None:
    def explosive(state: Tensor) -> Tensor:
        broken = (state != 0).any(1) & torch.tensor([False, True, False])
        return contraction(state).where(~broken[:, None], torch.inf)

    found = Broyden(60, TIGHT)(explosive, contraction.start())
    torch.testing.assert_close(found.state[::2], contraction.fixed_point()[::2], atol=1e-10, rtol=1e-10)
    assert found.state[1].eq(0).all()
    assert found.residual[1] == pytest.approx(1)
    assert found.steps[1] == 60


def test_a_map_that_is_never_finite_never_converges() -> None:
    found = Broyden(3)(lambda state: state * torch.nan, torch.zeros(2, SIZE))
    assert found.residual.isnan().all()
    assert found.steps.tolist() == [3, 3]


def test_the_inverse_jacobian_maps_changes_to_steps() -> None:
    step, change, others = (torch.randn(SAMPLES, SIZE, dtype=torch.float64) for _ in range(3))
    inverse = InverseJacobian(step, 2)
    inverse.update(others, torch.randn_like(others))
    inverse.update(step, change)
    torch.testing.assert_close(inverse.times(change), step)
    forth, back = (inverse.times(change) * others).sum(1), (inverse.transposed_times(others) * change).sum(1)
    torch.testing.assert_close(forth, back)


def test_the_inverse_jacobian_begins_as_minus_the_identity() -> None:
    vector = torch.randn(SAMPLES, SIZE)
    assert torch.equal(InverseJacobian(vector, 2).times(vector), -vector)


def test_a_sample_that_stands_still_teaches_nothing() -> None:
    vector = torch.randn(SAMPLES, SIZE)
    inverse, step = InverseJacobian(vector, 1), torch.randn(SAMPLES, SIZE)
    step[1] = 0
    inverse.update(step, step / 3)
    torch.testing.assert_close(inverse.times(vector)[1], -vector[1])
    assert not torch.allclose(inverse.times(vector)[0], -vector[0])


@pytest.mark.parametrize("damping", [1.0, 0.7])
def test_repetition_is_damped(contraction: Affine, damping: float) -> None:
    found = Repeated(6, damping)(contraction, contraction.start())
    state = contraction.start()
    for _ in range(6):
        before, state = state, damping * contraction(state) + (1 - damping) * state
    torch.testing.assert_close(found.state, state)
    torch.testing.assert_close(found.residual, (state - before).norm(dim=1) / state.norm(dim=1))
    assert found.steps.tolist() == [6] * SAMPLES


def test_repetition_keeps_its_graph(contraction: Affine) -> None:
    contraction.offset.requires_grad_()
    found = Repeated(4)(contraction, contraction.start().detach())
    (gradient,) = torch.autograd.grad(found.state.sum(), contraction.offset)
    powers = sum(torch.linalg.matrix_power(contraction.matrix.mT, count) for count in range(4))
    torch.testing.assert_close(gradient, torch.as_tensor(powers).sum(2))
    assert not found.residual.requires_grad


@pytest.mark.parametrize("steps", [0, -1])
def test_a_solver_takes_steps(steps: int) -> None:
    with pytest.raises(UsageError, match=f"expected steps >= 1, got {steps}"):
        Broyden(steps)
