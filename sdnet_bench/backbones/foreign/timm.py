"""The networks of PyTorch Image Models, by their names there, with a tag or without: `resnet50.a1_in1k`."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ...errors import ModelError, UnknownNameError, UsageError


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A network with fresh weights; an unknown name is an `UnknownNameError`."""
    net: nn.Module = _timm(name).create_model(name, pretrained=False, num_classes=num_classes, **options)
    return net


def normalization(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of the pretrained configuration."""
    config = _timm(name).get_pretrained_cfg(name)
    return tuple(config.mean), tuple(config.std)


def pretrained(name: str, weights: str | None) -> dict[str, Tensor]:
    """The weights that the name's tag says, from the Hub."""
    if weights is not None:
        raise UsageError(
            "timm names weights by a tag", expected=f"timm:{name.partition('.')[0]}.{weights}", got=weights
        )
    try:
        state: dict[str, Tensor] = _timm(name).create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        hint = "Name a safetensors file that is here with --weights."
        raise ModelError(f"cannot fetch the weights of timm:{name}: {reason}", hint=hint) from None
    return state


def _timm(name: str) -> ModuleType:
    """The library, if it is there and has a network of that name."""
    try:
        import timm
    except ImportError:
        raise UsageError("timm is not installed", hint='Install it with `pip install "sdnet-bench[timm]"`.') from None
    if not timm.is_model(name):
        raise UnknownNameError("network of timm", name.partition(".")[0], timm.list_models())
    library: ModuleType = timm
    return library
