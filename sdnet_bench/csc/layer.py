"""The CSC-layer: a drop-in replacement of a convolution whose output is a sparse code of its input."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import UsageError, check_size
from .operators import Dictionary, project_to_unit_norm
from .solvers import Lasso, nonnegative_soft_threshold, soft_threshold, solve
from .spectrum import MARGIN, power_iteration

MOST_STEPS = 10_000
"""Largest number of FISTA iterations: their error falls with their square, far below that of float32."""
LARGEST_KERNEL = 256
"""Largest side of a patch, and largest stride; the power iteration works on an image of 31 strides and a patch."""


def check_lambda(value: float) -> float:
    """`value` if it can be a lambda: a finite number >= 0."""
    if not math.isfinite(value) or value < 0:
        raise UsageError("lambda out of range", expected="a finite number >= 0", got=value)
    return value


def check_geometry(kernel_size: int, stride: int, steps: int, padding: int | None = None) -> None:
    """Raises a `UsageError` for arguments of a layer that are out of range."""
    if padding is None and kernel_size % 2 == 0:
        raise UsageError("a patch around a pixel has a centre", expected="an odd kernel size", got=kernel_size)
    check_size("kernel size", kernel_size, LARGEST_KERNEL)
    check_size("stride", stride, LARGEST_KERNEL)
    check_size("FISTA iterations", steps, MOST_STEPS)


class CSCConv2d(nn.Module):
    """Codes its input over a learned convolutional dictionary by unrolled FISTA (paper, Sections 3.1 and A).

    Input `(N, in_channels, H, W)`, output `(N, atoms, h, w)` as of an `nn.Conv2d` of the same geometry; without
    `padding` h = ceil(H / stride), w = ceil(W / stride). `forward` writes nothing but its output.

    Args:
        in_channels, atoms: input channels M, and output channels C.
        kernel_size: k; odd where no padding is given.
        stride: of the code grid.
        padding: zeros on each side of the input, less than k; by default k // 2.
        lambda_: the trade-off of equation (4), in the units of the input; change it with `set_lambda`.
        steps: FISTA iterations, at least 1.
        nonnegative: constrain the code to z >= 0, as the released networks do and equation (4) does not.
        gradient_checkpointing: keep the input alone for the backward pass, which takes the steps once more: the same
            gradients, in less memory and more time.
    """

    dictionary: nn.Parameter
    lambda_: Tensor
    """0-dim, or `(N,)`: one trade-off per image of the batch."""
    step_size: Tensor
    """0-dim: 0.9 / L. Refreshed by `settle`, never by `forward`."""
    is_tuned: bool
    """Whether `set_lambda` of the network changes this layer, see `tuning`."""

    def __init__(
        self,
        in_channels: int,
        atoms: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        padding: int | None = None,
        lambda_: float = 0.1,
        steps: int = 2,
        nonnegative: bool = True,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_geometry(kernel_size, stride, steps, padding)
        if padding is not None and not 0 <= padding < kernel_size:
            raise UsageError("padding out of range", expected=f"0 to {kernel_size - 1}", got=padding)
        self.in_channels, self.atoms, self.kernel_size = in_channels, atoms, kernel_size
        self.stride, self.padding, self.steps, self.nonnegative = stride, padding, steps, nonnegative
        self.gradient_checkpointing = gradient_checkpointing
        self.is_tuned = True
        self.prox = nonnegative_soft_threshold if nonnegative else soft_threshold
        values = torch.empty(atoms, in_channels, kernel_size, kernel_size)
        self.dictionary = nn.Parameter(values if values.is_meta else values.normal_())  # on meta, torch loads SymPy
        self.register_buffer("lambda_", torch.tensor(float(check_lambda(lambda_))))
        self.register_buffer("step_size", torch.ones(()))
        self.settle()

    def forward(self, image: Tensor) -> Tensor:
        is_lean = self.gradient_checkpointing and torch.is_grad_enabled()
        correlation = None if is_lean else self.correlate(image)
        problem = Lasso(image, self.operator, self.lambda_.view(-1, 1, 1, 1), self.step_size, self.prox, correlation)
        return _solve_twice(problem, self.steps) if is_lean else solve(problem, self.steps)

    def correlate(self, image: Tensor) -> Tensor:
        """t A* x, `(N, atoms, h, w)`: the share of the first step that does not depend on lambda."""
        return self.operator.analyze(self.step_size * image)

    @property
    def operator(self) -> Dictionary:
        """The pair (A, A*) of the present weights."""
        return Dictionary(self.dictionary, self.stride, self.padding)

    def residual(self, image: Tensor, code: Tensor) -> Tensor:
        """x - A z, `(N, M, H, W)`, in float32 or better whatever the precision of the pass that made `code`."""
        with torch.autocast(image.device.type, enabled=False):
            dtype = self.dictionary.dtype
            return image.to(dtype) - self.operator.synthesize(code.to(dtype), image.shape[-2:])

    @torch.no_grad()
    def settle(self, start: Tensor | None = None, *, iterations: int | None = None) -> Tensor:
        """Projects the atoms to unit norm, sets the step size, returns the eigenvector for a warm start.

        Arguments are those of `power_iteration`; with `iterations` given nothing waits for the device. On the meta
        device, where weights have no values, nothing is settled.
        """
        if self.dictionary.is_meta:
            return self.dictionary.new_empty(0)
        self.dictionary.copy_(project_to_unit_norm(self.dictionary))
        eigenvalue, vector = power_iteration(self.operator, start, iterations=iterations)
        self.step_size.copy_(MARGIN / eigenvalue)
        return vector

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.atoms}, kernel_size={self.kernel_size}, stride={self.stride}"
        sizes += "" if self.padding is None else f", padding={self.padding}"
        return f"{sizes}, steps={self.steps}, nonnegative={self.nonnegative}"


def _solve_twice(problem: Lasso, steps: int) -> Tensor:
    """`solve`, repeated in the backward pass, so that only the problem is kept in memory.

    Lambda is copied: it may have been set anew in place by then. The problem is built anew, since torch.compile does
    not follow `dataclasses.replace` in torch 2.6.
    """
    lambda_ = problem.lambda_.clone()

    def code(image: Tensor) -> Tensor:
        return solve(Lasso(image, problem.dictionary, lambda_, problem.step_size, problem.prox), steps)

    found: Tensor = checkpoint(code, problem.image, use_reentrant=False, preserve_rng_state=False)
    return found
