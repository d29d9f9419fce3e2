"""The networks of PyTorch Image Models by their names in timm, with or without a tag: `resnet50.a1_in1k`."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from torch import nn

from ...errors import ModelError, UnknownNameError, UsageError, reason
from .network import Published, Weights

REFUSED = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only"}
"""Options that are refused: with them timm would read files or return something other than logits."""


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A network with fresh weights; a `UsageError` for an unknown name or an option of `REFUSED`."""
    if not REFUSED.isdisjoint(options):
        raise UsageError(f"timm:{name} is a classifier with fresh weights", got=", ".join(REFUSED & options.keys()))
    net: nn.Module = _timm(name).create_model(name, pretrained=False, num_classes=num_classes, **options)
    return net


def published(name: str, weights: str | None) -> Published:
    """The weights of the name's tag, by default the recommended ones, with their mean and std."""
    config = _timm(name).get_pretrained_cfg(name)
    if weights is not None:
        tagged = f"timm:{name.partition('.')[0]}.{weights}"
        raise UsageError("timm names weights by a tag", expected=f"pretrained, or the backbone {tagged}", got=weights)
    options = {"mean": tuple(config.mean), "std": tuple(config.std)}
    return Published(config.tag or "untagged", options, partial(_fetch, name))


def _fetch(name: str) -> Weights:
    try:
        state: Weights = _timm(name).create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        hint = "Name a safetensors file that is here with --weights."
        raise ModelError(f"cannot fetch the weights of timm:{name}: {reason(error)}", hint=hint) from None
    return state


def _timm(name: str) -> ModuleType:
    """The module timm; a `UsageError` where it is not installed or has no network, or no tag, of that name."""
    try:
        import timm
    except ImportError:
        raise UsageError("timm is not installed", hint='Install it with `pip install "sdnet-bench[timm]"`.') from None
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownNameError(
            "network of timm", architecture, timm.list_models(), hint="`timm.list_models()` lists all."
        )
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
    if "." in name and tag not in tags:
        raise UnknownNameError(f"tag of timm:{architecture}", tag, tags)
    library: ModuleType = timm
    return library
