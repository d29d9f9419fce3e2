"""Layers that solve for their output, and can be differentiated in more than one way.

    implicit  the gradient of the solution, by another solve
    unrolled  that of the iterations which found it
    phantom   that of a few more iterations from the solution

The output is the same with all of them. Where one leads an attack astray another may not.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from torch import nn

from ..csc import holding
from ..errors import UsageError


@runtime_checkable
class Solved(Protocol):
    """A module whose output is found by a solver."""

    gradient: str
    """The way it is differentiated."""
    gradients: tuple[str, ...]
    """The ways there are."""


def solved_layers(net: nn.Module) -> list[Solved]:
    """Those of a network, in the order of its modules."""
    return [module for module in net.modules() if isinstance(module, Solved)]


def other_gradients(net: nn.Module) -> list[str]:
    """The ways in which layers of a network could be differentiated, and are not."""
    return sorted({name for layer in solved_layers(net) for name in layer.gradients if name != layer.gradient})


def using_gradient(net: nn.Module, gradient: str | None) -> AbstractContextManager[None]:
    """Another gradient in every layer that has it, for the length of a block; None leaves the network as it is.

    A `UsageError` where no layer has it.
    """
    changed = [(layer, gradient) for layer in solved_layers(net) if gradient in layer.gradients]
    if gradient and not changed:
        known = sorted({name for layer in solved_layers(net) for name in layer.gradients})
        raise UsageError("no layer has such a gradient", expected=" or ".join(known) or "a solved layer", got=gradient)
    return holding("gradient", changed)
