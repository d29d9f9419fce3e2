"""What a source of networks offers: it builds them by name, and knows the weights that are published for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

Weights = dict[str, Tensor]


class Published(NamedTuple):
    """Weights that can be had."""

    revision: str
    """Which they are: their name in a library, or the sha256 of a file."""
    options: dict[str, Any]
    """What a network is built with for them: `mean` and `std`, and the size of its images where it is fixed."""
    fetch: Callable[[], Weights]
    """Reads them, by the names that their network gives them; may download them. A `ModelError` where that fails."""
    name: str = "pretrained"
    """What they were asked for as: "pretrained", a name of their library, or a file."""


class Source(Protocol):
    """Where networks come from; `name` is what stands behind the colon."""

    def build(self, name: str, num_classes: int, **options: Any) -> nn.Module:
        """A network with fresh weights, from normalised images `(N, 3, H, W)` to logits."""

    def published(self, name: str, weights: str | None) -> Published | None:
        """The weights of that name, by default the recommended ones; None of a source that publishes none."""
