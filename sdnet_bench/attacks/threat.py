"""Threat models on tensors: the distance of images, the check of the ball, and rounding to uint8."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..records import Threat

TOLERANCE = 1e-6


def distance(threat: Threat, clean: Tensor, adversarial: Tensor) -> Tensor:
    """`(N,)` float64 on the CPU: norm of the change of each image. Images are `(N, 3, H, W)` in [0, 1]."""
    moved = (adversarial.cpu().double() - clean.cpu().double()).flatten(1)  # not every device has float64
    moves: Tensor = torch.linalg.vector_norm(moved, ord=math.inf if threat.norm == "linf" else 2, dim=1)
    return moves


def allows(threat: Threat, clean: Tensor, adversarial: Tensor) -> Tensor:
    """`(N,)` bool on the CPU: inside the ball and inside [0, 1], in float64, to 1e-6 (times eps, for eps above 1)."""
    pixels = adversarial.cpu().double().flatten(1)
    in_box = (pixels.amin(1) >= -TOLERANCE) & (pixels.amax(1) <= 1 + TOLERANCE)
    return in_box & (distance(threat, clean, adversarial) <= threat.eps + TOLERANCE * max(1.0, threat.eps))


def quantize(threat: Threat, clean: Tensor, adversarial: Tensor) -> Tensor:
    """Adversarial images `(N, 3, H, W)` in [0, 1] as uint8, inside the ball around the clean uint8 images.

    Changes are rounded to grey levels; under L2 they are scaled down first where the result would leave the ball.
    """
    moved = adversarial.cpu().double() * 255 - clean.cpu().double()
    reach = math.floor(255 * (threat.eps + TOLERANCE))  # 8 for 8/255, despite rounding errors in eps
    levels = _shrunk(moved, threat.eps) if threat.norm == "l2" else moved.round().clamp(-reach, reach)
    return (clean.cpu().double() + levels).clamp(0, 255).to(torch.uint8)


def _shrunk(moved: Tensor, eps: float) -> Tensor:
    """The largest scaled and rounded change that is inside the L2 ball."""
    best = torch.zeros_like(moved)
    for scale in torch.linspace(0, 1, 101):
        levels = (moved * float(scale)).round()
        inside = levels.flatten(1).norm(dim=1) <= 255 * eps
        best = torch.where(inside.view(-1, 1, 1, 1), levels, best)
    return best
