"""The wrapper of an attacked network: it records fooled images and restores all state afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import not_finite
from ..records import Threat
from .draws import ImageDraws
from .finite import logits_of
from .threat import allows, distance

MARGIN = 1e-4
"""Lead of a wrong class, relative to the largest logit, from which an image counts as fooled; above rounding errors."""


class Abandoned(Exception):  # noqa: N818, it is no error
    """Raised inside an attack to stop it once enough images of the batch are fooled."""


class Victim(nn.Module):
    """Maps images to logits, both contiguous, and records the first iterate that fools the network for each image.

    Args:
        net: the attacked network, in eval mode.
        clean: `(N, 3, H, W)` in [0, 1], the clean images.
        labels: `(N,)` int64.
        threat: the threat model; iterates outside it are not recorded.
        draws: the mode that draws the attack's random numbers.
        patience: `Abandoned` is raised once the share of images not yet fooled is at most this; None never raises.
        nearest: record the nearest iterate that fools the network, in place of the first.
        narrow: images rest once they have fallen: the network does not see them, and their logits and gradients are
            zeros. For attacks in which no image looks at another one, where nobody looks at what comes after the fall.
            The others do not notice: their random numbers are their own, and logits and gradients of an image depend
            on its batch only by rounding errors.
    """

    def __init__(
        self,
        net: nn.Module,
        clean: Tensor,
        labels: Tensor,
        threat: Threat,
        draws: ImageDraws,
        patience: float | None,
        *,
        nearest: bool = False,
        narrow: bool = False,
    ) -> None:
        super().__init__()
        self.net, self.draws = net, draws
        self._clean, self._labels, self._threat = clean, labels, threat
        self._patience, self._nearest, self._narrow = patience, nearest, narrow
        self._distance = torch.full((len(labels),), torch.inf, dtype=torch.float64)
        self.fallen = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        self.adversarial = clean.clone()
        """For each image in `fallen` the first, or the nearest, iterate that fooled the network."""
        self._lost = dict[str, Tensor]()
        """The largest number of images in a batch whose logits or gradients were not finite, by name."""

    def forward(self, images: Tensor) -> Tensor:
        rows = self.draws.rows
        if len(images) != len(rows):
            return self.logits(images)
        stands = ~self.fallen[rows]
        if not self._narrow or stands.all() == stands.any():
            return self._watched(images)
        at = stands.nonzero().flatten()
        self.draws.rows = rows[at.cpu()]
        logits = self._watched(images[at])
        self.draws.rows = rows
        return logits.new_zeros(len(rows), logits.shape[1]).index_copy(0, at, logits)

    def _watched(self, images: Tensor) -> Tensor:
        logits = self.logits(images)
        self._watch(images.detach(), logits.detach())
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` float32, without recording fooled images."""
        seen = ChannelsLast.apply(images)
        if seen.requires_grad:
            seen.register_hook(partial(self._count_lost, "gradients"))
        logits = logits_of(self.net, seen)
        self._count_lost("logits", logits.detach())
        return logits

    def check(self) -> None:
        """Raises a `ModelError` where logits or gradients were not finite; waits for the device."""
        for what, count in sorted(self._lost.items()):  # gradients that are none make images and logits that are none
            if int(count):
                raise not_finite(what, int(count), len(self.fallen))

    def _count_lost(self, what: str, values: Tensor) -> None:
        lost = (~values.isfinite()).flatten(1).any(1).sum()
        self._lost[what] = lost.maximum(self._lost.get(what, lost))

    def _watch(self, images: Tensor, logits: Tensor) -> None:
        rows = self.draws.rows.to(images.device)
        open_ = self.fallen[rows].logical_not() | self._nearest
        at = (_leads(logits, self._labels[rows]) & open_).nonzero().flatten()
        self.check()  # after nonzero has waited for the device
        allowed = self._allows(rows[at], images[at]).to(images.device)
        new = rows[at[allowed]]
        self.adversarial[new] = images[at[allowed]]
        self.fallen[new] = True
        if self._narrow or len(rows) == len(self.fallen):  # a random search goes on with what stands
            self._lose_patience()

    def _allows(self, rows: Tensor, images: Tensor) -> Tensor:
        """`(n,)` bool on the CPU: inside the threat model, and nearer than what was found where that counts."""
        clean, rows = self._clean[rows], rows.cpu()
        allowed = allows(self._threat, clean, images)
        if self._nearest:
            far = distance(self._threat, clean, images)
            allowed &= far < self._distance[rows]
            self._distance[rows[allowed]] = far[allowed]
        return allowed

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
