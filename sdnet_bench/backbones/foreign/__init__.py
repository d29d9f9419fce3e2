"""Other people's networks by name, without a plugin: `torchvision:resnet50`, `timm:convnext_tiny`, `nets.py:tiny`.

torchvision   the classification networks of torchvision
timm          those of PyTorch Image Models, an extra
factories     a function in a Python file

Each of these modules is a `Source`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from ...csc import csc_layers
from ...errors import BenchError, UnknownNameError, UsageError
from ..normalize import Normalize
from . import factories, timm, torchvision
from .source import Published, Source, Weights

SOURCES: dict[str, Source] = {"torchvision": torchvision, "timm": timm}


class ForeignName(NamedTuple):
    """A name such as `timm:convnext_tiny`, taken apart."""

    source: Source
    name: str


class Foreign(nn.Module):
    """Somebody else's network: images `(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`, and nothing but logits.

    A `UsageError` where the network says that it does not take images of their size.
    """

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalize, self.net = Normalize(mean, std), net

    def forward(self, image: Tensor) -> Tensor:
        try:
            output = self.net(self.normalize(image))
        except AssertionError as error:
            hint = "Name the size among the network's options (image_size, img_size), or take a network of any size."
            size = f"{image.shape[-2]}x{image.shape[-1]}"
            raise UsageError(
                f"{type(self.net).__name__} takes no images of {size}: {str(error).rstrip('!.')}", hint=hint
            ) from None
        logits: Tensor = getattr(output, "logits", output)
        return logits

    def path(self) -> list[nn.Module]:
        """The way of an image as far as it is known: to the only CSC-layer, where that codes normalised images.

        Two networks of torchvision normalise once more, and say so by their `transform_input`.
        """
        stem = [layer for layer in csc_layers(self.net) if layer.in_channels == 3]
        is_known = len(csc_layers(self.net)) == len(stem) == 1 and not getattr(self.net, "transform_input", False)
        return [self.normalize, *(stem if is_known else [])]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As that of every module, for weights in the form of its present version: safetensors files name none."""
        state = OrderedDict(state_dict)
        state._metadata = self.state_dict()._metadata  # type: ignore[attr-defined]
        return super().load_state_dict(state, strict, assign)


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
        raise UnknownNameError("source of networks", source, SOURCES, hint="A function is path/to/file.py:name.")
    return ForeignName(SOURCES[source], rest)


def published(backbone: str, weights: str | None = None) -> Published | None:
    """The published weights of a network of that whole name, by default those that its library recommends."""
    source, name = parse(backbone)
    return source.published(name, weights)


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

    Raises:
        UsageError: there is no such network, it refuses the options, or nobody says how it normalises.
    """
    source, name = parse(backbone)
    known = source.published(name, None)
    usual = known.options if known else {}
    mean, std = mean or usual.get("mean"), std or usual.get("std")
    if mean is None or std is None:
        raise UsageError(f"nobody says how {backbone} normalises", expected="mean and std among its options")
    try:
        return Foreign(source.build(name, num_classes, **options), mean, std)
    except BenchError:
        raise
    except Exception as error:  # of somebody else's code
        raise UsageError(f"{backbone} cannot be built: {type(error).__name__}: {error}") from error


__all__ = [
    "SOURCES",
    "Foreign",
    "ForeignName",
    "Published",
    "Source",
    "Weights",
    "build_foreign",
    "is_code",
    "is_foreign",
    "parse",
    "published",
]
