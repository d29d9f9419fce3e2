"""From the code of a CSC-layer back to the image: the chain of dictionaries (paper, Appendix B, equations 13 and 14).

A chain is a sequence of layers that a batch goes through one after another: CSC-layers, the batch norms that follow
them, and ReLU or identity. Equation (14) speaks of the dictionaries alone, x~ = A_1(A_2(... A_l(z_l))). A batch norm
between them changes the units, and has to be undone for a code to come back to those of the layer before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from .layer import CSCConv2d

Size = tuple[int, int]


def chain_to(path: Sequence[nn.Module], number: int) -> list[nn.Module]:
    """The links of a path up to its CSC-layer of that number, counted from 1, which comes last.

    A `UsageError` where the path has no such layer.
    """
    ends = [place for place, link in enumerate(path, start=1) if isinstance(link, CSCConv2d)]
    if not 1 <= number <= len(ends):
        raise UsageError(
            f"no chain of CSC-layers leads from layer {number} back to the pixels",
            expected=f"a layer from 1 to {len(ends)}" if ends else "a network that begins with a CSC-layer",
            got=number,
        )
    return list(path[: ends[number - 1]])


@torch.no_grad()
def rebuild(chain: Sequence[nn.Module], code: Tensor, size: Size) -> Tensor:
    """Equation (14): what the code at the end of a chain says of the chain's input.

    Batch norm is undone exactly, as it is in eval mode: x = (y - bias) sqrt(var + eps) / weight + mean, with the
    running mean and variance. Where its weight is 0 it has let nothing through, and the running mean takes the place
    of x. ReLU and identity hand values through.

    Args:
        chain: ends with the layer whose output `code` is, mostly a CSC-layer.
        code: `(N, C, h, w)`.
        size: (H, W) of the chain's input: at stride 2 two sizes share one code grid.

    Returns:
        `(N, M, H, W)`, in the units of the chain's input.
    """
    for link, of in reversed(list(zip(chain, _sizes(chain, size), strict=True))):
        if isinstance(link, CSCConv2d):
            code = link.operator.synthesize(code, of)
        elif isinstance(link, nn.BatchNorm2d):
            code = _undo(link, code)
        else:
            _check_hands_through(link)
    return code


@torch.no_grad()
def carry(chain: Sequence[nn.Module], patches: Tensor) -> Tensor:
    """The linear part of `rebuild`, away from all borders: what patches at the end of a chain are at its beginning.

    With the chain before a CSC-layer and the atoms of that layer it is what one unit of each code adds to the input.

    Args:
        chain: ends before the layer whose input the patches are part of.
        patches: `(n, C, k, k)`.

    Returns:
        `(n, M, K, K)`: each CSC-layer with kernel k and stride s makes (K - 1) s + k of a side K; odd sides stay odd,
        and the middle stays the middle.
    """
    for link in reversed(chain):
        if isinstance(link, CSCConv2d):
            patches = F.conv_transpose2d(patches, link.dictionary, stride=link.stride)
        elif isinstance(link, nn.BatchNorm2d):
            patches = patches * _slope(link)
        else:
            _check_hands_through(link)
    return patches


def _sizes(chain: Sequence[nn.Module], size: Size) -> Iterator[Size]:
    """The (H, W) of each link's input."""
    for link in chain:
        yield size
        if isinstance(link, CSCConv2d):
            size = link.operator.grid(size)


def _undo(norm: nn.BatchNorm2d, value: Tensor) -> Tensor:
    mean, _ = _statistics(norm)
    bias = norm.bias if norm.affine else torch.zeros_like(mean)
    return (value - bias.view(-1, 1, 1)) * _slope(norm) + mean.view(-1, 1, 1)


def _slope(norm: nn.BatchNorm2d) -> Tensor:
    """`(C, 1, 1)`: by how much the input of a batch norm grows with its output; 0 where it lets nothing through."""
    _, variance = _statistics(norm)
    weight = norm.weight if norm.affine else torch.ones_like(variance)
    return torch.where(weight == 0, 0, (variance + norm.eps).sqrt() / weight).view(-1, 1, 1)


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance, `(C,)` each."""
    if norm.running_mean is None or norm.running_var is None:
        raise UsageError("a batch norm without running statistics cannot be undone")
    return norm.running_mean, norm.running_var


def _check_hands_through(link: nn.Module) -> None:
    if not isinstance(link, nn.ReLU | nn.Identity):
        expected = "CSC-layers, batch norm, ReLU and identity"
        raise UsageError("a chain of dictionaries is broken", expected=expected, got=type(link).__name__)
