"""A and A* at stride 1 for images of few channels on a CPU, with derivatives that are A* and A again.

A convolution to three channels leaves most lanes of a vector unit idle. Here the pixels of a 2x2 block are taken for
channels: an image `(N, M, H, W)` is `(N, 4M, H/2, W/2)`, and A z is a convolution at stride 2 whose kernel has the
atoms at the four places of a pixel in its block. The derivative of A* x by x is A of a code, and autograd, left to
itself, would take it to three channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_weight

MOST_CHANNELS = 4
"""Four of them, times the four pixels of a block, are a vector of 512 bits."""


def are_faster(atoms: Tensor, size: Sequence[int]) -> bool:
    """Whether images of this (H, W) have whole blocks and few channels; a compiler makes its own loops."""
    is_eager_on_cpu = atoms.is_cpu and not torch.compiler.is_compiling()
    return is_eager_on_cpu and atoms.shape[1] <= MOST_CHANNELS and all(side % 2 == 0 for side in size)


def analyze(image: Tensor, atoms: Tensor, padding: int) -> Tensor:
    """A* x: images `(N, M, H, W)`, H and W even, and atoms `(C, M, k, k)` to codes `(N, C, h, w)`."""
    return _Analysis.apply(*_as_autocast(image, atoms), padding)  # type: ignore[no-any-return]


def synthesize(code: Tensor, atoms: Tensor, padding: int) -> Tensor:
    """A z: codes `(N, C, h, w)` and atoms `(C, M, k, k)` to images `(N, M, H, W)`, H and W even."""
    return _Synthesis.apply(*_as_autocast(code, atoms), padding)  # type: ignore[no-any-return]


class _Bilinear(Function):
    """What A* x and A z share: both are linear in the atoms too."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        values, atoms, ctx.padding = inputs
        ctx.save_for_backward(values, atoms)
        ctx.save_for_forward(values, atoms)


class _Analysis(_Bilinear):
    @staticmethod
    def forward(image: Tensor, atoms: Tensor, padding: int) -> Tensor:
        return F.conv2d(image, atoms, padding=padding)

    @staticmethod
    def backward(ctx: Any, code: Tensor) -> tuple[Tensor | None, ...]:
        image, atoms = ctx.saved_tensors
        return _backward(_Synthesis, ctx, code, atoms, image, code)

    @staticmethod
    def jvp(ctx: Any, values: Tensor | None, atoms: Tensor | None, _: None) -> Tensor:
        return _product_rule(_Analysis, ctx, values, atoms)


class _Synthesis(_Bilinear):
    @staticmethod
    def forward(code: Tensor, atoms: Tensor, padding: int) -> Tensor:
        edge = atoms.shape[-1] - 1 - padding
        return F.pixel_shuffle(F.conv2d(code, _block_kernel(atoms), stride=2, padding=edge), 2)

    @staticmethod
    def backward(ctx: Any, image: Tensor) -> tuple[Tensor | None, ...]:
        code, atoms = ctx.saved_tensors
        return _backward(_Analysis, ctx, image, atoms, image, code)

    @staticmethod
    def jvp(ctx: Any, values: Tensor | None, atoms: Tensor | None, _: None) -> Tensor:
        return _product_rule(_Synthesis, ctx, values, atoms)


def _backward(
    adjoint: type[_Bilinear], ctx: Any, arriving: Tensor, atoms: Tensor, image: Tensor, code: Tensor
) -> tuple[Tensor | None, ...]:
    """The derivatives by values and atoms; those by atoms are of <A z, x> = <z, A* x>."""
    by_values, by_atoms, _ = ctx.needs_input_grad
    return (
        adjoint.apply(arriving, atoms, ctx.padding) if by_values else None,
        conv2d_weight(image, atoms.shape, code, padding=ctx.padding) if by_atoms else None,  # type: ignore[no-untyped-call]
        None,
    )


def _product_rule(of: type[_Bilinear], ctx: Any, values: Tensor | None, atoms: Tensor | None) -> Tensor:
    """The directional derivative; the direction is None in what does not change."""
    at, by = ctx.saved_tensors
    pairs = [] if values is None else [(values, by)]
    pairs += [] if atoms is None else [(at, atoms)]
    first, *others = (of.apply(*pair, ctx.padding) for pair in pairs)
    found: Tensor = sum(others, first)
    return found


def _block_kernel(atoms: Tensor) -> Tensor:
    """`(4M, C, k + 1, k + 1)`: the mirrored atoms, moved by 0 or 1 down and right, in the order of `pixel_shuffle`."""
    mirrored = atoms.flip(2, 3).transpose(0, 1)
    moved = [F.pad(mirrored, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
    return torch.stack(moved, 1).flatten(0, 1)


def _as_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the precision that autocast has for a convolution; a `Function` is opaque to it."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    wanted = torch.get_autocast_dtype("cpu")
    return tuple(each if each.dtype == torch.float64 else each.to(wanted) for each in tensors)
