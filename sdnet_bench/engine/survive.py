"""Robust accuracy: which images no adversarial image of an attack could turn.

An image counts as robust under a lambda when it is classified correctly as it is and on every adversarial image
made from it. Nothing outside the threat model counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..attacks import ATTACKS, Threat
from ..csc import using_lambda
from ..data import Batch, Split
from ..progress import Task
from ..records import AttackSetting
from .evaluate import BATCH_SIZE, Outcome, classify, own_share, whole
from .runtime import Runtime


@dataclass(frozen=True, eq=False)
class Siege:
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

    def survivors(self, batch: Batch, lambdas: Sequence[float | None]) -> dict[float | None, Tensor]:
        """`(N,)` bool for each lambda that adversarial images are scored at.

        Every image of the batch is attacked in every restart, lost or not, so that what becomes of one does not
        depend on the lambdas that are scored beside it.
        """
        clean = self.runtime.to_pixels(batch.images)
        alive = {lambda_: self._right(clean, batch.labels, lambda_) for lambda_ in lambdas}
        for restart in range(self.setting.restarts):
            adversarial, fair = self._assault(clean, batch.labels, self._seed(batch, restart))
            for lambda_, standing in alive.items():
                standing &= self._right(adversarial, batch.labels, lambda_) | ~fair
        return alive

    def _assault(self, clean: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The adversarial images of one run of the attack, and which of them the threat model allows."""
        with using_lambda(self.net, self.setting.crafted_at):
            adversarial = ATTACKS[self.setting.name](self.net, clean, labels, self.setting, seed)
        return adversarial, Threat(self.setting.norm, self.setting.eps).allows(clean, adversarial)

    def _right(self, pixels: Tensor, labels: Tensor, lambda_: float | None) -> Tensor:
        with torch.no_grad():
            return classify(self.net, pixels, labels, lambda_, self.runtime)

    def _seed(self, batch: Batch, restart: int) -> int:
        return (self.seed * 1_000_003 + int(batch.index[0])) * 1_009 + restart


def survive(
    siege: Siege, split: Split, *, lambdas: Sequence[float | None] = (None,), task: Task | None = None
) -> dict[float | None, Outcome]:
    """Attacks a split and scores the adversarial images at each lambda; None is the network's own.

    With one lambda that is also the one they are crafted at, this is the attack that knows lambda; with others it
    is a transfer attack. `task` is advanced by every image attacked, once.
    """
    siege.net.eval()
    parts: dict[float | None, list[Tensor]] = {lambda_: [] for lambda_ in lambdas}
    for batch in own_share(split, siege.runtime).batches(BATCH_SIZE, siege.runtime.device):
        for lambda_, alive in siege.survivors(batch, lambdas).items():
            parts[lambda_].append(alive)
        (task or Task()).advance(len(batch.labels))
    runtime, total = siege.runtime, len(split)
    return {lambda_: Outcome(whole(found, total, runtime).numpy().astype(bool)) for lambda_, found in parts.items()}
