"""Sparse coding patch by patch: the layer of the sparse coding networks, SCN (Sun, Nasrabadi and Tran, 2018).

    x* = argmin_{x >= 0}  1/2 |y - A x|^2 + lambda sum(x)

y is the patch of the image around one position, the columns of A are the atoms. Overlapping patches are coded
independently, while one code of a CSC-layer represents the whole image. A^T y of all positions is one convolution;
all other operations are on codes, stored as a matrix `(C, P)` of C coefficients for each of P patches. Matrix
products keep float32 where convolutions would use TF32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import UsageError
from .layer import check_geometry, check_lambda
from .operators import Dictionary
from .solvers import solve

GRADIENTS = ("implicit", "unrolled")


@dataclass(frozen=True, eq=False)
class PatchLasso:
    """The non-negative lasso of P patches over one dictionary: a `Problem` with codes `(C, P)`.

    Args:
        correlations: A^T y of every patch, `(C, P)`.
        gram: A^T A, `(C, C)`.
        lambda_: the trade-off, 0-dim, >= 0.
        step_size: 0-dim, positive, at most 1 / L for L the largest eigenvalue of A^T A.
    """

    correlations: Tensor
    gram: Tensor
    lambda_: Tensor
    step_size: Tensor

    def descend(self, point: Tensor) -> Tensor:
        """max(0, (I - t A^T A) x + t (A^T y - lambda)): one matrix product."""
        return F.relu(torch.addmm(self._drive, self._transition, point))

    def descend_from_zero(self) -> Tensor:
        """`descend` from x = 0."""
        return F.relu(self._drive)

    def slopes(self, code: Tensor) -> Tensor:
        """A^T(y - A x) - lambda, `(C, P)`: at the solution zero where x > 0, and nowhere positive."""
        return torch.addmm(self.correlations - self.lambda_, self.gram, code, alpha=-1)

    @cached_property
    def _drive(self) -> Tensor:
        return self.step_size * (self.correlations - self.lambda_)

    @cached_property
    def _transition(self) -> Tensor:
        return torch.eye(len(self.gram)).to(self.gram) - self.step_size * self.gram


@torch.no_grad()
def largest_step_size(gram: Tensor) -> Tensor:
    """1 / L, 0-dim, for the exact largest eigenvalue L of a Gram matrix `(C, C)`.

    A matrix that is not finite gives a finite result: LAPACK would raise, and the code shows the fault anyway.
    """
    largest: Tensor = torch.linalg.eigvalsh(gram.nan_to_num(0, 0, 0))[-1]
    return largest.clamp_min(torch.finfo(gram.dtype).tiny).reciprocal()


def solve_active(gram: Tensor, ridge: Tensor, right: Tensor, active: Tensor, steps: int) -> Tensor:
    """Solves (A^T A + ridge I) b = g column by column, restricted to the active atoms; b is zero elsewhere.

    Conjugate gradients for all columns at once, each with its own step lengths. Each column is first scaled to a
    largest entry of 1, so that small gradients do not underflow when they are squared.

    Args:
        gram: A^T A, `(C, C)`.
        ridge: 0-dim, >= 0; raised to the size of rounding errors where it is smaller.
        right: g, `(C, P)`.
        active: `(C, P)`, 1 where an atom is active and 0 elsewhere.
        steps: conjugate gradient iterations; C iterations are exact up to rounding.
    """
    tiny, rounding = torch.finfo(gram.dtype).tiny, torch.finfo(gram.dtype).eps * gram.trace()
    system, right = gram + torch.maximum(ridge, rounding) * torch.eye(len(gram)).to(gram), right * active
    scale = right.abs().amax(0).clamp_min(tiny)
    residual = right / scale
    solution, direction, energy = torch.zeros_like(residual), residual.clone(), residual.square().sum(0)
    for _ in range(steps):
        image = (system @ direction).mul_(active)
        length = energy / (direction * image).sum(0).clamp_min(tiny)
        solution.addcmul_(length, direction)
        residual.addcmul_(length, image, value=-1)
        before, energy = energy, residual.square().sum(0)
        direction.mul_(energy / before.clamp_min(tiny)).add_(residual)
    return scale * solution


class ImplicitCode(torch.autograd.Function):
    """Returns a solved code unchanged; its gradient is that of the solution, not of the iterations.

    On the active set the slopes of the solution are zero, so a change ds of the slopes at fixed x moves x by
    (A^T A)^-1 ds (implicit function theorem). Autograd continues from the slopes to y, A and lambda.
    """

    @staticmethod
    def forward(ctx: Any, slopes: Tensor, code: Tensor, gram: Tensor, ridge: Tensor, steps: int) -> Tensor:
        ctx.save_for_backward(code, gram, ridge)
        ctx.steps = steps
        return code.view_as(code)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        code, gram, ridge = ctx.saved_tensors
        active = (code > 0).to(code.dtype)
        return solve_active(gram, ridge, gradient.contiguous(), active, ctx.steps), None, None, None, None


class PatchCodingConv2d(nn.Module):
    """Codes every patch of its input over a learned dictionary: the sparse coding layer of SCN.

    Input `(N, in_channels, H, W)`, output `(N, atoms, ceil(H / stride), ceil(W / stride))`, non-negative, in float32
    or better, without autocast. Zero padding of kernel_size // 2 on each side. The atoms, which are not normalised,
    and lambda are learned.

    Args:
        in_channels, atoms: input channels M, and output channels C.
        kernel_size: side of a patch, odd.
        stride: stride of the grid of patches.
        lambda_: initial value of the learned trade-off, in the units of the input, >= 0.
        steps: FISTA iterations, at least 1.
        gradient: "unrolled" differentiates the iterations and stores all of them; "implicit" differentiates the
            solution and stores only that, which is exact if `steps` reach the solution.
        backward_steps: conjugate gradient iterations of the implicit gradient.
        ridge: added to A^T A for the implicit gradient.
        relative_ridge: further ridge, as a share of the mean diagonal of A^T A. With more atoms than entries of a
            patch A^T A is singular, and the implicit gradient is unusable without it.
    """

    gradients = GRADIENTS
    dictionary: nn.Parameter
    """The atoms, `(C, M, k, k)`."""
    lambda_: nn.Parameter
    """The learned trade-off, 0-dim, >= 0."""

    def __init__(
        self,
        in_channels: int,
        atoms: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        lambda_: float = 0.0,
        steps: int = 50,
        gradient: str = "implicit",
        backward_steps: int = 30,
        ridge: float = 1e-6,
        relative_ridge: float = 0.0,
    ) -> None:
        super().__init__()
        check_geometry(kernel_size, stride, steps)
        if backward_steps < 1:
            raise UsageError("the gradient needs a step to take", expected="backward_steps >= 1", got=backward_steps)
        if gradient not in GRADIENTS:
            raise UsageError("unknown gradient", expected=" or ".join(GRADIENTS), got=gradient)
        if min(ridge, relative_ridge) < 0:
            raise UsageError("a ridge out of range", expected="ridges >= 0", got=min(ridge, relative_ridge))
        self.stride, self.steps, self.gradient = stride, steps, gradient
        self.backward_steps, self.ridge, self.relative_ridge = backward_steps, ridge, relative_ridge
        shape = (atoms, in_channels, kernel_size, kernel_size)
        self.dictionary = nn.Parameter(torch.randn(shape) / (in_channels * kernel_size**2))
        self.lambda_ = nn.Parameter(torch.tensor(float(check_lambda(lambda_))))

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            correlations = Dictionary(self.dictionary, self.stride).analyze(image.to(self.dictionary.dtype))
            by_atom = correlations.movedim(1, 0)
            code = self._code(self._problem(by_atom.flatten(1)))
        return code.view(by_atom.shape).movedim(0, 1)

    def after_step(self) -> None:
        """Projects lambda to >= 0; training calls it after every step of the optimiser."""
        with torch.no_grad():
            self.lambda_.clamp_(min=0)

    def _problem(self, correlations: Tensor) -> PatchLasso:
        atoms = self.dictionary.flatten(1)
        gram = atoms @ atoms.T
        return PatchLasso(correlations, gram, self.lambda_, largest_step_size(gram))

    def _code(self, problem: PatchLasso) -> Tensor:
        if self.gradient == "unrolled":
            return solve(problem, self.steps)
        with torch.no_grad():
            code = solve(problem, self.steps)
            ridge = self.ridge + self.relative_ridge * problem.gram.diagonal().mean()
        return ImplicitCode.apply(problem.slopes(code), code, problem.gram, ridge, self.backward_steps)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        atoms, channels, kernel_size, _ = self.dictionary.shape
        sizes = f"{channels}, {atoms}, kernel_size={kernel_size}, stride={self.stride}"
        return f"{sizes}, steps={self.steps}, gradient={self.gradient}"
