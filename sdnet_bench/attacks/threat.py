"""Threat models: what an adversary may do to an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UnknownNameError, UsageError

DEFAULT_EPS = {"linf": 8 / 255, "l2": 0.5}
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Threat:
    """A ball around the clean image, cut with the box of valid pixels.

    Args:
        norm: "linf" or "l2", over all pixels and channels of an image.
        eps: its radius, in pixels of [0, 1].
    """

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in DEFAULT_EPS:
            raise UnknownNameError("norm", self.norm, DEFAULT_EPS)
        if not math.isfinite(self.eps) or self.eps <= 0:
            raise UsageError("eps out of range", expected="a finite number > 0, such as 8/255", got=self.eps)

    def distance(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """`(N,)` float64, on the CPU: how far each image was moved. Both `(N, 3, H, W)` in [0, 1]."""
        moved = (adversarial.cpu().double() - clean.cpu().double()).flatten(1)  # not every device has float64
        distance: Tensor = torch.linalg.vector_norm(moved, ord=math.inf if self.norm == "linf" else 2, dim=1)
        return distance

    def allows(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """`(N,)` bool, on the CPU, judged in float64: inside the ball and inside [0, 1], to 1e-6 (of eps, above 1)."""
        pixels = adversarial.cpu().double().flatten(1)
        in_box = (pixels.amin(1) >= -TOLERANCE) & (pixels.amax(1) <= 1 + TOLERANCE)
        return in_box & (self.distance(clean, adversarial) <= self.eps + TOLERANCE * max(1.0, self.eps))

    def quantize(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """Adversarial images `(N, 3, H, W)` in [0, 1] as uint8, still inside the ball around clean ones in uint8.

        Changes are rounded to whole levels; under L2 they are shrunk first where that would leave the ball.
        """
        moved = adversarial.cpu().double() * 255 - clean.cpu().double()
        levels = self._shrunk(moved) if self.norm == "l2" else moved.round().clamp(-self._reach, self._reach)
        return (clean.cpu().double() + levels).clamp(0, 255).to(torch.uint8)

    @property
    def _reach(self) -> int:
        """Whole levels that a pixel may move under Linf: 8 for 8/255, whatever floating point made of it."""
        return math.floor(255 * (self.eps + TOLERANCE))

    def _shrunk(self, moved: Tensor) -> Tensor:
        """The largest of the rounded changes, each scaled down a little more, that is inside the ball."""
        best = torch.zeros_like(moved)
        for scale in torch.linspace(0, 1, 101):
            levels = (moved * float(scale)).round()
            inside = levels.flatten(1).norm(dim=1) <= 255 * self.eps
            best = torch.where(inside.view(-1, 1, 1, 1), levels, best)
        return best


def parse_eps(text: str | None, norm: str) -> float:
    """ "8/255", "0.031" or None (the norm's default: 8/255 for linf, 0.5 for l2) to a number."""
    if text is None:
        return DEFAULT_EPS.get(norm, math.nan)
    try:
        numerator, _, denominator = text.partition("/")
        eps = float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        raise UsageError("eps is no number", expected="a number or a fraction, such as 8/255", got=text) from None
    if norm == "linf" and eps > 1:
        raise UsageError("eps out of range", expected="at most 1, the range of a pixel, such as 8/255", got=text)
    return eps


def show_eps(eps: float) -> str:
    """As one would type it: "8/255" where eps is such a fraction and no short decimal, "0.5" elsewhere."""
    short, pixels = f"{eps:g}", 255 * eps
    return f"{pixels:.0f}/255" if float(short) != eps and abs(pixels - round(pixels)) < 1e-6 else short
