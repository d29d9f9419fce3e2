"""A layer whose output is an equilibrium, the gradient through it, and what is to be known of how well it was found.

    z* = f(z*, u)        w = J^T w + v        J = df/dz at z*

A gradient v that arrives at z* leaves as w, through one application of f (Bai et al., 2019, Theorem 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...errors import UsageError
from .solvers import TOLERANCE, Broyden, Map, Repeated, Solution

GRADIENTS = ("implicit", "phantom")
WARMUP_APPLICATIONS = 10


class Bound(Protocol):
    """f(., u)."""

    def __call__(self, state: Tensor) -> Tensor:
        """States `(N, D)` to states `(N, D)`."""

    def start(self) -> Tensor:
        """Where a solve starts, `(N, D)`."""

    def split(self, state: Tensor) -> list[Tensor]:
        """A state `(N, D)` in the shape of features."""


class Bindable(Protocol):
    """f(., .)."""

    def bind(self, injection: Tensor) -> Bound:
        """f under u, `(N, C, H, W)`, one fixed map from here on."""


class Equilibrium(nn.Module):
    """u, `(N, C, H, W)`, to the features of z*, without the autocast that may surround it.

    The gradient does not ask whether the network is in training: it is there wherever gradients are enabled. For
    the first steps of training the output is f applied ten times from zero, with ordinary back-propagation; eval
    mode always solves.

    Args:
        transform: f, a module that is `Bindable`.
        steps: the most of a solve.
        backward_steps: the most of the solve for the gradient.
        warmup: steps of the optimiser before training solves.
        gradient: "implicit", or "phantom": that of five more applications of f, damped by 0.7 (Geng et al., 2021),
            for whoever does not trust the implicit solve. The output is f(z*) with either.
    """

    gradients = GRADIENTS
    warmup: Tensor
    """0-dim int64: steps of the optimiser that are left until training solves."""

    def __init__(
        self, transform: nn.Module, *, steps: int, backward_steps: int, warmup: int, gradient: str = "implicit"
    ) -> None:
        super().__init__()
        self.transform = transform
        self.solver, self.adjoint = Broyden(steps), Broyden(backward_steps)
        self.unrolled, self.phantom = Repeated(WARMUP_APPLICATIONS), Repeated(5, damping=0.7)
        self.gradient = check_gradient(gradient)
        self.register_buffer("warmup", torch.tensor(warmup))

    def forward(self, injection: Tensor) -> list[Tensor]:
        with torch.autocast(injection.device.type, enabled=False):
            function: Bound = self.transform.bind(injection.to(self._dtype))  # type: ignore[operator]
            return function.split(self._state(function))

    def _state(self, function: Bound) -> Tensor:
        if self.training and self.warmup > 0:
            return self.unrolled(function, function.start()).state  # type: ignore[no-any-return]
        found = self.solver(function, function.start()).state
        if self.gradient == "phantom" and torch.is_grad_enabled():
            unrolled = self.phantom(function, found).state
            return function(found).detach() + (unrolled - unrolled.detach())  # type: ignore[no-any-return]
        return _Implicit.apply(function(found), found, function, self.adjoint)  # type: ignore[no-any-return]

    def after_step(self) -> None:
        """Counts the warm-up down."""
        self.warmup.sub_(1).clamp_(min=0)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def extra_repr(self) -> str:
        return f"gradient={self.gradient}"


class _Implicit(torch.autograd.Function):
    """The identity on f(z*), which turns v into w on the way back."""

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
    """w = J^T w + v for v, `(N, D)`, at a state `(N, D)`.

    The solve starts from v, and its residuals are relative to |v|: its worst answer is the gradient of one
    application, never zero, nor a large w that passes for a good one. v is brought to a largest entry of 1
    meanwhile: the gradient of an image that is classified with great confidence would pass for zero.
    """
    with torch.enable_grad():
        state = found.detach().requires_grad_()
        after = function(state)
    size = arriving.abs().amax(1, keepdim=True)
    unit = arriving / size.where(size > 0, 1)

    def backward(w: Tensor) -> Tensor:
        return unit + torch.autograd.grad(after, state, w, retain_graph=True)[0]

    return size * solver(backward, unit, unit.norm(dim=1)).state  # type: ignore[no-any-return]


def check_gradient(name: str) -> str:
    """`name` if there is such a gradient of an equilibrium."""
    if name not in GRADIENTS:
        raise UsageError("unknown gradient of an equilibrium", expected=" or ".join(GRADIENTS), got=name)
    return name


def equilibria(net: nn.Module) -> list[Equilibrium]:
    """The equilibria of a network, in the order of its modules."""
    return [module for module in net.modules() if isinstance(module, Equilibrium)]


class Convergence(NamedTuple):
    """How well the equilibria of images were found."""

    residual: Tensor
    """`(N,)`: |f(z) - z| / |f(z)|."""
    steps: Tensor
    """`(N,)`."""

    @property
    def missed(self) -> Tensor:
        """`(N,)` bool: which are not below the tolerance of the solvers."""
        return ~(self.residual < TOLERANCE)

    def summary(self) -> dict[str, float]:
        """Means over the images, as they go on record."""
        return {
            "equilibrium_residual": float(self.residual.mean()),
            "equilibrium_steps": float(self.steps.double().mean()),
            "equilibrium_unconverged": float(self.missed.double().mean()),
        }


class ConvergenceMeter:
    """How far the solves of every batch got that passed since the meter was switched on.

    A training step of the warm-up counts as a solve of ten steps, its residual being that of the last of them.
    """

    def __init__(self) -> None:
        self._forward: list[Convergence] = []
        self._backward: list[Convergence] = []

    @property
    def forward(self) -> Convergence | None:
        """Of z*, image by image; None where nothing was solved."""
        return _joined(self._forward)

    @property
    def backward(self) -> Convergence | None:
        """Of the gradients through z*, image by image, in the order of the backward passes."""
        return _joined(self._backward)

    def observe_forward(self, _solver: nn.Module, _inputs: object, solution: Solution) -> None:
        """A forward hook of a solver."""
        self._forward.append(Convergence(solution.residual, solution.steps))

    def observe_backward(self, _solver: nn.Module, _inputs: object, solution: Solution) -> None:
        """The same, of the solver for gradients."""
        self._backward.append(Convergence(solution.residual, solution.steps))


def _joined(parts: list[Convergence]) -> Convergence | None:
    return Convergence(*map(torch.cat, zip(*parts, strict=True))) if parts else None


@contextmanager
def convergence(net: nn.Module) -> Iterator[ConvergenceMeter]:
    """Observes the solves of a network's equilibria during a block, starting from nothing."""
    meter = ConvergenceMeter()
    layers = equilibria(net)
    hooks = [solver.register_forward_hook(meter.observe_forward) for x in layers for solver in (x.solver, x.unrolled)]
    hooks += [layer.adjoint.register_forward_hook(meter.observe_backward) for layer in layers]
    try:
        yield meter
    finally:
        for hook in hooks:
            hook.remove()
