"""What checks of several kinds share: a network before and after a part has had it, and logits."""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
from torch import Tensor, nn

CLOSE = 1e-4
"""Largest difference of equal logits, relative to the largest logit; above rounding errors of float32."""


def traces(net: nn.Module) -> dict[str, object]:
    """State of the network and of the process that a part could change, by name."""
    modules, parameters = list(net.modules()), list(net.parameters())
    return {
        "modules": modules,
        "parameters": set(parameters),
        "weights": copy.deepcopy(net.state_dict()),
        "modes": [module.training for module in modules],
        "requires_grad": [parameter.requires_grad for parameter in parameters],
        "gradients": [copy.deepcopy(parameter.grad) for parameter in parameters],
        "hooks": [sum(map(len, _values(module, "hooks"))) for module in modules],
        "attributes": [{name: value for name, value in vars(module).items() if name[0] != "_"} for module in modules],
        "torch random state": torch.get_rng_state(),
        "numpy random state": str(np.random.get_state()),
        "python random state": random.getstate(),
    }


def changed(before: dict[str, object], after: dict[str, object]) -> str | None:
    """The first trace that is another one; None where there is none."""
    return next((f"other {name} afterwards" for name in before if not _same(before[name], after[name])), None)


def apart(logits: Tensor, others: Tensor) -> str | None:
    """The difference of logits as text, where it is above CLOSE; None otherwise."""
    distance = float((logits - others).abs().max() / logits.abs().max().clamp(min=torch.finfo(logits.dtype).tiny))
    return None if distance <= CLOSE else f"logits that differ by {distance:.1g} of the largest"


def fault_of(logits: object, shape: tuple[int, int]) -> str | None:
    """What is wrong with the logits of a batch; None where nothing is."""
    if not isinstance(logits, Tensor):
        return type(logits).__name__
    if logits.shape != shape or not logits.is_floating_point():
        return f"{logits.dtype} {tuple(logits.shape)}"
    return None if logits.isfinite().all() else "logits that are not finite"


def _values(module: nn.Module, ending: str) -> list[dict[object, object]]:
    """The dictionaries among the attributes of a module whose names end so."""
    return [value for name, value in vars(module).items() if name.endswith(ending) and isinstance(value, dict)]


def _same(one: object, other: object) -> bool:
    """Whether two traces are equal; of tensors the values are compared."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other
