"""The attacks of torchattacks and foolbox, as functions of a `Victim`, images, labels and a setting.

The inner loops are those of the libraries. This module and `victim` restore modes and generators afterwards, make the
result of an image independent of its batch (random starts, the averaged loss, the step size of targeted APGD), and
stop early where enough images are fooled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..records import AttackSetting
from ..records.attack import DDN_SHRINKS
from ..registry import Registry, check_call
from .nearest import foolbox, nearest
from .threat import allows
from .victim import Victim

Attack = Callable[[Victim, Tensor, Tensor, AttackSetting, int], Tensor]
"""`(victim, images, labels, setting, restart) -> adversarial images`; images `(N, 3, H, W)` in [0, 1], labels `(N,)`.

`restart` counts from 0; each restart has its own random numbers or its own target. Random tensors `(N, C, H, W)` that
are drawn with torch's functions come from one generator per image."""


def check_attack(attack: Attack) -> None:
    """Raises a TypeError where `attack` cannot be called as an `Attack`."""
    check_call(attack, "(victim, images, labels, setting, restart)", *range(5))


ATTACKS: Registry[Attack] = Registry("attack", check_attack, reserved=("autoattack", "autoattack-few"))
NORMS = {"linf": "Linf", "l2": "L2"}
TARGETED = ("apgd-t", "fab-t")
"""Attacks with one target class per restart."""
NARROWING = ("pgd", "apgd-ce", "apgd-dlr", "apgd-t")
"""Attacks in which no image looks at another one, nor needs the logits and gradients of its own once it has fallen.

PGD moves each image by its own gradient, a zero of which moves nothing; Auto-PGD decides step sizes, restarts and what
is best by row. Both project all images in every step. FAB divides by gradients; Square leaves out what has fallen."""

UNTILED = (1, 2, 3, 4, 12, 14, 18, 19, 24)
"""Sides of images that the tiles of Square under L2, a fifth of the side each, do not fit into."""


