"""Choice of the gradient of layers that solve for their output.

"implicit" is that of the solution, by another solve; "unrolled" that of the iterations; "phantom" that of a few more
iterations from the solution. The output is the same with all. An attack may succeed with one and fail with another.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from torch import nn

from ..csc import holding
from ..errors import UsageError


@runtime_checkable
class Solved(Protocol):
    """A module whose output is computed by a solver."""

    gradient: str
    """Name of the gradient in use."""
    gradients: tuple[str, ...]
    """Names of the available gradients."""


def solved_layers(net: nn.Module) -> list[Solved]:
    """The solved layers of a network, in the order of its modules."""
    return [module for module in net.modules() if isinstance(module, Solved)]


def other_gradients(net: nn.Module) -> list[str]:
    """Names of the available gradients of a network that are not in use."""
    return sorted({name for layer in solved_layers(net) for name in layer.gradients if name != layer.gradient})


def using_gradient(net: nn.Module, gradient: str | None) -> AbstractContextManager[None]:
    """Sets the gradient of every layer that has one of this name, inside a block; None changes nothing.

    A `UsageError` where no layer has it.
    """
    changed = [(layer, gradient) for layer in solved_layers(net) if gradient in layer.gradients]
    if gradient and not changed:
        known = sorted({name for layer in solved_layers(net) for name in layer.gradients})
        raise UsageError("no layer has such a gradient", expected=" or ".join(known) or "a solved layer", got=gradient)
    return holding("gradient", changed)
