"""The registry of backbones. What ours build of is imported when they run, so their options need no torch.

An SDNet is a ResNet whose first convolution, or all whose 3x3 convolutions, are CSC-layers (paper, Section 4).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec

from ..registry import Registry, check_call
from ..splicing import splice
from .options import CIFAR10_MEAN, CIFAR10_STD, DEPTHS, CSCOptions

if TYPE_CHECKING:
    from torch import nn

    from .resnet import BlockBuilder, ConvBuilder

    Builder = Callable[..., nn.Module]

Own = ParamSpec("Own")


def is_external(name: str) -> bool:
    """Whether a backbone's name is one with a colon: a network of a library or a file."""
    return ":" in name


def is_code(name: str) -> bool:
    """Whether the name points to a Python file, which building the network runs."""
    return is_external(name) and name.rpartition(":")[0].endswith(".py")


def check_builder(builder: Builder) -> None:
    """Raises a TypeError where `builder` cannot be called as a backbone."""
    expected = "(num_classes, *, mean, std, **options)"
    check_call(builder, expected, 10, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


BACKBONES: Registry[Builder] = Registry("backbone", check_builder)


def resnet(
    blocks: Sequence[int],
    num_classes: int,
    *,
    width: int = 64,
    stem: str = "cifar",
    stem_width: int | None = None,
    stem_relu: bool = True,
    mean: Sequence[float] = CIFAR10_MEAN,
    std: Sequence[float] = CIFAR10_STD,
) -> Any:
    """A `ResNet`, whose arguments these are."""
    from .resnet import ResNet

    options: dict[str, Any] = {"stem": stem, "stem_width": stem_width, "stem_relu": stem_relu}
    return ResNet(blocks, num_classes, width=width, mean=mean, std=std, **options)


def _coding(build: Callable[Concatenate[CSCOptions, Own], Any]) -> Callable[Own, Any]:
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
) -> Any:
    """A `ResNet` with a CSC-layer as its stem's convolution; it has the same number of parameters.

    Args:
        csc: how its CSC-layers code; its fields are options of the builder.
        stem_relu: a ReLU after the stem's batch norm: the paper keeps it, the released networks drop it.
        blocks, width, options: as of `ResNet`.
    """
    from .resnet import ResNet

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
) -> Any:
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
    from .resnet import BasicBlock, ResNet

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
    from ..csc import CSCConv2d

    return partial(CSCConv2d, **asdict(csc))


def _chained(csc: ConvBuilder) -> BlockBuilder:
    """The blocks of a ResNet as chains of CSC-layers and batch norms."""
    from torch import nn

    def link(in_channels: int, channels: int, stride: int) -> list[nn.Module]:
        return [csc(in_channels, channels, 3, stride), nn.BatchNorm2d(channels)]

    def block(in_channels: int, channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(*link(in_channels, channels, stride), *link(channels, channels, 1))

    return block


for name, blocks in DEPTHS.items():
    BACKBONES.register(f"resnet{name}")(partial(resnet, blocks))
    BACKBONES.register(f"sdnet{name}")(partial(sdnet, blocks))
    BACKBONES.register(f"sdnet{name}_all")(partial(sdnet_all, blocks))


@BACKBONES.register("scn")
def scn(num_classes: int, *, width: int = 64, **options: Any) -> Any:
    """An `SCN`, whose arguments these are."""
    from .scn import SCN

    return SCN(num_classes, width=width, **options)


@BACKBONES.register("scn18")
def scn18(
    num_classes: int,
    *,
    width: int = 64,
    lambda_: float = 0.1,
    steps: int = 50,
    gradient: str = "unrolled",
    backward_steps: int = 30,
    relative_ridge: float = 1e-2,
    stem_relu: bool = False,
    **options: Any,
) -> Any:
    """A ResNet-18 with a layer of SCN as its stem's convolution; it has one more parameter, the stem's lambda.

    The layer has more atoms than a patch has entries, unlike the layers of SCN. Therefore lambda starts above zero, the
    default gradient is "unrolled", and the implicit gradient has a ridge in proportion to the dictionary.

    Args:
        lambda_, steps, gradient, backward_steps, relative_ridge: as of `PatchCodingConv2d`.
        width, stem_relu, options: as of `ResNet`.
    """
    from ..csc import PatchCodingConv2d
    from .resnet import ResNet

    coding: dict[str, Any] = {"lambda_": lambda_, "steps": steps, "gradient": gradient}
    coding |= {"backward_steps": backward_steps, "relative_ridge": relative_ridge}
    stem_conv = partial(PatchCodingConv2d, **coding)
    return ResNet(DEPTHS["18"], num_classes, width=width, stem_conv=stem_conv, stem_relu=stem_relu, **options)


class MDEQSize(NamedTuple):
    """A published size of MDEQ; other widths have the channels of its head in proportion."""

    width: int
    growth: int
    """Channels of a resolution relative to those of the one before."""
    head: int
    """Channels of the head at the first resolution, doubled at each of the next."""
    features: int


def mdeq(
    size: MDEQSize,
    num_classes: int,
    *,
    width: int,
    branches: int,
    steps: int,
    backward_steps: int,
    dropout: float,
    warmup: int,
    **options: Any,
) -> Any:
    """An `MDEQ`.

    Args:
        width: channels of the first resolution.
        branches: number of resolutions.
        steps, backward_steps, warmup: as of `Equilibrium`; its `gradient` is among the options.
        dropout: as of `MDEQ`; its `downsampling`, `mean` and `std` are among the options.
    """
    from .mdeq import MDEQ

    def scaled(count: int) -> int:
        return max(1, round(count * width / size.width))

    options |= {"steps": steps, "backward_steps": backward_steps, "dropout": dropout, "warmup": warmup}
    channels = [width * size.growth**branch for branch in range(branches)]
    head = [scaled(size.head << branch) for branch in range(branches)]
    return MDEQ(num_classes, channels=channels, head=head, features=scaled(size.features), **options)


LARGE, TINY = MDEQSize(32, 2, 14, 1680), MDEQSize(24, 1, 8, 200)
"""That of the paper's Table 1 ("LARGE"), with 11.1 million parameters, and one with 159 thousand."""
BACKBONES.register("mdeq")(
    partial(mdeq, LARGE, width=32, branches=4, steps=18, backward_steps=20, dropout=0.3, warmup=20_000)
)
BACKBONES.register("mdeq_tiny")(
    partial(mdeq, TINY, width=24, branches=2, steps=22, backward_steps=24, dropout=0.25, warmup=3_000)
)


def defaults(name: str) -> dict[str, Any]:
    """The options of a backbone's builder with their default values; empty for a network of a library."""
    if is_external(name):
        return {}
    parameters = inspect.signature(BACKBONES[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def accepted(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The subset of `options` that the backbone `name` accepts."""
    if is_external(name):
        return {}
    parameters = inspect.signature(BACKBONES[name]).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return {option: value for option, value in options.items() if takes_any or option in parameters}


def csc_stem_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the CSC-layer given as `csc_stem` in a network's options; empty where there are none."""
    wanted = options.get("csc_stem", False)
    if wanted is False:
        return {}
    return asdict(CSCOptions()) | ({} if wanted is True else dict(wanted))
