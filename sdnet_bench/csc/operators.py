"""The convolutional dictionary as a linear operator: synthesis A and its adjoint A* (paper, equations 3 and 7).

A dictionary is a tensor `(C, M, k, k)`: C atoms, each an M-channel patch of side k. The adjoint is then a plain
convolution and the synthesis its transpose, at any stride and padding and for any input size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import blocks


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The operators A and A* of one convolutional dictionary.

    Args:
        atoms: the dictionary, `(C, M, k, k)`.
        stride: stride of the code grid over the image grid.
        padding: zeros on each side of the image; None for k // 2, with which an image of side H has a code of side
            ceil(H / stride) if k is odd.
    """

    atoms: Tensor
    stride: int = 1
    padding: int | None = None

    def analyze(self, image: Tensor) -> Tensor:
        """A* x: the correlation of each atom with the image. `(N, M, H, W)` -> `(N, C, h, w)`."""
        if self._is_by_blocks(image.shape[-2:]):
            return blocks.analyze(image, self.atoms, self._padding)
        return F.conv2d(image, self.atoms, None, self.stride, self._padding)

    def synthesize(self, code: Tensor, size: Sequence[int]) -> Tensor:
        """A z: the sum of atoms weighted by the code. `(N, C, h, w)` -> `(N, M, *size)`, equation (3).

        `size` is the (H, W) of the image; at stride 2 two sizes have the same code grid.
        """
        if self._is_by_blocks(size):
            return blocks.synthesize(code, self.atoms, self._padding)
        missing = [side - self._least_side(grid) for side, grid in zip(size, code.shape[-2:], strict=True)]
        return F.conv_transpose2d(code, self.atoms, None, self.stride, self._padding, missing)

    @property
    def is_apart(self) -> bool:
        """Whether patches do not overlap and do not cross the border."""
        return self.stride >= self.atoms.shape[-1] and self._padding == 0

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (h, w) of the code of an image of `size`."""
        height, width = ((side - self._least_side(1)) // self.stride + 1 for side in size)
        return height, width

    def largest_side(self, grid: int) -> int:
        """Side of the largest image whose code has the side `grid`."""
        return self._least_side(grid) + self.stride - 1

    def _is_by_blocks(self, size: Sequence[int]) -> bool:
        """Whether `blocks` has the operators for images of this (H, W), and is faster."""
        return self.stride == 1 and blocks.are_faster(self.atoms, size)

    def _least_side(self, grid: int) -> int:
        return (grid - 1) * self.stride + self.atoms.shape[-1] - 2 * self._padding

    @property
    def _padding(self) -> int:
        return self.atoms.shape[-1] // 2 if self.padding is None else self.padding


def project_to_unit_norm(atoms: Tensor) -> Tensor:
    """Each atom of `(C, M, k, k)` scaled to unit l2 norm: the projection onto N of equation (5)."""
    norms: Tensor = torch.linalg.vector_norm(atoms, dim=(1, 2, 3), keepdim=True)
    return atoms / norms.clamp_min(torch.finfo(atoms.dtype).tiny)
