"""Other people's networks by name, without a plugin: `torchvision:resnet50`, `timm:convnext_tiny`, `nets.py:tiny`.

torchvision   the classification networks of torchvision
timm          those of PyTorch Image Models, an extra
factories     a function in a Python file

Each of these modules is a `Source`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from ...errors import UnknownNameError, UsageError
from ..normalize import Normalize
from . import factories, timm, torchvision

Weights = dict[str, Tensor]


class Source(Protocol):
    """Where networks come from; `name` is what stands behind the colon."""

    def build(self, name: str, num_classes: int, **options: Any) -> nn.Module:
        """A network with fresh weights, from normalised images `(N, 3, H, W)` to logits."""

    def normalization(self, name: str) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and standard deviation that it was trained with; None where nobody says."""

    def pretrained(self, name: str, weights: str | None) -> Weights:
        """Published weights of that name, by default the ones that its library recommends; may download them."""


class ForeignName(NamedTuple):
    """A name such as `timm:convnext_tiny`, taken apart."""

    source: Source
    name: str


SOURCES: dict[str, Source] = {"torchvision": torchvision, "timm": timm}


class Foreign(nn.Module):
    """Somebody else's network: images `(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`, and nothing but logits."""

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalize, self.net = Normalize(mean, std), net

    def forward(self, image: Tensor) -> Tensor:
        output = self.net(self.normalize(image))
        logits: Tensor = getattr(output, "logits", output)
        return logits


def is_foreign(name: str) -> bool:
    """Whether a backbone's name is that of somebody else's network."""
    return ":" in name


def is_code(name: str) -> bool:
    """Whether building it runs a Python file that the name points to."""
    return is_foreign(name) and name.rpartition(":")[0].endswith(".py")


def parse(name: str) -> ForeignName:
    """Takes a name apart; an `UnknownNameError` where nothing is known to stand before the colon."""
    if is_code(name):
        return ForeignName(factories, name)
    source, _, rest = name.partition(":")
    if source == "hf":
        hint = "Name it as the model of a command, or start from its weights with --weights."
        raise UsageError(f"{name} is a trained model, no architecture", hint=hint)
    if source not in SOURCES:
        raise UnknownNameError("source of networks", source, SOURCES, hint="A factory is path/to/file.py:name.")
    return ForeignName(SOURCES[source], rest)


def build_foreign(
    num_classes: int,
    *,
    backbone: str,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: Any,
) -> nn.Module:
    """Builds a network by a name with a colon, with fresh weights, behind our normalisation.

    Args:
        num_classes: length of the logits.
        backbone: its whole name.
        mean, std: of the pixels; by default those of its source.
        options: of its own builder.
    """
    source, name = parse(backbone)
    net = source.build(name, num_classes, **options)
    own = source.normalization(name) if mean is None or std is None else (mean, std)
    if own is None:
        raise UsageError(f"nobody says how {backbone} normalises", expected="mean and std among its options")
    return Foreign(net, *own)
