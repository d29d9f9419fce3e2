"""Attacks of torchattacks, mended where they couple the images of a batch. Loaded when an attack runs: it is heavy."""

from __future__ import annotations

from typing import Any

import torch
import torchattacks
from torch import Tensor

from .victim import Victim


class TargetedAPGD(torchattacks.APGD):  # type: ignore[misc]
    """Auto-PGD on the targeted DLR loss; torchattacks' own takes the step size of the first image for all under L2.

    Args:
        rank: of the class that it aims at on the clean image: 2 for the most likely wrong one.
    """

    def __init__(self, victim: Victim, rank: int, **options: Any) -> None:
        super().__init__(victim, loss="dlr", **options)
        self._rank = rank

    def attack_single_run(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            self._target = self.get_logits(images).sort(dim=1)[1][:, -self._rank]
        made: Tensor = super().attack_single_run(images, labels)
        return made

    def dlr_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        ranked, image = logits.sort(dim=1)[0], torch.arange(len(logits), device=logits.device)
        spread = ranked[:, -1] - (ranked[:, -3] + ranked[:, -4]) / 2 + 1e-12
        return (logits[image, self._target] - logits[image, labels]) / spread


class WatchedSquare(torchattacks.Square):  # type: ignore[misc]
    """Tells the victim which images the search goes on with: those that are not yet fooled."""

    def margin_and_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        margin, loss = super().margin_and_loss(images, labels)
        draws = self.model.draws
        draws.rows = draws.rows[(margin > 0).cpu()]
        return margin, loss
