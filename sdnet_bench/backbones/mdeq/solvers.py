"""Solvers of fixed points z = f(z), for every sample of a batch separately.

A solver is a module without parameters, called with f and an initial state. It returns a `Solution`, which a forward
hook can observe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import UsageError

Map = Callable[[Tensor], Tensor]
"""A function f of states `(N, D)` to states `(N, D)`, for each sample separately."""

TOLERANCE = 1e-3
"""The relative residual at which an equilibrium counts as reached."""


class Solution(NamedTuple):
    """The result of a solver."""

    state: Tensor
    """`(N, D)`: for each sample the state with the smallest residual of all steps."""
    residual: Tensor
    """`(N,)`: |f(z) - z| / |f(z)| at `state`, or relative to the scale given to the solver."""
    steps: Tensor
    """`(N,)` int64: number of updates until the sample converged, or of all updates."""


class InverseJacobian:
    """Broyden's estimate of the inverse Jacobian of f(z) - z: -I plus one rank-one term per step, at most `rank`.

    It is made for states `(N, D)` with the shape, dtype and device of `like`.
    """

    def __init__(self, like: Tensor, rank: int) -> None:
        samples, size = like.shape
        self._left, self._right = like.new_zeros(2, samples, rank, size)
        self._rank = 0

    def times(self, vector: Tensor) -> Tensor:
        """The product of the estimate and `vector`, `(N, D)`."""
        return self._apply(self._left, self._right, vector)

    def transposed_times(self, vector: Tensor) -> Tensor:
        """The product of the transposed estimate and `vector`, `(N, D)`."""
        return self._apply(self._right, self._left, vector)

    def update(self, step: Tensor, change: Tensor) -> None:
        """Adds the smallest term with which the estimate maps `change` of f(z) - z to `step` of z ("good" Broyden).

        Samples for which the term is not finite, such as converged ones, are not updated.
        """
        right, error = self.transposed_times(step), step - self.times(change)
        left = error / (right * change).sum(1, keepdim=True)
        finite = (left.isfinite() & right.isfinite()).all(1, keepdim=True)
        self._left[:, self._rank] = left.where(finite, 0)
        self._right[:, self._rank] = right.where(finite, 0)
        self._rank += 1

    def _apply(self, left: Tensor, right: Tensor, vector: Tensor) -> Tensor:
        left, right = left[:, : self._rank], right[:, : self._rank]
        weights = torch.einsum("nkd,nd->nk", right, vector)
        return torch.einsum("nkd,nk->nd", left, weights) - vector


class Broyden(nn.Module):
    """Broyden's method on f(z) - z = 0 without a line search, as in the MDEQ paper (Bai et al., 2020).

    A converged sample is not updated further, so its result does not depend on its batch. No autograd graph is
    recorded.

    Args:
        steps: largest number of updates of the state; f is called once more.
        tolerance: the relative residual at which a sample has converged.
    """

    def __init__(self, steps: int, tolerance: float = TOLERANCE) -> None:
        super().__init__()
        if steps < 1:
            raise UsageError("a solver needs a step to take", expected="steps >= 1", got=steps)
        self.steps, self.tolerance = steps, tolerance

    @torch.no_grad()
    def forward(self, function: Map, start: Tensor, scale: Tensor | None = None) -> Solution:
        """Solves from `start`, `(N, D)`. Residuals are relative to |f(z)|, or to `scale`, `(N,)`."""
        state, (gap, residual) = start, _gap(function, start, scale)
        best = Solution(state, residual, torch.zeros_like(residual, dtype=torch.int64))
        inverse = InverseJacobian(start, self.steps)
        for _ in range(self.steps):
            moving = ~(best.residual < self.tolerance)
            if not bool(moving.any()):
                break
            step = -inverse.times(gap).where(moving[:, None], 0)
            state, before = state + step, gap
            gap, residual = _gap(function, state, scale)
            inverse.update(step, gap - before)
            best = _better(best, Solution(state, residual, best.steps + moving))
        return best

    def extra_repr(self) -> str:
        return f"steps={self.steps}, tolerance={self.tolerance:g}"


class Repeated(nn.Module):
    """Damped iteration with its autograd graph: z <- damping f(z) + (1 - damping) z.

    Damping is in (0, 1]; at 1 it is plain iteration. The residual of the solution is that of the last step.
    """

    def __init__(self, steps: int, damping: float = 1.0) -> None:
        super().__init__()
        self.steps, self.damping = steps, damping

    def forward(self, function: Map, start: Tensor) -> Solution:
        before = state = start
        for _ in range(self.steps):
            before, state = state, torch.lerp(state, function(state), self.damping)
        residual = _relative(state.detach() - before.detach(), state.detach().norm(dim=1))
        return Solution(state, residual, torch.full_like(residual, self.steps, dtype=torch.int64))

    def extra_repr(self) -> str:
        return f"steps={self.steps}, damping={self.damping:g}"


def _gap(function: Map, state: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """f(z) - z, `(N, D)`, and its norm, `(N,)`, relative to that of f(z) or to `scale`."""
    after = function(state)
    gap = after - state
    return gap, _relative(gap, after.norm(dim=1) if scale is None else scale)


def _relative(gap: Tensor, scale: Tensor) -> Tensor:
    return gap.norm(dim=1) / (scale + 1e-9)  # type: ignore[no-any-return]


def _better(best: Solution, new: Solution) -> Solution:
    """For each sample the solution with the smaller residual; a residual that is not finite never wins."""
    wins = new.residual < best.residual
    return Solution(new.state.where(wins[:, None], best.state), new.residual.where(wins, best.residual), new.steps)
