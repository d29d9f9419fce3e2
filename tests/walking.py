"""A minimum-norm attack that needs no foolbox."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sdnet_bench.attacks import Attack
from sdnet_bench.attacks.victim import Victim


def walking(*radii: float) -> Attack:
    """Looks at images that are so far away under L2, up the gradient, in this order."""

    def walk(victim: Victim, images: Tensor, labels: Tensor, setting: object, restart: int) -> Tensor:
        seen = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(victim.logits(seen), labels, reduction="sum"), seen)
        ahead = F.normalize(gradient.flatten(1)).view_as(images)
        for radius in radii:
            victim((images + radius * ahead).clamp(0, 1))
        return victim.adversarial

    return walk
