"""From the code of a CSC-layer back to the image: the chain of dictionaries (paper, Appendix B, equations 13 and 14).

A chain is a sequence of layers, each applied to the output of the one before: CSC-layers, the batch norms that follow
them, and ReLU or identity. Equation (14) has dictionaries only, x~ = A_1(A_2(... A_l(z_l))). A batch norm between two
dictionaries changes the units of the code and is inverted here.
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
    """The layers of a path up to and including its CSC-layer `number`, counted from 1.

    A `UsageError` where the path has no such layer.
    """
    ends = [place for place, link in enumerate(path, start=1) if isinstance(link, CSCConv2d)]
    if not 1 <= number <= len(ends):
        what = f"no chain of CSC-layers leads from layer {number} back to the pixels"
        expected = f"a layer from 1 to {len(ends)}" if ends else "a network that begins with a CSC-layer"
        raise UsageError(what, expected=expected, got=number)
    return list(path[: ends[number - 1]])


@torch.no_grad()
def rebuild(chain: Sequence[nn.Module], code: Tensor, size: Size) -> Tensor:
    """Equation (14): the input of a chain, reconstructed from the code at its end.

    Batch norm in eval mode is inverted exactly: x = (y - bias) sqrt(var + eps) / weight + mean, with the running mean
    and variance. Channels of weight 0 take the running mean. ReLU and identity are skipped.

    Args:
        chain: layers up to the one whose output is `code`, usually a CSC-layer.
        code: `(N, C, h, w)`.
        size: (H, W) of the input; at stride 2 two sizes have the same code grid.

    Returns:
        `(N, M, H, W)`, in the units of the input.
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
    """The linear part of `rebuild` away from borders: patches of a chain's output mapped to patches of its input.

    For the chain before a CSC-layer and the atoms of that layer, the result is the image of one unit of each code.

    Args:
        chain: layers before the one whose input contains the patches.
        patches: `(n, C, k, k)`.

    Returns:
        `(n, M, K, K)`: a CSC-layer with kernel k and stride s maps a side K to (K - 1) s + k. Odd sides stay odd, and
        the centre stays the centre.
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
    """`(C, 1, 1)`: derivative of a batch norm's input by its output; 0 for channels of weight 0."""
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
