"""The classification networks of torchvision, by the names of `torchvision.models.list_models`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import ModelError, UnknownNameError, UsageError


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A network with fresh weights; an unknown name is an `UnknownNameError`."""
    from torchvision.models import get_model

    net: nn.Module = get_model(_known(name), weights=None, num_classes=num_classes, **options)
    return net


def normalization(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of the recommended weights."""
    preset = _weights(name, None).transforms()
    return tuple(preset.mean), tuple(preset.std)


def pretrained(name: str, weights: str | None) -> dict[str, Tensor]:
    """Published weights, such as `IMAGENET1K_V1`, downloaded to torch's cache and checked by their hash."""
    chosen = _weights(name, weights)
    try:
        state: dict[str, Tensor] = chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        hint = "Download the file elsewhere, save its tensors as safetensors, and name that file with --weights."
        raise ModelError(f"cannot fetch {chosen.url}: {error}", hint=hint) from None
    return state


def _known(name: str) -> str:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise UnknownNameError("network of torchvision", name, names)
    return name


def _weights(name: str, weights: str | None) -> Any:
    from torchvision.models import get_model_weights

    published = get_model_weights(_known(name))
    if weights is None:
        return published.DEFAULT
    if weights not in published.__members__:
        raise UsageError(f"no such weights of {name}", expected=", ".join(published.__members__), got=weights)
    return published[weights]
