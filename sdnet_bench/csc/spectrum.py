"""The step size of the solvers: t = 0.9 / L, L the largest eigenvalue of A*A (paper, Appendix A)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .operators import Dictionary

TOLERANCE = 1e-5**0.5
MAX_ITERATIONS = 50
MARGIN = 0.9
GRID, DEEP_GRID = 32, 16
"""Sides of the code grid of the power iteration; the second is for 3x3 atoms over more than 3 channels. The first is
for atoms that reach over 8 positions, twice as much for 16, and so on."""


class Eigenpair(NamedTuple):
    """The dominant eigenvalue (a 0-dim tensor) and its unit eigenvector `(1, C, side, side)`."""

    value: Tensor
    vector: Tensor


@torch.no_grad()
def power_iteration(dictionary: Dictionary, start: Tensor | None = None, *, iterations: int | None = None) -> Eigenpair:
    """Equations (9) and (10), in float32 or better, on a code of GRID x GRID or DEEP_GRID x DEEP_GRID positions.

    Where patches do not overlap, one position is used and the result is exact.

    The eigenvalue grows with the grid towards that of the infinite plane, so a grid smaller than the images
    underestimates it, by less than the margin of the step size: at a side of 16 by 4.5 % for a constant 3x3 atom
    (factor ((1 + 2 cos(pi / 17)) / 3)^4), and by 6.6 % for an atom that is zero outside its corners (factor
    cos(pi / 17)^4); at four times the side of a constant atom by less than 10 %.

    Args:
        dictionary: the operator.
        start: an eigenvector of an earlier call, for a warm start; by default a seeded random vector.
        iterations: exact number of iterations, without synchronising with the device. By default iterate until the
            vector moves by less than TOLERANCE, at most MAX_ITERATIONS times.
    """
    vector = _random_start(dictionary) if start is None else start
    for _ in range(iterations or MAX_ITERATIONS):
        moved = _normalize(_apply(dictionary, vector))
        step, vector = moved - vector, moved
        if iterations is None and torch.linalg.vector_norm(step) < TOLERANCE:
            break
    return Eigenpair((vector * _apply(dictionary, vector)).sum(), vector)


def _apply(dictionary: Dictionary, code: Tensor) -> Tensor:
    """A*A z."""
    side = dictionary.largest_side(code.shape[-1])
    with torch.autocast(code.device.type, enabled=False):
        return dictionary.analyze(dictionary.synthesize(code, (side, side)))


def _normalize(code: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(code)
    return code / length.clamp_min(torch.finfo(code.dtype).tiny)


def _random_start(dictionary: Dictionary) -> Tensor:
    atoms = dictionary.atoms
    generator = torch.Generator().manual_seed(0)
    _, channels, kernel_size, _ = atoms.shape
    side = DEEP_GRID if channels > 3 and kernel_size <= 3 else GRID * math.ceil(kernel_size / dictionary.stride / 8)
    if dictionary.is_apart:
        side = 1
    start = torch.randn(1, len(atoms), side, side, generator=generator, dtype=torch.float64)
    return _normalize(start.to(atoms.device, atoms.dtype))
