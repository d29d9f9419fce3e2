"""Whether tensors are those of a network, by names and shapes; and the checkpoints of other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import ModelError, listed
from ..files import reading

State = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...] | None]
"""Shapes of tensors by name; None for one whose shape is not known yet."""

CHECKPOINTS = (".pt", ".pth", ".tar", ".ckpt", ".bin")
"""Endings of the names of files of `torch.save`."""
MOST_LISTED = 4
"""Largest number of tensor names in a message."""


def shapes_of(tensors: nn.Module | State, given: Collection[str] = ()) -> Shapes:
    """The shapes of tensors, without those that a network shares with one of the `given` names."""
    state = tensors.state_dict(keep_vars=True) if isinstance(tensors, nn.Module) else tensors
    shared = {id(state[name]) for name in given if name in state}
    return {
        name: None if is_lazy(tensor) else tuple(tensor.shape)
        for name, tensor in state.items()
        if name in given or id(tensor) not in shared
    }


def shapes_in(files: Sequence[Path]) -> Shapes:
    """The shapes of the tensors in safetensors files; a `ModelError` for other files. No tensor is read."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        with reading(f"the weights {path}", ModelError, hint="Expected a whole safetensors file."):
            file: Any = safe_open(path, "pt")
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes


def require_fit(given: Shapes, wanted: Shapes, complaint: str) -> None:
    """Raises a `ModelError` that lists missing and unexpected names, or names a tensor of another shape."""
    missing = listed(wanted.keys() - given.keys(), MOST_LISTED)
    unknown = listed(given.keys() - wanted.keys(), MOST_LISTED)
    if missing:
        raise ModelError(f"{complaint}: it lacks {missing}", got=unknown or None)
    if unknown:
        raise ModelError(f"{complaint}: it has {unknown} as well")
    for name, shape in wanted.items():
        if shape not in (None, given[name]):
            raise ModelError(f"{complaint}: {name} is of another shape", expected=shape, got=given[name])


def read_checkpoint(path: Path) -> State:
    """The tensors in a file of `torch.save`, those in dicts by joined names, such as `state_dict.module.fc.bias`.

    A `ModelError` where the file is damaged or holds anything but tensors and plain values: no code in it is run.
    """
    if not path.is_file():
        raise ModelError(f"there is no file {path}", expected="a checkpoint")
    try:
        state = dict(_tensors(torch.load(path, map_location="cpu", weights_only=True)))
    except Exception:  # torch raises many kinds of errors, and advises to load unsafely
        raise ModelError(f"{path} is damaged, or more than tensors and plain values", expected="a checkpoint") from None
    if not state:
        raise ModelError(f"{path} holds no state dict", expected="tensors by name")
    return state


def _tensors(content: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _tensors(value, f"{prefix}{name}.")


def unprefixed(state: State, wanted: Collection[str]) -> tuple[State, str]:
    """The tensors below the prefix under which most of the `wanted` names stand, and that prefix, often none.

    It is any, such as `state_dict.module.`; of two with as many names that of no moving average, then the shorter.
    """
    found = Counter(name.removesuffix(end) for name in state for end in _ends(name) if end in wanted)
    prefix = max(found, key=lambda each: (found[each], "ema" not in each, -len(each)), default="")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}, prefix


def _ends(name: str) -> Iterator[str]:
    """The name, and what is left of it behind each dot."""
    while name:
        yield name
        name = name.partition(".")[2]
