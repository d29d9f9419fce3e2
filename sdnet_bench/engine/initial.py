"""What a network starts from: fresh weights, those that its library publishes, or those of a file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..backbones import Foreign, build, is_foreign, parse, put_csc_stem
from ..config import Backbone
from ..errors import ModelError, UsageError
from ..progress import Progress

PRETRAINED = "pretrained"
"""Those that a network's library recommends."""


def initial_net(
    backbone: Backbone, num_classes: int, weights: str | None, progress: Progress, *, new_head: bool = False
) -> nn.Module:
    """A network, fresh or with weights from elsewhere; a CSC-layer in its stem starts from these.

    Args:
        backbone: what to build.
        num_classes: length of the logits.
        weights: "pretrained", the name of published weights, or a safetensors file; None for fresh ones.
        progress: is told what stays fresh.
        new_head: whether weights for other classes may be left out.

    Raises:
        UsageError: our own backbones have no published weights.
        ModelError: the weights cannot be read or fetched, or are those of another network.
    """
    options = dict(backbone.options)
    csc_stem = options.pop("csc_stem", False)
    net = build(backbone.name, num_classes=num_classes, **options)
    if weights is not None:
        _fill(net, _find(backbone.name, weights), num_classes if new_head else None, weights, progress)
    return put_csc_stem(net, csc_stem)


def _find(backbone: str, weights: str) -> dict[str, Tensor]:
    """The weights of that name, by the names that their network gives them."""
    if weights.endswith(".safetensors"):
        return _read(Path(weights))
    if not is_foreign(backbone):
        raise UsageError(f"{backbone} has no published weights", expected="a .safetensors file", got=weights)
    source, name = parse(backbone)
    return source.pretrained(name, None if weights == PRETRAINED else weights)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}", expected="a safetensors file") from None


def _fill(net: nn.Module, state: dict[str, Tensor], new_classes: int | None, weights: str, progress: Progress) -> None:
    """Loads weights strictly, but for those of a head with other classes where it may be new."""
    inner = net.net if isinstance(net, Foreign) and not any(name.startswith("net.") for name in state) else net
    fresh = inner.state_dict()
    head = {name for name in fresh if name in state and _is_head(fresh[name], state[name], new_classes)}
    state = {name: fresh[name] if name in head else tensor for name, tensor in state.items()}
    try:
        inner.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"{weights} are the weights of another network: {' '.join(str(error).split())[:200]}"
        ) from None
    if head:
        progress.note(f"{weights}: fresh for these classes: {', '.join(sorted(head))}")


def _is_head(fresh: Tensor, given: Tensor, new_classes: int | None) -> bool:
    """Whether two weights differ in the number of classes alone."""
    other = fresh.shape != given.shape and fresh.shape[1:] == given.shape[1:]
    return other and torch.numel(fresh) > 0 and fresh.shape[0] == new_classes
