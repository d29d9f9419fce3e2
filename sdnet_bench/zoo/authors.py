"""Converts checkpoints of the authors' release (github.com/Delay-Xili/SDNet) to model folders.

A checkpoint holds the weights by the names of the authors' modules, and the step size of every CSC-layer. It does not
hold lambda, which was 0.1 in training, nor the normalisation of the images, which is in `LOADERS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..backbones.options import CIFAR10_MEAN, CIFAR10_STD, DEPTHS
from ..config import Backbone, ModelConfig, Origin
from ..csc import csc_layers, get_lambda, project_to_unit_norm
from ..errors import ModelError, UnknownNameError, listed
from ..progress import Progress
from .checkpoint import build_net, making_run, run_folder, skeleton, write_model
from .fitting import MOST_LISTED, State, read_checkpoint, require_fit, shapes_of, unprefixed
from .weights import file_digest

BLOCKS = {
    kind.format(depth): blocks for depth, blocks in DEPTHS.items() for kind in ("resnet{}", "sdnet{}", "sdnet{}_all")
}
"""Blocks in each of the four stages of the released networks, by our names."""

RESIDUAL = {"shortcut": True, "inner_relu": False, "stem_relu": False}
"""Options of the release's SDNet-All with shortcuts."""


class Loader(NamedTuple):
    """A data set of the release: number of classes, side of the stem's kernel, and normalisation of the pixels."""

    classes: int
    kernel_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


LOADERS = {
    "cifar10": Loader(10, 3, CIFAR10_MEAN, CIFAR10_STD),
    "cifar100": Loader(100, 3, CIFAR10_MEAN, CIFAR10_STD),
    "imagenet": Loader(1000, 7, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""The loaders of the release by our names of the data sets; CIFAR-100 is normalised with statistics of CIFAR-10."""


def convert(
    path: Path,
    backbone: str,
    runs_dir: Path,
    progress: Progress,
    *,
    dataset: str | None = None,
    name: str | None = None,
) -> Path:
    """Makes a run of a released checkpoint, and returns its folder, `name` in `runs_dir`.

    Its logits equal those of the released network with these weights. The tensors of the file and of our network must
    correspond one to one. Atoms are scaled to unit norm, as the released network does in each forward pass; lambda is
    the backbone's default, 0.1.

    Args:
        path: a file of `torch.save` with a state dict, also inside of dicts; no code in it is run.
        backbone: name of the network, one of `BLOCKS`.
        progress: receives notes on the assumptions made.
        dataset: one of `LOADERS`; by default the one with these classes and this stem.

    Raises:
        UsageError: the run exists already, or there is no such released network.
        ModelError: the file cannot be read, or holds another network.
    """
    if backbone not in BLOCKS:
        raise UnknownNameError("released network", backbone, BLOCKS)
    state, _ = unprefixed(read_checkpoint(path), _ends(backbone))
    config = _configure(path, state, backbone, dataset)
    folder = run_folder(runs_dir, name or f"{backbone}-{config.dataset}-released")
    shapes = shapes_of(skeleton(config))
    names = _their_names(shapes, backbone)
    wanted = {theirs: shapes[ours] for theirs, ours in names.items()}
    require_fit(shapes_of(state), wanted, f"{path} is no released {backbone}")
    net = build_net(config)
    _fill(net, state, names)
    with making_run(folder) as made:
        write_model(made, Origin(source=path.name, revision=file_digest(path)), config, net)
    progress.note(f"{config.dataset}: pixels are normalised as the release's loader does")
    if csc_layers(net):
        progress.note(f"lambda {get_lambda(net):g}, which is not in the file: the release trains with 0.1")
    return folder


def _configure(path: Path, state: State, backbone: str, dataset: str | None) -> ModelConfig:
    """The configuration that the shapes of stem and head determine."""
    names = _ends(backbone)
    stem, head = (state.get(name, torch.empty(())) for name in names)
    if (stem.ndim, head.ndim) != (4, 1):
        got = listed(state, MOST_LISTED)
        raise ModelError(f"{path} is no released {backbone}", expected=f"{names[0]} and {names[1]} in it", got=got)
    found = _dataset(path, len(head), stem.shape[-1], dataset)
    loader = LOADERS[found]
    options = {"mean": loader.mean, "std": loader.std, "width": len(stem)}
    options |= {"stem": "imagenet"} if found == "imagenet" else {}
    options |= RESIDUAL if backbone.endswith("_all") and any(".shortcut." in each for each in state) else {}
    return ModelConfig(backbone=Backbone(name=backbone, options=options), num_classes=loader.classes, dataset=found)


def _dataset(path: Path, classes: int, kernel_size: int, wanted: str | None) -> str:
    """The data set with this number of classes and this stem; `wanted` where it is given."""
    if wanted is not None and wanted not in LOADERS:
        raise UnknownNameError("data set of the release", wanted, LOADERS)
    choices = {wanted: LOADERS[wanted]} if wanted else LOADERS
    fitting = [name for name, loader in choices.items() if loader[:2] == (classes, kernel_size)]
    if not fitting:
        expected = " or ".join(f"{name}'s {_sizes(*loader[:2])}" for name, loader in choices.items())
        raise ModelError(f"{path} is of other images", expected=expected, got=_sizes(classes, kernel_size))
    return fitting[0]


def _sizes(classes: int, kernel_size: int) -> str:
    return f"{classes} classes behind a {kernel_size}x{kernel_size} stem"


def _ends(backbone: str) -> tuple[str, str]:
    """The release's names of the first weight and the last bias."""
    return f"{_stem(backbone)}.weight", "linear.bias"


def _stem(backbone: str) -> str:
    """The release's name of the first layer."""
    return "layer0.0" if backbone.startswith("resnet") else "layer0.0.dn"


def _their_names(tensors: Iterable[str], backbone: str) -> dict[str, str]:
    """Our names of tensors by the names of the release."""
    modules = {"stem": _stem(backbone), "bn": "layer0.1", "pool": "layer0.2.dn"}
    modules |= {"classifier": "linear", **dict(_blocks(backbone))}
    names: dict[str, str] = {}
    for ours in tensors:
        module = next((module for module in modules if ours.startswith(f"{module}.")), None)
        if module and not ours.endswith(".lambda_"):
            tensor = ours.removeprefix(module).replace(".dictionary", ".weight")
            names[modules[module] + tensor] = ours
    return names


def _blocks(backbone: str) -> Iterator[tuple[str, str]]:
    """Pairs of our and the release's names of the modules after the stem: residual blocks, or parts of CSC blocks.

    The parts of a chain are numbered here, those of a block with shortcuts have names.
    """
    places = [(stage, place) for stage, count in enumerate(BLOCKS[backbone], 1) for place in range(count)]
    for number, (stage, place) in enumerate(places):
        if not backbone.endswith("_all"):
            yield f"stages.{number}", f"layer{stage}.{place}"
            continue
        theirs = f"layer{stage}.layers.{place}"
        for link, part in enumerate(("conv1", "bn1", "conv2", "bn2")):
            for ours in (str(link), part):
                yield f"stages.{number}.{ours}", f"{theirs}.{part}" + ".dn" * part.startswith("conv")
        yield f"stages.{number}.shortcut", f"{theirs}.shortcut"


@torch.no_grad()
def _fill(net: nn.Module, state: State, names: Mapping[str, str]) -> None:
    """Loads every tensor into the network, and scales the atoms."""
    places = net.state_dict()
    for theirs, ours in names.items():
        places[ours].copy_(state[theirs])
    for layer in csc_layers(net):
        layer.dictionary.copy_(project_to_unit_norm(layer.dictionary))
