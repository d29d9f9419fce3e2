"""The interface of a source of networks: it builds networks by name and finds their published weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

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
