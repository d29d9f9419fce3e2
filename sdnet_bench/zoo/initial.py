"""What a network starts from: fresh weights, those that its library publishes, or those of a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..backbones import External, Published, build, is_external, normalization, published, put_csc_stem
from ..config import Backbone, ModelConfig, Recipe
from ..data import Dataset
from ..errors import ModelError, UsageError
from ..progress import Progress
from .weights import read_weights, weights_digest

PRETRAINED = "pretrained"
"""Those that a network's library recommends."""


def initial_net(
    backbone: Backbone, num_classes: int, weights: str | None, progress: Progress, *, new_head: bool = False
) -> nn.Module:
    """A network, fresh or with weights from elsewhere; a CSC-layer in its stem starts from these.

    Args:
        backbone: what to build.
        num_classes: length of the logits.
        weights: "pretrained", the name of published weights, or a safetensors file; None for fresh ones.
        progress: is told what stays fresh.
        new_head: whether weights for other classes may be left out.

    Raises:
        UsageError: there are no weights of that name.
        ModelError: the weights cannot be read or fetched, or are those of another network.
    """
    if weights is None:
        return build(backbone.name, num_classes=num_classes, **backbone.options)
    state = find_weights(backbone.name, weights).fetch()
    options = dict(backbone.options)
    csc_stem = options.pop("csc_stem", False)
    has_stem = csc_stem is not False and any(name.endswith(".dictionary") for name in state)
    net = build(backbone.name, num_classes=num_classes, csc_stem=csc_stem if has_stem else False, **options)
    _fill(net, state, num_classes if new_head else None, weights, progress)
    return net if has_stem else put_csc_stem(net, csc_stem)


@torch.no_grad()
def check_forward(net: nn.Module, name: str, dataset: Dataset) -> None:
    """Classifies one image: what is wrong with network or images shows before a file is touched.

    Args:
        net: fresh or not; it is in eval mode afterwards.
        name: of its backbone.
        dataset: whose images it shall classify.

    Raises:
        UsageError: it takes no images of that size, or makes no logits for these classes.
    """
    (batch,) = dataset.open("train").subset([0]).batches(1, torch.device("cpu"))
    try:
        logits = net.eval()(batch.images.float().div_(255))
    except RuntimeError as error:
        size = f"{batch.images.shape[-2]}x{batch.images.shape[-1]}"
        raise UsageError(f"{name} takes no images of {size}: {str(error).splitlines()[0]}") from None
    got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if got != (1, dataset.num_classes):
        raise UsageError(f"{name} makes no logits", expected=(1, dataset.num_classes), got=got)


def find_weights(backbone: str, weights: str) -> Published:
    """The weights of that name; nothing is read but what says which they are."""
    if weights.endswith(".safetensors"):
        files = [Path(weights)]
        return Published(f"sha256 {weights_digest(files)}", {}, partial(read_weights, files))
    wanted = None if weights == PRETRAINED else weights
    found = published(backbone, wanted) if is_external(backbone) else None
    if found is None:
        raise UsageError(f"{backbone} has no published weights", expected="a .safetensors file", got=weights)
    return found


def _fill(net: nn.Module, state: dict[str, Tensor], new_classes: int | None, weights: str, progress: Progress) -> None:
    """Loads weights strictly, but for those of a head with other classes, or with none, where it may be new."""
    fresh = net.state_dict()
    if isinstance(net, External) and "normalize.mean" not in state:
        inner = {f"net.{name}": tensor for name, tensor in state.items()}
        state = {name: fresh[name] for name in ("normalize.mean", "normalize.std")} | inner
    head = [name for name, own in fresh.items() if _is_head(own, state.get(name), new_classes)]
    try:
        net.load_state_dict(state | {name: fresh[name] for name in head})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{weights} are the weights of another network, or of other classes: {reason}") from None
    if head:
        progress.note(f"{weights}: fresh for these classes: {', '.join(sorted(head))}")


def _is_head(fresh: Tensor, given: Tensor | None, new_classes: int | None) -> bool:
    """Whether a weight belongs to the classes, and is given for others or for none."""
    if fresh.shape[:1] != (new_classes,):
        return False
    return given is None or (fresh.shape != given.shape and fresh.shape[1:] == given.shape[1:])


def configure(recipe: Recipe, dataset: Dataset) -> ModelConfig:
    """What a recipe's network is, once its data set is known: its classes, mean and standard deviation.

    Somebody else's network is normalised as its library says.
    """
    mean, std = normalization(recipe.backbone.name) or (dataset.mean, dataset.std)
    options = {"mean": mean, "std": std, **recipe.backbone.options}
    return ModelConfig(
        backbone=Backbone(name=recipe.backbone.name, options=options),
        num_classes=dataset.num_classes,
        dataset=dataset.name,
    )


def start(recipe: Recipe, dataset: Dataset, progress: Progress) -> nn.Module:
    """The network that a recipe's training starts with."""
    config = configure(recipe, dataset)
    return initial_net(config.backbone, config.num_classes, recipe.weights, progress, new_head=True)
