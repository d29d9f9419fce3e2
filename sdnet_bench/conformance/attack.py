"""The contract of an attack: images within the ball, results by image and seed only, the network left unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..attacks import Adversarials, AttackRun, craft
from ..csc import CSCConv2d
from ..errors import UsageError
from ..records import Threat
from ..studies.protocols import attack_setting
from .comparing import changed, traces
from .findings import Check

IMAGES, SIDE, CLASSES, STEPS = 16, 8, 5, 20
APART = 4
"""Every APART-th image is also attacked alone."""
BUDGETS = (Threat("linf", 0.03), Threat("l2", 0.3))
"""Threat models in which some images of the small networks can be fooled and others cannot."""


@dataclass(frozen=True)
class Target:
    """A network, a threat model and images for testing an attack.

    Args:
        where: threat model and network, in words.
        net: the network, in eval mode.
        threat: the threat model.
        images: `(16, 3, 8, 8)` in [0, 1].
        labels: `(16,)`, the classes that the network predicts for the images.
    """

    where: str
    net: nn.Module
    threat: Threat
    images: Tensor
    labels: Tensor

    def attacked(self, name: str, places: Sequence[int] = range(IMAGES)) -> Adversarials:
        """The adversarial images of one run on the images at `places`."""
        at, run = list(places), AttackRun(attack_setting(self.threat, STEPS, name=name))
        return craft(self.net, self.images[at], self.labels[at], run, at)

    def fallen_to(self, name: str) -> int:
        """Number of images that fool the network, in any iteration or at the end."""
        made = self.attacked(name)
        return int((made.fallen | (_labels(self.net, made.last) != self.labels)).sum())


@dataclass(frozen=True)
class AttackSubject:
    """An attack by name. The targets are made anew each time, with equal values."""

    name: str

    @property
    def targets(self) -> list[Target]:
        """A plain network and one with a CSC-layer, each in both norms."""
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            firsts = {"a plain network": nn.Conv2d(3, 6, 3, 2, 1), "a network with a CSC-layer": CSCConv2d(3, 6, 3, 2)}
            nets = {what: _OneByOne(first).eval() for what, first in firsts.items()}
            images = torch.rand(IMAGES, 3, SIDE, SIDE)
        return [
            Target(f"under {threat.norm} on {what}", net, threat, images, _labels(net, images))
            for what, net in nets.items()
            for threat in BUDGETS
        ]

    @property
    def usable(self) -> list[Target]:
        """The targets whose norm the attack accepts."""
        return [target for target in self.targets if self.refusal(target) is None]

    def refusal(self, target: Target) -> str | None:
        """The attack's error message where it refuses the norm; None otherwise."""
        try:
            target.attacked(self.name)
        except UsageError as error:
            return str(error)
        return None


class _OneByOne(nn.Module):
    """Classifies the images of a batch one by one, so that rounding does not depend on the batch."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first, self.dropout = first, nn.Dropout(0.5)
        self.last = nn.Linear(6 * (SIDE // 2) ** 2, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.last(self.dropout(self.first(image[None]).flatten(1))) for image in images])


@torch.no_grad()
def _labels(net: nn.Module, images: Tensor) -> Tensor:
    labels: Tensor = net(images).argmax(1)
    return labels


def _stays_in_budget(subject: AttackSubject) -> str | None:
    refusals = [subject.refusal(target) for target in subject.targets]
    return refusals[0] if all(refusals) else None


def _knows_both_norms(subject: AttackSubject) -> str | None:
    return next(filter(None, map(subject.refusal, subject.targets)), None)


def _repeats(subject: AttackSubject) -> str | None:
    for target in subject.usable:
        first, second = target.attacked(subject.name).last, target.attacked(subject.name).last
        if not torch.equal(first, second):
            return f"{_differing(first, second)} that differ the second time, {target.where}"
    return None


def _minds_each_image_alone(subject: AttackSubject) -> str | None:
    for target in subject.usable:
        together = target.attacked(subject.name).last[::APART]
        alone = torch.cat([target.attacked(subject.name, [place]).last for place in range(0, IMAGES, APART)])
        if not torch.equal(together, alone):
            return f"{_differing(together, alone)} that differ, {target.where}"
    return None


def _leaves_no_trace(subject: AttackSubject) -> str | None:
    for target in subject.usable:
        before = traces(target.net.train())
        target.attacked(subject.name)
        if trace := changed(before, traces(target.net)):
            return f"{trace}, {target.where}"
    return None


def _is_stronger_than_noise(subject: AttackSubject) -> str | None:
    for target in subject.usable:
        fallen, by_noise = (target.fallen_to(name) for name in (subject.name, "noise"))
        if fallen < by_noise:
            return f"{fallen} against {by_noise} of {IMAGES}, {target.where}"
    return None


def _differing(one: Tensor, other: Tensor) -> str:
    return f"{int((one != other).flatten(1).any(1).sum())} of {len(one)}"


ATTACK_CHECKS = (
    Check(
        "budget", "images (N, 3, H, W) inside the ball and inside [0, 1], under linf or l2", _stays_in_budget, "stop"
    ),
    Check("norms", "both norms, linf and l2", _knows_both_norms, "warn"),
    Check("determinism", "the same images, bit for bit, from the same seed", _repeats),
    Check("batch", "the image that is made of one independent of the rest of its batch", _minds_each_image_alone),
    Check("traces", "network and random states left as they were", _leaves_no_trace),
    Check("strength", "as many fallen images as under random noise, or more", _is_stronger_than_noise, "warn"),
)
