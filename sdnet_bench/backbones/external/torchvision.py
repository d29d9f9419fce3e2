"""The classification networks of torchvision, by the names of `torchvision.models.list_models`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from functools import partial
from pickle import UnpicklingError
from typing import Any

from torch import nn

from ...errors import ModelError, UnknownNameError, UsageError
from .network import Published, Weights

INCEPTION = ("googlenet", "inception_v3")
USUAL = {"transform_input": True, "aux_logits": False, "init_weights": True}
"""Options of GoogLeNet and Inception: their published weights need the normalisation of another library. Their
auxiliary classifiers are left out."""
AUXILIARY = "AuxLogits."


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A network with fresh weights; an unknown name is an `UnknownNameError`."""
    from torchvision.models import get_model

    usual = USUAL if name in INCEPTION else {}
    net: nn.Module = get_model(_known(name), weights=None, num_classes=num_classes, **usual | options)
    return net


def published(name: str, weights: str | None) -> Published:
    """Weights for ImageNet, such as `IMAGENET1K_V1`, downloaded to torch's cache and checked by their hash."""
    chosen = _chosen(name, weights)
    preset = chosen.transforms()
    options: dict[str, Any] = {"mean": tuple(preset.mean), "std": tuple(preset.std)}
    if name.startswith("vit_"):
        options["image_size"] = chosen.meta["min_size"][0]
    return Published(str(chosen), options, partial(_fetch, name, chosen))


def _fetch(name: str, chosen: Any) -> Weights:
    """The weights, read twice: first as tensors only, so that a file with code in it is refused."""
    from torchvision.models import get_model

    try:
        with redirect_stdout(sys.stderr):  # torch prints what it downloads
            chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
            state: Weights = get_model(name, weights=chosen, progress=False).state_dict()
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        hint = "Download the file elsewhere, save its tensors as safetensors, and name that file with --weights."
        raise ModelError(f"cannot fetch {chosen.url}: {error}", hint=hint) from None
    return {name: tensor for name, tensor in state.items() if not name.startswith(AUXILIARY)}


def _known(name: str) -> str:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        hint = "`torchvision.models.list_models()` lists all."
        raise UnknownNameError("network of torchvision", name, names, hint=hint)
    return name


def _chosen(name: str, weights: str | None) -> Any:
    from torchvision.models import get_model_weights

    known = get_model_weights(_known(name))
    if weights is None:
        return known.DEFAULT
    classifying = [each.name for each in known if each.meta.get("categories")]
    if weights not in classifying:
        raise UsageError(f"no such weights of {name}", expected=", ".join(["pretrained", *classifying]), got=weights)
    return known[weights]
