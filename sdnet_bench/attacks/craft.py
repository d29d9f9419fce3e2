"""Runs one attack once on one batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import AttackError
from ..records import AttackSetting
from .adapter import ATTACKS, NARROWING
from .draws import ImageDraws
from .threat import allows, distance
from .victim import Abandoned, Victim, guarded


@dataclass(frozen=True, eq=False)
class Adversarials:
    """The adversarial images of a batch, all within the threat model."""

    last: Tensor
    """`(N, 3, H, W)`: the images that the attack returned."""
    fallen: Tensor
    """`(N,)` bool: which images fooled the attacked network in at least one iteration."""
    first: Tensor
    """`(N, 3, H, W)`: for each image in `fallen` the first iterate that fooled the network, under a minimum-norm attack
    the nearest; `last` for the others."""
    finished: bool
    """Whether the attack ran to its end; if not, only the images in `fallen` have a result."""


@dataclass(frozen=True)
class AttackRun:
    """One restart or target of one attack, run on all images that are not yet fooled."""

    setting: AttackSetting
    restart: int = 0

    def seed(self, seed: int, image: int | None = None) -> int:
        """The seed of the random numbers of one image; with None, of those that all images share."""
        what = f"{seed} {self.setting.name} {self.restart} {image}"
        return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8]) >> 1


def craft(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    run: AttackRun,
    index: Iterable[int],
    *,
    seed: int = 0,
    patience: float | None = None,
) -> Adversarials:
    """Runs an attack once on a batch.

    Args:
        images: `(N, 3, H, W)` in [0, 1].
        labels: `(N,)` int64.
        index: index of each image in its data set; with `seed` it decides the random numbers of the image.
        patience: the attack stops once the share of images not yet fooled is at most this, and until then need not go
            on with those that are; None lets it finish, as does a minimum-norm attack, which goes on to nearer images.

    Raises:
        AttackError: an image is outside the ball or outside [0, 1].
        ModelError: logits or gradients are not finite.
    """
    setting = run.setting
    images, draws = images.contiguous(), ImageDraws([run.seed(seed, at) for at in index])
    nearest = setting.is_minimum_norm
    narrow = patience is not None and setting.name in NARROWING
    patience = None if nearest else patience
    victim = Victim(net, images, labels, setting.ball, draws, patience, nearest=nearest, narrow=narrow)
    last = None
    with guarded(net, images.device, run.seed(seed), draws), suppress(Abandoned):
        try:
            last = ATTACKS[setting.name](victim, images, labels, setting, run.restart).detach()
        finally:
            victim.check()
    if last is None:
        return Adversarials(victim.adversarial, victim.fallen, victim.adversarial, finished=False)
    _check(setting, images, last)
    first = last.where(~victim.fallen.view(-1, 1, 1, 1), victim.adversarial)
    return Adversarials(last, victim.fallen, first, finished=True)


def _check(setting: AttackSetting, clean: Tensor, adversarial: Tensor) -> None:
    threat = setting.ball
    within = allows(threat, clean, adversarial)
    if not bool(within.all()):
        furthest = float(distance(threat, clean, adversarial).max())
        what = f"attack {setting.name!r} left its budget on {int((~within).sum())} of {len(within)} images"
        raise AttackError(what, expected=f"{threat.norm} <= {threat.eps:g} and pixels in [0, 1]", got=furthest)
