"""The wrapper of an attacked network: it records fooled images and restores all state afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import not_finite
from ..records import Threat
from .draws import ImageDraws
from .finite import are_probabilities, largest_entries, logits_of
from .threat import allows

MARGIN = 1e-4
"""Lead of a wrong class, relative to the largest logit, from which an image counts as fooled; above rounding errors."""


class Abandoned(Exception):  # noqa: N818, it is no error
    """Raised inside an attack to stop it once enough images of the batch are fooled."""


class Victim(nn.Module):
    """Maps images to logits, both contiguous, and records the first iterate that fools the network for each image.

    A `ModelError` where logits or gradients are not finite, at the latest from `check`.

    Args:
        net: the attacked network, in eval mode.
        clean: `(N, 3, H, W)` in [0, 1], the clean images.
        labels: `(N,)` int64.
        threat: the threat model; iterates outside it are not recorded.
        draws: the mode that draws the attack's random numbers.
        patience: `Abandoned` is raised once the share of images not yet fooled is at most this; None never raises.
    """

    def __init__(
        self, net: nn.Module, clean: Tensor, labels: Tensor, threat: Threat, draws: ImageDraws, patience: float | None
    ) -> None:
        super().__init__()
        self.net, self.draws = net, draws
        self._clean, self._labels, self._threat = clean, labels, threat
        self._patience = patience
        self.fallen = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        self.saturated, self._lost = torch.zeros_like(self.fallen), torch.zeros_like(self.fallen)
        self.gradient = torch.full(labels.shape, -1.0, device=labels.device)
        """`(N,)`: largest absolute entry of the gradients of each image so far; -1 where there was none yet."""
        self.adversarial = clean.clone()
        """For each image in `fallen` the first iterate that fooled the network."""

    def forward(self, images: Tensor) -> Tensor:
        logits, rows = self._classified(images)
        if len(rows):
            self._watch(rows, images.detach(), logits.detach())
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` float32, without recording fooled images."""
        return self._classified(images)[0]

    def check(self) -> None:
        """Raises a `ModelError` where logits or gradients of an image were not finite; waits for the device."""
        for what, lost in {"logits": self._lost, "gradients": ~self.gradient.isfinite()}.items():
            if count := int(lost.sum()):
                raise not_finite(what, count, len(lost))

    def _classified(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of images and their rows in the batch; no rows where these are not all that are worked on."""
        rows, seen = self.draws.rows.to(images.device), ChannelsLast.apply(images)
        logits = logits_of(self.net, seen)
        if len(images) != len(rows):
            return logits, rows[:0]
        self._lost[rows] |= logits[:, 0].isnan()
        self.saturated[rows] |= are_probabilities(logits.detach())
        if seen.requires_grad:
            seen.register_hook(lambda gradient: self._feel(rows, gradient))
        return logits, rows

    def _feel(self, rows: Tensor, gradient: Tensor) -> None:
        self.gradient[rows] = self.gradient[rows].maximum(largest_entries(gradient))

    def _watch(self, rows: Tensor, images: Tensor, logits: Tensor) -> None:
        lost = self._lost | ~self.gradient.isfinite()
        at = (lost[rows] | (_leads(logits, self._labels[rows]) & ~self.fallen[rows])).nonzero().flatten()
        if len(at):  # only then: it waits for the device
            self.check()
        allowed = allows(self._threat, self._clean[rows[at]], images[at]).to(images.device)
        new = rows[at[allowed]]
        self.adversarial[new] = images[at[allowed]]
        self.fallen[new] = True
        if len(rows) == len(self.fallen):  # a random search leaves out the images that are fooled
            self._lose_patience()

    def _lose_patience(self) -> None:
        standing = len(self.fallen) - int(self.fallen.sum())
        if self._patience is not None and standing <= self._patience * len(self.fallen):
            raise Abandoned


def _leads(logits: Tensor, labels: Tensor) -> Tensor:
    """`(N,)` bool: whether a wrong class leads by more than MARGIN."""
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
    return (others - own > MARGIN * logits.abs().amax(1, keepdim=True)).flatten()


@contextmanager
def guarded(net: nn.Module, device: torch.device, seed: int, draws: ImageDraws) -> Iterator[None]:
    """Puts a network into eval mode, frozen and with seeded random numbers, inside a block.

    Modes, `requires_grad` and torch's generators are restored when the block ends, also after an error.
    """
    modes = {module: module.training for module in net.modules()}
    gradients = {parameter: parameter.requires_grad for parameter in net.parameters()}
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad(), draws:
            torch.manual_seed(seed)
            net.eval().requires_grad_(False)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, wanted in gradients.items():
            parameter.requires_grad_(wanted)


class ChannelsLast(torch.autograd.Function):
    """The identity, with its output in channels_last and its gradient contiguous."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous()
