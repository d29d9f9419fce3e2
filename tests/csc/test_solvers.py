"""The solvers against optimality conditions, an independent lasso solver and equation (6) written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from sklearn.linear_model import Lasso as IndependentLasso
from torch import Tensor

from sdnet_bench.csc import Dictionary, project_to_unit_norm
from sdnet_bench.csc.solvers import (
    Lasso,
    Prox,
    nonnegative_soft_threshold,
    soft_threshold,
    solve,
)

LAMBDA = 0.3
SIZE = (5, 4)
PROXES = pytest.mark.parametrize("prox", [soft_threshold, nonnegative_soft_threshold])
STRIDES = pytest.mark.parametrize("stride", [1, 2])


def ista(problem: Lasso, steps: int) -> Tensor:
    """The code after some iterations from z = 0, each gradient taken at the code before."""
    code = problem.descend_from_zero()
    for _ in range(steps - 1):
        code = problem.descend(code)
    return code


def explicit_matrix(dictionary: Dictionary) -> Tensor:
    """A as a matrix: its columns are the images of the unit codes."""
    atoms, channels = dictionary.atoms.shape[:2]
    grid = dictionary.analyze(torch.zeros(1, channels, *SIZE, dtype=torch.float64)).shape[-2:]
    units = torch.eye(atoms * grid.numel(), dtype=torch.float64).view(-1, atoms, *grid)
    return dictionary.synthesize(units, SIZE).flatten(1).T


def small_problem(prox: Prox, stride: int = 1) -> Lasso:
    atoms = project_to_unit_norm(torch.randn(3, 2, 3, 3, dtype=torch.float64))
    dictionary = Dictionary(atoms, stride)
    largest = torch.linalg.matrix_norm(explicit_matrix(dictionary), 2) ** 2
    image = torch.randn(1, 2, *SIZE, dtype=torch.float64)
    return Lasso(image, dictionary, torch.tensor(LAMBDA, dtype=torch.float64), 0.9 / largest, prox)


def objective(problem: Lasso, code: Tensor) -> float:
    residual = problem.image - problem.dictionary.synthesize(code, SIZE)
    return float(problem.lambda_ * code.abs().sum() + residual.square().sum() / 2)


def correlations(problem: Lasso, code: Tensor) -> Tensor:
    """A*(x - A z), the negative gradient of the smooth part of equation (4)."""
    return problem.dictionary.analyze(problem.image - problem.dictionary.synthesize(code, SIZE))


@STRIDES
@PROXES
def test_converged_codes_satisfy_the_optimality_conditions(prox: Prox, stride: int) -> None:
    problem = small_problem(prox, stride)
    code = solve(problem, 2000)
    slopes, active = correlations(problem, code), code != 0
    assert 0 < active.sum() < code.numel()
    assert (code.min() >= 0) == (prox is nonnegative_soft_threshold)
    assert (slopes.abs() if prox is soft_threshold else slopes).max() <= LAMBDA + 1e-8
    torch.testing.assert_close(slopes[active], LAMBDA * code[active].sign())


@STRIDES
@pytest.mark.parametrize(("prox", "positive"), [(soft_threshold, False), (nonnegative_soft_threshold, True)])
def test_agrees_with_coordinate_descent_on_the_explicit_matrix(prox: Prox, positive: bool, stride: int) -> None:
    problem = small_problem(prox, stride)
    matrix, image = explicit_matrix(problem.dictionary).numpy(), problem.image.flatten().numpy()
    alpha = LAMBDA / len(image)  # scikit-learn divides the squared error by the number of samples
    judge = IndependentLasso(alpha, positive=positive, fit_intercept=False, tol=1e-12, max_iter=1_000_000)
    expected = torch.as_tensor(judge.fit(matrix, image).coef_)
    torch.testing.assert_close(solve(problem, 5000).flatten(), expected, rtol=0, atol=1e-5)


@PROXES
def test_two_fista_steps_are_two_ista_steps_and_three_are_not(prox: Prox) -> None:
    problem = small_problem(prox)
    assert torch.equal(solve(problem, 2), ista(problem, 2))
    assert not torch.allclose(solve(problem, 3), ista(problem, 3))


@PROXES
@STRIDES
def test_three_steps_are_equation_6_written_out(prox: Prox, stride: int) -> None:
    problem = small_problem(prox, stride)
    t = problem.step_size
    z_0 = y_1 = torch.zeros_like(problem.dictionary.analyze(problem.image))
    m_1 = 1.0
    z_1 = prox(y_1 + t * correlations(problem, y_1), LAMBDA * t)
    m_2 = (1 + (1 + 4 * m_1**2) ** 0.5) / 2
    y_2 = z_1 + (m_1 - 1) / m_2 * (z_1 - z_0)
    z_2 = prox(y_2 + t * correlations(problem, y_2), LAMBDA * t)
    m_3 = (1 + (1 + 4 * m_2**2) ** 0.5) / 2
    y_3 = z_2 + (m_2 - 1) / m_3 * (z_2 - z_1)
    z_3 = prox(y_3 + t * correlations(problem, y_3), LAMBDA * t)
    torch.testing.assert_close(solve(problem, 3), z_3, rtol=0, atol=1e-14)


@PROXES
def test_fista_is_ahead_of_ista(prox: Prox) -> None:
    problem = small_problem(prox)
    best = objective(problem, solve(problem, 5000))
    gap, gap_of_ista = (objective(problem, code) - best for code in (solve(problem, 40), ista(problem, 40)))
    assert gap < gap_of_ista / 2


@PROXES
def test_ista_never_increases_the_objective(prox: Prox) -> None:
    problem = small_problem(prox)
    values = [objective(problem, ista(problem, steps)) for steps in range(1, 30)]
    assert all(after <= before for before, after in pairwise(values))


@PROXES
def test_a_step_from_zero_is_a_step_and_one_from_the_solution_stays_there(prox: Prox) -> None:
    problem = small_problem(prox)
    code = solve(problem, 5000)
    torch.testing.assert_close(problem.descend(code), code, rtol=0, atol=1e-10)
    torch.testing.assert_close(problem.descend_from_zero(), problem.descend(torch.zeros_like(code)))


@PROXES
def test_a_lambda_above_every_correlation_gives_the_zero_code(prox: Prox) -> None:
    problem = small_problem(prox)
    largest = problem.dictionary.analyze(problem.image).abs().max()
    assert not solve(replace(problem, lambda_=largest * 1.001), 50).any()


@pytest.mark.parametrize(
    ("shrink", "formula"),
    [
        (soft_threshold, lambda code, threshold: max(abs(code) - threshold, 0) * ((code > 0) - (code < 0))),
        (nonnegative_soft_threshold, lambda code, threshold: max(code - threshold, 0)),
    ],
)
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("code", [-2.0, -1.0, -0.25, 0.0, 0.25, 1.0, 2.0])
def test_shrinkage_is_equation_8(
    shrink: Prox, formula: Callable[[float, float], float], code: float, threshold: float
) -> None:
    assert shrink(torch.tensor(code), torch.tensor(threshold)) == formula(code, threshold)


@PROXES
def test_the_gradient_of_shrinkage_is_right_away_from_kinks(prox: Prox) -> None:
    code = torch.tensor([-2.0, -1.1, -0.3, 0.2, 0.7, 1.5], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(prox, (code, threshold))


@PROXES
@STRIDES
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_correlation_at_hand_changes_no_bit(prox: Prox, stride: int, steps: int) -> None:
    problem = small_problem(prox, stride)
    known = problem.dictionary.analyze(problem.step_size * problem.image)
    assert torch.equal(solve(replace(problem, correlation=known), steps), solve(problem, steps))


def test_a_correlation_at_hand_is_the_first_step() -> None:
    problem = small_problem(soft_threshold)
    assert problem.descend_from_zero().any()
    assert not replace(problem, correlation=torch.zeros_like(problem.descend_from_zero())).descend_from_zero().any()
