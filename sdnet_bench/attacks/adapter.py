"""The attacks of torchattacks, behind a guard.

torchattacks leaves a network's modes and torch's global generator changed, all the more when a forward raises, and
its L2 attack needs contiguous gradients. Here every attack sees a wrapped network, and the world is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..records import AttackSetting
from ..registry import Registry

Attack = Callable[[nn.Module, Tensor, Tensor, AttackSetting, int], Tensor]
"""`(net, images, labels, setting, seed) -> adversarial images`; images `(N, 3, H, W)` in [0, 1], labels `(N,)`."""

ATTACKS: Registry[Attack] = Registry("attack")


@ATTACKS.register("pgd")
def pgd(net: nn.Module, images: Tensor, labels: Tensor, setting: AttackSetting, seed: int) -> Tensor:
    """Projected gradient ascent on the cross-entropy from a random start (Madry et al., 2018)."""
    import torchattacks

    options = {"eps": setting.eps, "alpha": setting.step_size, "steps": setting.steps}
    with guarded(net, images.device, seed) as victim:
        if setting.norm == "linf":
            return _call(torchattacks.PGD(victim, **options), images.contiguous(), labels)
        tiny = torch.finfo(torch.float32).tiny  # its own 1e-10 would shorten the steps of confident images
        return _call(torchattacks.PGDL2(victim, eps_for_division=tiny, **options), images.contiguous(), labels)


def _call(attack: Any, images: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        return attack(images, labels).detach()  # type: ignore[no-any-return]


@contextmanager
def guarded(net: nn.Module, device: torch.device, seed: int) -> Iterator[nn.Module]:
    """The network as an attack may see it: in eval mode, frozen, under its own seed.

    Modes, `requires_grad` and torch's generators are as before afterwards, whatever happens.
    """
    modes = {module: module.training for module in net.modules()}
    gradients = {parameter: parameter.requires_grad for parameter in net.parameters()}
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            net.eval().requires_grad_(False)
            yield Victim(net)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, wanted in gradients.items():
            parameter.requires_grad_(wanted)


class Victim(nn.Module):
    """A network that takes and hands out contiguous tensors, and logits alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits = self.net(_ChannelsLast.apply(images))
        if not isinstance(logits, Tensor):
            raise UsageError(
                "the network returns more than logits",
                expected="a tensor (N, classes)",
                got=type(logits).__name__,
                hint="Wrap it in a module that returns the logits alone.",
            )
        return logits.float()


class _ChannelsLast(torch.autograd.Function):
    """The identity: channels_last on the way in, contiguous gradients on the way out.

    Gradients come back times N: torchattacks averages the loss over the batch, and small gradients drown in that.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous() * len(gradients[0])