@ATTACKS.register("pgd")
def pgd(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Projected gradient ascent on the cross-entropy from a random start (Madry et al., 2018)."""
    import torchattacks

    options = {"eps": setting.eps, "alpha": setting.step_size, "steps": setting.steps}
    net = _Summed(victim)
    if setting.norm == "linf":
        return torchattacks.PGD(net, **options)(images, labels)  # type: ignore[no-any-return]
    tiny = torch.finfo(torch.float32).tiny  # torchattacks' 1e-10 would shorten steps of small gradients
    return torchattacks.PGDL2(net, eps_for_division=tiny, **options)(images, labels)  # type: ignore[no-any-return]


class _Summed(nn.Module):
    """Multiplies gradients by N: torchattacks' PGD averages the loss over the batch."""

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self.victim = victim

    def forward(self, images: Tensor) -> Tensor:
        seen = images.view_as(images)
        if seen.requires_grad:
            seen.register_hook(lambda gradient: gradient * len(gradient))  # type: ignore[no-untyped-call]
        return self.victim(seen)  # type: ignore[no-any-return]


def on_correct(attack: Attack) -> Attack:
    """Restricts an attack to the images that the victim classifies correctly; the others are returned unchanged.

    torchattacks would drop them itself and change the rows of the batch. The wrapped attacks return the clean image
    where the victim was not fooled, so they transfer worse than PGD.
    """

    @wraps(attack)
    def attack_correct(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
        with torch.no_grad():
            right = (victim.logits(images).argmax(1) == labels).nonzero().flatten()
        adversarial = images.clone()
        if len(right):
            victim.draws.rows = victim.draws.rows[right.cpu()]
            adversarial[right] = attack(victim, images[right], labels[right], setting, restart)
        return adversarial

    return attack_correct


@ATTACKS.register("apgd-ce")
@on_correct
def apgd_ce(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Auto-PGD on the cross-entropy (Croce & Hein, 2020, ICML)."""
    import torchattacks

    return torchattacks.APGD(victim, loss="ce", **_common(setting))(images, labels)  # type: ignore[no-any-return]


@ATTACKS.register("apgd-dlr")
@on_correct
def apgd_dlr(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Auto-PGD on the difference of logits ratio, which is invariant to the scale of logits; three classes or more."""
    import torchattacks

    _require_classes(victim, images, 3)
    return torchattacks.APGD(victim, loss="dlr", **_common(setting))(images, labels)  # type: ignore[no-any-return]


@ATTACKS.register("apgd-t")
@on_correct
def apgd_t(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Targeted Auto-PGD: one target per restart, the most likely wrong class first; for four classes or more."""
    from .library import TargetedAPGD

    _require_classes(victim, images, 4)
    return TargetedAPGD(victim, restart + 2, **_common(setting))(images, labels)  # type: ignore[no-any-return]


@ATTACKS.register("fab")
@on_correct
def fab(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Fast adaptive boundary attack (Croce & Hein, 2020); the clean image where its result is outside the ball."""
    import torchattacks

    attack = torchattacks.FAB(victim, n_classes=_classes(victim, images), **_common(setting))
    return _near(images, attack.attack_single_run(images, labels, use_rand_start=restart > 0), setting)


@ATTACKS.register("fab-t")
@on_correct
def fab_t(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Targeted FAB: one target per restart, the most likely wrong class first."""
    import torchattacks

    attack = torchattacks.FAB(victim, multi_targeted=True, **_common(setting))
    attack.target_class = restart + 2
    return _near(images, attack.attack_single_run_targeted(images, labels), setting)


@ATTACKS.register("square")
@on_correct
def square(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Square attack: random search on the logits with `steps` queries (Andriushchenko et al., 2020)."""
    from .library import WatchedSquare

    _require_tiles(images, setting)
    options = _common(setting)
    attack = WatchedSquare(victim, n_queries=options.pop("steps"), **options)
    attack.init_hyperparam(images)
    return attack.attack_single_run(images, labels)[1]  # type: ignore[no-any-return]


@ATTACKS.register("noise")
def noise(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """A random perturbation of the full radius, as a control for attacks."""
    if setting.norm == "linf":
        moved = images + setting.eps * (2 * torch.rand(images.shape) - 1).sign().to(images.device)
    else:
        direction = torch.randn(images.shape).to(images.device)
        moved = images + setting.eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return moved.clamp(0, 1)


@ATTACKS.register("ddn")
def ddn(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Decoupling direction and norm: the nearest adversarial image under L2 (Rony et al., 2019); needs foolbox."""
    attack = foolbox().attacks.DDNAttack(steps=setting.steps, gamma=1 - DDN_SHRINKS)
    return nearest(attack, victim, images, labels)


@ATTACKS.register("fmn")
def fmn(victim: Victim, images: Tensor, labels: Tensor, setting: AttackSetting, restart: int) -> Tensor:
    """Fast minimum-norm attack: the nearest adversarial image under Linf (Pintor et al., 2021); needs foolbox."""
    return nearest(foolbox().attacks.LInfFMNAttack(steps=setting.steps), victim, images, labels)


def _common(setting: AttackSetting) -> dict[str, object]:
    return {"norm": NORMS[setting.norm], "eps": setting.eps, "steps": setting.steps, "seed": torch.initial_seed()}


@torch.no_grad()
def _classes(victim: Victim, images: Tensor) -> int:
    return victim.logits(images[:1]).shape[1]


def _require_classes(victim: Victim, images: Tensor, least: int) -> None:
    if (classes := _classes(victim, images)) < least:
        raise UsageError("the DLR loss compares logits", expected=f"{least} classes", got=classes)


def _require_tiles(images: Tensor, setting: AttackSetting) -> None:
    height, width = images.shape[-2:]
    if setting.norm == "l2" and (height != width or height in UNTILED):
        expected = "images as high as wide, of more than 4 pixels, but not 12, 14, 18, 19 or 24"
        raise UsageError("square does not tile such images under l2", expected=expected, got=f"{height} x {width}")


def _near(clean: Tensor, adversarial: Tensor, setting: AttackSetting) -> Tensor:
    """Adversarial images where they are within the ball, clean images elsewhere."""
    near = allows(setting.threat, clean, adversarial).to(clean.device)
    return torch.where(near.view(-1, 1, 1, 1), adversarial, clean)
