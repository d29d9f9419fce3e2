"""The interface of a source of networks, and the wrapper that makes a backbone of one of its networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from ...csc import csc_layers
from ...errors import UsageError
from ..normalize import Normalize

Weights = dict[str, Tensor]


class Published(NamedTuple):
    """Published weights of a network."""

    revision: str
    """Name of the weights in a library, or sha256 of a file."""
    options: dict[str, Any]
    """Options of the network for these weights: `mean`, `std`, and the size of its images where it is fixed."""
    fetch: Callable[[], Weights]
    """Returns the weights as a state dict of the network; may download them. A `ModelError` where that fails."""
    name: str = "pretrained"
    """Name that the weights were asked for by: "pretrained", a name of their library, or a file."""


class Source(Protocol):
    """A library or file of networks; `name` is the part behind the colon."""

    def build(self, name: str, num_classes: int, **options: Any) -> nn.Module:
        """A network with fresh weights, from normalised images `(N, 3, H, W)` to logits."""

    def published(self, name: str, weights: str | None) -> Published | None:
        """The weights called `weights`, by default the recommended ones; None for a source without weights."""


class External(nn.Module):
    """A network of a library or a file: images `(N, 3, H, W)` in [0, 1] to logits `(N, num_classes)`.

    `forward` raises a `UsageError` where the network refuses the size of the images.
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
        """The layers up to the only CSC-layer, where its input are the normalised images.

        Two networks of torchvision normalise once more inside, which `transform_input` shows.
        """
        stem = [layer for layer in csc_layers(self.net) if layer.in_channels == 3]
        is_known = len(csc_layers(self.net)) == len(stem) == 1 and not getattr(self.net, "transform_input", False)
        return [self.normalize, *(stem if is_known else [])]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """`nn.Module.load_state_dict` for weights of the present version, as safetensors files store no version."""
        state = OrderedDict(state_dict)
        state._metadata = self.state_dict()._metadata  # type: ignore[attr-defined]
        return super().load_state_dict(state, strict, assign)
