"""A layer whose output is an equilibrium, its gradient, and the measurement of its convergence.

    z* = f(z*, u)        w = J^T w + v        J = df/dz at z*

The backward pass maps the gradient v at z* to w and continues through one application of f (Bai et al., 2019,
Theorem 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...errors import UsageError
from .solvers import TOLERANCE, Broyden, Map, Repeated, Solution
from .transform import BoundTransform, Transform

GRADIENTS = ("implicit", "phantom")
WARMUP_APPLICATIONS = 10


class Equilibrium(nn.Module):
    """Maps u, `(N, C, H, W)`, to the features of z*, without autocast.

    The gradient exists in eval mode too, wherever gradients are enabled. In the first `warmup` steps of training the
    output is f applied ten times from zero, with ordinary back-propagation; eval mode always solves.

    Args:
        transform: f; its method `bind` maps u to f(., u).
        steps: largest number of steps of a solve.
        backward_steps: largest number of steps of the solve for the gradient.
        warmup: steps of the optimiser before training solves.
        gradient: "implicit", or "phantom": the gradient of five more applications of f, damped by 0.7 (Geng et al.,
            2021), which needs no solve. The output is f(z*) with either.
    """

    gradients = GRADIENTS
    warmup: Tensor
    """0-dim int64: number of steps of the optimiser until training solves."""

    def __init__(
        self, transform: Transform, *, steps: int, backward_steps: int, warmup: int, gradient: str = "implicit"
    ) -> None:
        super().__init__()
        if gradient not in GRADIENTS:
            raise UsageError("unknown gradient of an equilibrium", expected=" or ".join(GRADIENTS), got=gradient)
        self.transform = transform
        self.solver, self.adjoint = Broyden(steps), Broyden(backward_steps)
        self.unrolled, self.phantom = Repeated(WARMUP_APPLICATIONS), Repeated(5, damping=0.7)
        self.gradient = gradient
        self.register_buffer("warmup", torch.tensor(warmup))

    def forward(self, injection: Tensor) -> list[Tensor]:
        with torch.autocast(injection.device.type, enabled=False):
            dtype = next(self.parameters()).dtype
            function = self.transform.bind(injection.to(dtype))
            return function.split(self._state(function))

    def _state(self, function: BoundTransform) -> Tensor:
        if self.training and self.warmup > 0:
            return self.unrolled(function, function.start()).state  # type: ignore[no-any-return]
        found = self.solver(function, function.start()).state
        if self.gradient == "phantom" and torch.is_grad_enabled():
            unrolled = self.phantom(function, found).state
            return function(found).detach() + (unrolled - unrolled.detach())  # type: ignore[no-any-return]
        return _Implicit.apply(function(found), found, function, self.adjoint)  # type: ignore[no-any-return]

    def after_step(self) -> None:
        """Decreases `warmup` by one step."""
        self.warmup.sub_(1).clamp_(min=0)

    def extra_repr(self) -> str:
        return f"gradient={self.gradient}"


class _Implicit(torch.autograd.Function):
    """The identity on f(z*), whose backward pass maps v to w."""

    @staticmethod
    def forward(ctx: Any, applied: Tensor, found: Tensor, function: Map, adjoint: Broyden) -> Tensor:
        ctx.save_for_backward(found)
        ctx.function, ctx.adjoint = function, adjoint
        return applied.view_as(applied)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (found,), (arriving,) = ctx.saved_tensors, gradients
        with torch.autocast(found.device.type, enabled=False):
            return adjoint_solution(ctx.function, found, arriving, ctx.adjoint), None, None, None


def adjoint_solution(function: Map, found: Tensor, arriving: Tensor, solver: Broyden) -> Tensor:
    """The solution w of w = J^T w + v for v, `(N, D)`, at a state `(N, D)`.

    The solve starts from v, and its residuals are relative to |v|, so the worst result is the gradient of one
    application of f. v is scaled to a largest entry of 1 during the solve, so that small gradients do not underflow.
    """
    with torch.enable_grad():
        state = found.detach().requires_grad_()
        after = function(state)
    size = arriving.abs().amax(1, keepdim=True)
    unit = arriving / size.where(size > 0, 1)

    def backward(w: Tensor) -> Tensor:
        return unit + torch.autograd.grad(after, state, w, retain_graph=True)[0]

    return size * solver(backward, unit, unit.norm(dim=1)).state  # type: ignore[no-any-return]


def equilibria(net: nn.Module) -> list[Equilibrium]:
    """The equilibria of a network, in the order of its modules."""
    return [module for module in net.modules() if isinstance(module, Equilibrium)]


class Convergence(NamedTuple):
    """Convergence of the equilibria, image by image."""

    residual: Tensor
    """Relative residual |f(z) - z| / |f(z)|, `(N,)`."""
    steps: Tensor
    """Number of solver steps, `(N,)`."""

    @property
    def missed(self) -> Tensor:
        """`(N,)` bool: which residuals are not below the tolerance of the solvers."""
        return ~(self.residual < TOLERANCE)

    def summary(self) -> dict[str, float]:
        """Means over the images, by the names of record metrics."""
        return {
            "equilibrium_residual": float(self.residual.mean()),
            "equilibrium_steps": float(self.steps.cpu().double().mean()),
            "equilibrium_unconverged": float(self.missed.cpu().double().mean()),
        }


class ConvergenceMeter:
    """Collects the convergence of the solves of every batch.

    A training step of the warm-up counts as a solve of ten steps with the residual of the last step.
    """

    def __init__(self) -> None:
        self._forward: list[Convergence] = []
        self._backward: list[Convergence] = []

    @property
    def forward(self) -> Convergence | None:
        """Convergence of z*, image by image; None where nothing was solved."""
        return _joined(self._forward)

    @property
    def backward(self) -> Convergence | None:
        """Convergence of the gradients through z*, image by image, in the order of the backward passes."""
        return _joined(self._backward)

    def observe_forward(self, _solver: nn.Module, _inputs: object, solution: Solution) -> None:
        """Forward hook of the solver for z*."""
        self._forward.append(Convergence(solution.residual, solution.steps))

    def observe_backward(self, _solver: nn.Module, _inputs: object, solution: Solution) -> None:
        """Forward hook of the solver for gradients."""
        self._backward.append(Convergence(solution.residual, solution.steps))


def _joined(parts: list[Convergence]) -> Convergence | None:
    return Convergence(*map(torch.cat, zip(*parts, strict=True))) if parts else None


@contextmanager
def convergence(net: nn.Module) -> Iterator[ConvergenceMeter]:
    """Yields a new meter that observes the solves of a network's equilibria in the block."""
    meter = ConvergenceMeter()
    layers = equilibria(net)
    hooks = [solver.register_forward_hook(meter.observe_forward) for x in layers for solver in (x.solver, x.unrolled)]
    hooks += [layer.adjoint.register_forward_hook(meter.observe_backward) for layer in layers]
    try:
        yield meter
    finally:
        for hook in hooks:
            hook.remove()
