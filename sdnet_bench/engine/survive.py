"""Robust accuracy: which images no adversarial image of an attack could turn.

An image counts as robust under a lambda when it is classified correctly as it is and on every adversarial image
made from it. An attack that leaves its threat model is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..attacks import ATTACKS, Threat
from ..csc import using_lambda
from ..data import Batch, Split
from ..errors import AttackError
from ..progress import Task
from ..records import AttackSetting
from .evaluate import BATCH_SIZE, Outcome, gather, is_correct, shard
from .runtime import Runtime


@dataclass(frozen=True, eq=False)
class AttackRun:
    """An attack on one network.

    Args:
        net: on the runtime's device.
        setting: the attack; `crafted_at` is the lambda of the network that it looks at.
        seed: of the random starts.
    """

    net: nn.Module
    setting: AttackSetting
    runtime: Runtime
    seed: int = 0

    def robust(self, batch: Batch, lambdas: Sequence[float | None]) -> dict[float | None, Tensor]:
        """`(N,)` bool for each lambda that adversarial images are scored at.

        Every image of the batch is attacked in every restart, lost or not, so that what becomes of one does not
        depend on the lambdas that are scored beside it.
        """
        clean = self.runtime.to_pixels(batch.images)
        robust = {lambda_: self._is_correct(clean, batch.labels, lambda_) for lambda_ in lambdas}
        for restart in range(self.setting.restarts):
            adversarial = self._perturb(clean, batch.labels, self._seed(batch, restart))
            for lambda_, so_far in robust.items():
                so_far &= self._is_correct(adversarial, batch.labels, lambda_)
        return robust

    def _perturb(self, clean: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The adversarial images of one run of the attack; an `AttackError` if one leaves the threat model."""
        attack, threat = ATTACKS[self.setting.name], Threat(self.setting.norm, self.setting.eps)
        with using_lambda(self.net, self.setting.crafted_at):
            adversarial = attack(self.net, clean, labels, self.setting, seed)
        within = threat.allows(clean, adversarial)
        if not bool(within.all()):
            furthest = float(threat.distance(clean, adversarial).max())
            what = f"attack {self.setting.name!r} left its budget on {int((~within).sum())} of {len(within)} images"
            raise AttackError(what, expected=f"{threat.norm} <= {threat.eps:g} and pixels in [0, 1]", got=furthest)
        return adversarial

    def _is_correct(self, pixels: Tensor, labels: Tensor, lambda_: float | None) -> Tensor:
        with torch.no_grad():
            return is_correct(self.net, pixels, labels, lambda_, self.runtime)

    def _seed(self, batch: Batch, restart: int) -> int:
        return (self.seed * 1_000_003 + int(batch.index[0])) * 1_009 + restart


def survive(
    run: AttackRun, split: Split, *, lambdas: Sequence[float | None] = (None,), task: Task | None = None
) -> dict[float | None, Outcome]:
    """Attacks a split and scores the adversarial images at each lambda; None is the network's own.

    With one lambda that is also the one they are crafted at, this is the attack that knows lambda; with others it
    is a transfer attack. `task` is advanced by every image attacked, once.
    """
    run.net.eval()
    parts: dict[float | None, list[Tensor]] = {lambda_: [] for lambda_ in lambdas}
    for batch in shard(split, run.runtime).batches(BATCH_SIZE, run.runtime.device):
        for lambda_, robust in run.robust(batch, lambdas).items():
            parts[lambda_].append(robust)
        (task or Task()).advance(len(batch.labels))
    runtime, total = run.runtime, len(split)
    return {lambda_: Outcome(gather(found, total, runtime).numpy().astype(bool)) for lambda_, found in parts.items()}
