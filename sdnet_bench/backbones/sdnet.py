"""SDNets: ResNets whose first convolution, or all whose 3x3 convolutions, are CSC-layers (paper, Section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Concatenate, ParamSpec

from torch import nn

from ..csc import CSCConv2d, CSCOptions
from ..splicing import splice
from .resnet import BasicBlock, BlockBuilder, ConvBuilder, ResNet

Own = ParamSpec("Own")


def _coding(build: Callable[Concatenate[CSCOptions, Own], ResNet]) -> Callable[Own, ResNet]:
    """Makes the fields of `CSCOptions` options of a builder."""
    return splice(build, CSCOptions)


@_coding
def sdnet(
    csc: CSCOptions,
    /,
    blocks: Sequence[int],
    num_classes: int,
    *,
    stem_relu: bool = False,
    width: int = 64,
    **options: Any,
) -> ResNet:
    """A `ResNet` with a CSC-layer as its stem's convolution; it has the same number of parameters.

    Args:
        csc: how its CSC-layers code; its fields are options of the builder.
        stem_relu: a ReLU after the stem's batch norm: the paper keeps it, the released networks drop it.
        blocks, width, options: as of `ResNet`.
    """
    return ResNet(blocks, num_classes, stem_conv=_conv(csc), stem_relu=stem_relu, width=width, **options)


@_coding
def sdnet_all(
    csc: CSCOptions,
    /,
    blocks: Sequence[int],
    num_classes: int,
    *,
    shortcut: bool = False,
    inner_relu: bool = True,
    stem_relu: bool | None = None,
    width: int = 64,
    **options: Any,
) -> ResNet:
    """A `ResNet` with CSC-layers as its stem's convolution and as the 3x3 convolutions of its residual branches.

    With shortcuts it is the network of the paper's text: batch norm, ReLU and the 1x1 convolutions on the shortcuts
    stay as they are, and on the CIFAR stem so does the number of parameters. Without, it is what the released
    configurations train and what Appendix B can look through: a chain of CSC-layers, each followed by batch norm and by
    nothing else. The max-pool of the ImageNet stem gives way to one more CSC-layer, 3x3 at stride 2 and without a batch
    norm behind it, as in the release.

    Args:
        csc: how its CSC-layers code; its fields are options of the builder.
        blocks: residual blocks, or pairs of CSC-layers, in each of the four stages.
        shortcut: keep shortcuts and ReLUs.
        inner_relu: with shortcuts, a ReLU between the two CSC-layers of a block; released networks have none there.
        stem_relu: a ReLU after the stem's batch norm; by default where the others are kept.
        width, options: as of `ResNet`.
    """
    conv = _conv(csc)
    block: BlockBuilder = partial(BasicBlock, branch_conv=conv, inner_relu=inner_relu) if shortcut else _chained(conv)
    relu = shortcut if stem_relu is None else stem_relu
    return ResNet(
        blocks,
        num_classes,
        stem_conv=conv,
        stem_relu=relu,
        stem_pool=lambda channels: conv(channels, channels, 3, 2),
        block=block,
        width=width,
        **options,
    )


def _conv(csc: CSCOptions) -> ConvBuilder:
    return partial(CSCConv2d, **asdict(csc))


def _chained(csc: ConvBuilder) -> BlockBuilder:
    """The blocks of a ResNet as chains of CSC-layers and batch norms."""

    def link(in_channels: int, channels: int, stride: int) -> list[nn.Module]:
        return [csc(in_channels, channels, 3, stride), nn.BatchNorm2d(channels)]

    def block(in_channels: int, channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(*link(in_channels, channels, stride), *link(channels, channels, 1))

    return block
