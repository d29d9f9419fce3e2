"""FISTA for the lasso over a convolutional dictionary (paper, equations 4, 6 and 8).

z* = argmin_z  lambda |z|_1 + 1/2 |x - A z|^2        optionally subject to z >= 0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .operators import Dictionary

Prox = Callable[[Tensor, Tensor], Tensor]


def soft_threshold(code: Tensor, threshold: Tensor) -> Tensor:
    """Shrinkage of equation (8): max(|code| - threshold, 0) * sign(code). `threshold` broadcasts to `code`."""
    above, below = F.relu_(code - threshold), F.relu_(-threshold - code)
    return above - below if torch.is_grad_enabled() else above.sub_(below)


def nonnegative_soft_threshold(code: Tensor, threshold: Tensor) -> Tensor:
    """Soft threshold under the constraint z >= 0: max(code - threshold, 0)."""
    return F.relu_(code - threshold)


def nonnegative_soft_threshold_(code: Tensor, threshold: Tensor) -> Tensor:
    """`nonnegative_soft_threshold` in place, which autograd allows unless another operation needs the code."""
    return F.relu_(code.sub_(threshold))


IN_PLACE: dict[Prox, Prox] = {nonnegative_soft_threshold: nonnegative_soft_threshold_}


class Problem(Protocol):
    """The interface of a sparse coding problem that the solvers use."""

    def descend(self, point: Tensor) -> Tensor:
        """One proximal gradient step from a code; input and result `(N, C, h, w)`."""

    def descend_from_zero(self) -> Tensor:
        """One proximal gradient step from the zero code."""


@dataclass(frozen=True, eq=False)
class Lasso:
    """A `Problem`: one instance of equation (4).

    Args:
        image: x, `(N, M, H, W)`.
        dictionary: the operators A and A*.
        lambda_: the trade-off, broadcastable to the code, >= 0.
        step_size: t, positive, below 1 / L for L the largest eigenvalue of A*A.
        prox: `soft_threshold` or `nonnegative_soft_threshold`.
        correlation: t A* x, `(N, C, h, w)`, if already computed; it does not depend on lambda.
    """

    image: Tensor
    dictionary: Dictionary
    lambda_: Tensor
    step_size: Tensor
    prox: Prox
    correlation: Tensor | None = None

    def descend(self, point: Tensor) -> Tensor:
        """One proximal gradient step: prox(y + t A*(x - A y)), the first line of equation (6).

        The step size scales the residual, which has fewer channels than the code. The correlations become the new
        code in place: a fresh block of memory costs more than the arithmetic.
        """
        residual = self.image - self.dictionary.synthesize(point, self.image.shape[-2:])
        moved = self.dictionary.analyze(self.step_size * residual).add_(point)
        return IN_PLACE.get(self.prox, self.prox)(moved, self._threshold(moved))

    def descend_from_zero(self) -> Tensor:
        """`descend(0)`, without the convolution of a zero code."""
        known = self.correlation
        moved = self.dictionary.analyze(self.step_size * self.image) if known is None else known
        return self.prox(moved, self._threshold(moved))

    def _threshold(self, code: Tensor) -> Tensor:
        return (self.lambda_ * self.step_size).to(code.dtype)


def solve(problem: Problem, steps: int) -> Tensor:
    """The code after `steps >= 1` iterations of FISTA from z = 0, `(N, C, h, w)`, differentiable by unrolling.

    Equation (6): each gradient is taken at the extrapolated point y. The second step has no momentum yet: m_1 = 1, so
    y_2 = z_1.
    """
    previous = code = problem.descend_from_zero()
    momentum = 1.0
    for _ in range(steps - 1):
        before, momentum = momentum, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        beta = (before - 1) / momentum
        point = torch.lerp(previous, code, 1 + beta) if beta else code
        previous, code = code, problem.descend(point)
    return code
