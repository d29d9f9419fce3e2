"""The layer: gradients through an equilibrium against closed forms, an independent library, and what is observed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from found import there
from torch import Tensor, nn

from sdnet_bench.attacks.gradients import using_gradient
from sdnet_bench.backbones import HasAfterStep, convergence, equilibria
from sdnet_bench.backbones.mdeq import Convergence, Equilibrium
from sdnet_bench.backbones.mdeq.equilibrium import adjoint_solution
from sdnet_bench.backbones.mdeq.solvers import TOLERANCE, Broyden
from sdnet_bench.errors import UsageError

SAMPLES, SIZE, INPUTS = 3, 6, 4
TIGHT = 1e-13
ORACLE: dict[str, Any] = {"solver": "broyden", "max_iter": 60, "tol": TIGHT, "stop_mode": "rel"}
MODES = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


@dataclass
class BoundLinear:
    matrix: Tensor
    drive: Tensor

    def __call__(self, state: Tensor) -> Tensor:
        return state @ self.matrix.T + self.drive

    def start(self) -> Tensor:
        return torch.zeros_like(self.drive)

    def split(self, state: Tensor) -> list[Tensor]:
        return [state]


class Linear(nn.Module):
    """f(z, u) = A z + B u, |A| = 0.8."""

    def __init__(self) -> None:
        super().__init__()
        matrix = torch.randn(SIZE, SIZE, dtype=torch.float64)
        self.matrix = nn.Parameter(0.8 * matrix / torch.linalg.matrix_norm(matrix, 2))
        self.mixing = nn.Parameter(torch.randn(SIZE, INPUTS, dtype=torch.float64))

    def bind(self, injection: Tensor) -> BoundLinear:
        return BoundLinear(self.matrix, injection.flatten(1) @ self.mixing.T)


def layer(*, tolerance: float = TIGHT, **options: Any) -> Equilibrium:
    made = Equilibrium(Linear(), **{"steps": 40, "backward_steps": 40, "warmup": 0, **options})
    made.solver.tolerance = made.adjoint.tolerance = tolerance
    return made


def inverse(net: Equilibrium) -> Tensor:
    """(I - A)^-1."""
    return torch.linalg.inv(torch.eye(SIZE, dtype=torch.float64) - net.transform.matrix.detach())


@pytest.fixture
def injection() -> Tensor:
    return torch.randn(SAMPLES, INPUTS, 1, 1, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def arriving() -> Tensor:
    """v: what a loss sends back to z*."""
    return torch.randn(SAMPLES, SIZE, dtype=torch.float64)


def run(net: Equilibrium, injection: Tensor) -> Tensor:
    (state,) = net(injection)
    return state  # type: ignore[no-any-return]


@MODES
def test_the_output_is_the_equilibrium(injection: Tensor, training: bool) -> None:
    net = layer().train(training)
    expected = injection.flatten(1) @ net.transform.mixing.T @ inverse(net).T
    torch.testing.assert_close(run(net, injection), expected, atol=1e-10, rtol=1e-10)


@MODES
def test_the_implicit_gradient_is_that_of_the_closed_form(injection: Tensor, arriving: Tensor, training: bool) -> None:
    net = layer().train(training)
    state = run(net, injection)
    state.backward(arriving)
    expected = arriving @ inverse(net)
    exact = {"atol": 1e-10, "rtol": 1e-10}
    assert injection.grad is not None
    torch.testing.assert_close(injection.grad.flatten(1), expected @ net.transform.mixing.detach(), **exact)
    torch.testing.assert_close(net.transform.mixing.grad, expected.T @ injection.detach().flatten(1), **exact)
    torch.testing.assert_close(net.transform.matrix.grad, expected.T @ state.detach(), **exact)


def test_the_gradient_reaches_an_image_through_frozen_weights(injection: Tensor, arriving: Tensor) -> None:
    net = layer().eval().requires_grad_(False)
    run(net, injection).backward(arriving)
    assert injection.grad is not None
    torch.testing.assert_close(injection.grad.flatten(1), arriving @ inverse(net) @ net.transform.mixing)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_a_faint_gradient_is_as_exact_as_any(injection: Tensor, arriving: Tensor, factor: float) -> None:
    net = layer(tolerance=TOLERANCE)
    (plain,) = torch.autograd.grad(run(net, injection), injection, arriving)
    (scaled,) = torch.autograd.grad(run(net, injection), injection, factor * arriving)
    torch.testing.assert_close(scaled, factor * plain, atol=0, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_a_solve_that_leads_nowhere_is_no_worse_than_one_application(steps: int) -> None:
    """J = 3 G - 3 I, far from a contraction: the gradient is not zero, and no further from its equation than v is."""
    size = 50
    jacobian = 3 * torch.randn(size, size, dtype=torch.float64) / size**0.5 - 3 * torch.eye(size, dtype=torch.float64)
    arriving = torch.randn(40, size, dtype=torch.float64)
    found = adjoint_solution(lambda z: z @ jacobian.T, torch.zeros_like(arriving), arriving, Broyden(steps))

    def gaps(w: Tensor) -> Tensor:
        return (arriving + w @ jacobian - w).norm(dim=1)

    assert found.any(1).all()
    assert (gaps(found) <= gaps(arriving) * (1 + 1e-9)).all()


def test_an_image_without_a_gradient_gets_none(injection: Tensor, arriving: Tensor) -> None:
    arriving[1] = 0
    (gradient,) = torch.autograd.grad(run(layer(), injection), injection, arriving)
    assert gradient.flatten(1).any(1).tolist() == [True, False, True]


def test_the_gradient_is_not_differentiated_again(injection: Tensor, arriving: Tensor) -> None:
    state = run(layer(), injection)
    (gradient,) = torch.autograd.grad(state, injection, arriving.requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_equilibrium_does_not_depend_on_whether_gradients_are_enabled(injection: Tensor) -> None:
    net = layer(tolerance=TOLERANCE)
    attached = run(net, injection)
    with torch.no_grad():
        assert torch.equal(run(net, injection), attached)


def test_the_phantom_gradient_is_that_of_five_damped_steps(injection: Tensor, arriving: Tensor) -> None:
    net = layer(gradient="phantom").eval()
    (gradient,) = torch.autograd.grad(run(net, injection), injection, arriving)
    matrix, identity = net.transform.matrix.detach(), torch.eye(SIZE, dtype=torch.float64)
    damped = 0.7 * matrix + 0.3 * identity
    unrolled = sum(torch.linalg.matrix_power(damped, count) * 0.7 for count in range(5))
    expected = arriving @ torch.as_tensor(unrolled) @ net.transform.mixing.detach()
    torch.testing.assert_close(gradient.flatten(1), expected, atol=1e-10, rtol=1e-10)


def test_the_output_is_the_same_with_either_gradient(injection: Tensor) -> None:
    net = layer(tolerance=TOLERANCE).eval()
    implicit = run(net, injection)
    with using_gradient(net, "phantom"):
        assert torch.equal(run(net, injection), implicit)


def test_the_gradient_is_chosen_for_a_block(injection: Tensor, arriving: Tensor) -> None:
    net = layer()
    (implicit,) = torch.autograd.grad(run(net, injection), injection, arriving)
    with using_gradient(net, "phantom"):
        (phantom,) = torch.autograd.grad(run(net, injection), injection, arriving)
    (again,) = torch.autograd.grad(run(net, injection), injection, arriving)
    assert torch.equal(implicit, again)
    assert not torch.allclose(implicit, phantom)
    torch.testing.assert_close(implicit, phantom, atol=0.5, rtol=0.5)


def test_the_gradient_is_as_before_after_an_error() -> None:
    net = layer()
    with pytest.raises(ZeroDivisionError), using_gradient(net, "phantom"):
        raise ZeroDivisionError
    assert net.gradient == "implicit"


def test_an_unknown_gradient_is_refused() -> None:
    with pytest.raises(UsageError, match="expected implicit or phantom, got exact"):
        layer(gradient="exact")


def test_a_network_without_equilibria_is_left_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with convergence(net) as meter:
        net(torch.rand(1, 2))
    assert equilibria(net) == []
    assert (meter.forward, meter.backward) == (None, None)


def test_warm_up_is_ten_applications_with_their_graph(injection: Tensor, arriving: Tensor) -> None:
    net = layer(warmup=1).train()
    state = run(net, injection)
    (gradient,) = torch.autograd.grad(state, injection, arriving)
    matrix, mixing = net.transform.matrix.detach(), net.transform.mixing.detach()
    unrolled = torch.as_tensor(sum(torch.linalg.matrix_power(matrix, count) for count in range(10)))
    torch.testing.assert_close(state, injection.flatten(1) @ mixing.T @ unrolled.T)
    torch.testing.assert_close(gradient.flatten(1), arriving @ unrolled @ mixing)


def test_eval_solves_during_the_warm_up(injection: Tensor) -> None:
    net = layer(warmup=5).eval()
    expected = injection.flatten(1) @ net.transform.mixing.T @ inverse(net).T
    torch.testing.assert_close(run(net, injection), expected, atol=1e-10, rtol=1e-10)


def test_the_warm_up_is_counted_down_by_the_optimiser(injection: Tensor) -> None:
    net = layer(warmup=2).train()
    assert isinstance(net, HasAfterStep)
    exact, left, solved = run(copy.deepcopy(net).eval(), injection), [], []
    for _ in range(4):
        left.append(int(net.warmup))
        solved.append(torch.allclose(run(net, injection), exact, atol=1e-10))
        net.after_step()
    assert (left, solved) == ([2, 1, 0, 0], [False, False, True, True])


def test_the_warm_up_is_saved() -> None:
    begun, resumed = layer(warmup=7), layer(warmup=7)
    begun.after_step()
    resumed.load_state_dict(begun.state_dict())
    assert int(resumed.warmup) == 6


def test_convergence_is_observed_image_by_image(injection: Tensor, arriving: Tensor) -> None:
    net = layer(tolerance=TOLERANCE)
    with convergence(net) as meter:
        run(net, injection).backward(arriving)
        run(net, injection[:1])
    run(net, injection)
    assert meter.forward is not None
    assert (len(meter.forward.residual), len(there(meter.backward).residual)) == (SAMPLES + 1, SAMPLES)
    with torch.no_grad():
        bound = net.transform.bind(injection)
        found = net.solver(bound, bound.start())
        gap = (bound(found.state) - found.state).norm(dim=1) / bound(found.state).norm(dim=1)
    torch.testing.assert_close(meter.forward.residual[:SAMPLES], gap)
    assert torch.equal(meter.forward.steps[:SAMPLES], found.steps)
    assert not meter.forward.missed.any()
    assert (there(meter.backward).residual < TOLERANCE).all()


def test_the_backward_solve_is_of_the_transposed_jacobian(injection: Tensor, arriving: Tensor) -> None:
    net = layer(tolerance=TOLERANCE, backward_steps=3)
    with convergence(net) as meter:
        run(net, injection).backward(arriving)
    assert there(meter.backward).steps.tolist() == [3] * SAMPLES
    assert there(meter.backward).missed.all()


def test_the_phantom_is_not_taken_for_a_solve(injection: Tensor, arriving: Tensor) -> None:
    net = layer(gradient="phantom")
    with convergence(net) as meter:
        run(net, injection).backward(arriving)
    assert len(there(meter.forward).residual) == SAMPLES
    assert meter.backward is None


def test_a_meter_starts_from_nothing(injection: Tensor) -> None:
    net = layer()
    for _ in range(2):
        with convergence(net) as meter:
            run(net, injection)
        assert len(there(meter.forward).residual) == SAMPLES


def test_an_equilibrium_is_missed_at_the_tolerance_and_above() -> None:
    found = Convergence(torch.tensor([TOLERANCE / 2, TOLERANCE, 1.0, torch.nan]), torch.tensor([3, 4, 5, 6]))
    assert found.missed.tolist() == [False, True, True, True]
    summary = Convergence(found.residual[:3], found.steps[:3]).summary()
    assert summary["equilibrium_residual"] == pytest.approx(1.0015 / 3)
    assert summary["equilibrium_steps"] == 4
    assert summary["equilibrium_unconverged"] == pytest.approx(2 / 3)


def test_a_copy_has_its_own_warm_up_and_the_same_equilibrium(injection: Tensor) -> None:
    net = layer(warmup=3)
    copied = copy.deepcopy(net)
    net.after_step()
    assert int(copied.warmup) == 3
    assert torch.equal(run(net.eval(), injection), run(copied.eval(), injection))


def test_an_independent_library_agrees(injection: Tensor, arriving: Tensor) -> None:
    torchdeq = pytest.importorskip("torchdeq")
    settings = {f"{way}_{name}": value for way in "fb" for name, value in ORACLE.items()}
    oracle = torchdeq.get_deq(ift=True, **settings).train()
    net = layer()
    bound = net.transform.bind(injection)
    states, _ = oracle(bound, bound.start())
    expected = torch.autograd.grad(states[-1], [injection, *net.parameters()], arriving)
    found = torch.autograd.grad(run(net, injection), [injection, *net.parameters()], arriving)
    torch.testing.assert_close(run(net, injection), states[-1], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
