"""Attacks of torchattacks, corrected where they couple the images of a batch. The import is slow."""

from __future__ import annotations

from typing import Any

import torch
import torchattacks
from torch import Tensor

from .victim import Victim


class TargetedAPGD(torchattacks.APGD):  # type: ignore[misc]
    """Auto-PGD on the targeted DLR loss, with a step size per image; torchattacks uses that of the first under L2.

    The target class has this rank in the logits of the clean image: 2 is the most likely wrong class.
    """

    def __init__(self, victim: Victim, rank: int, **options: Any) -> None:
        super().__init__(victim, loss="dlr", **options)
        self._rank = rank

    def attack_single_run(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            self._target = self.get_logits(images).sort(dim=1)[1][:, -self._rank]
        return super().attack_single_run(images, labels)  # type: ignore[no-any-return]

    def dlr_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        ranked, image = logits.sort(dim=1)[0], torch.arange(len(logits), device=logits.device)
        spread = ranked[:, -1] - (ranked[:, -3] + ranked[:, -4]) / 2 + 1e-12
        return (logits[image, self._target] - logits[image, labels]) / spread


class WatchedSquare(torchattacks.Square):  # type: ignore[misc]
    """Square attack that passes to the victim which images it still works on: those not yet fooled."""

    def margin_and_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        margin, loss = super().margin_and_loss(images, labels)
        draws = self.model.draws
        draws.rows = draws.rows[(margin > 0).cpu()]
        return margin, loss
