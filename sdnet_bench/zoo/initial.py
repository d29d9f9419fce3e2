"""Networks before training: with fresh weights, published weights, or the weights of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..backbones import External, Published, build, is_external, normalization, published, put_csc_stem
from ..config import Backbone, ModelConfig
from ..data import Batch, Dataset, fixed_classes
from ..errors import BenchError, UsageError, reason
from ..progress import Progress
from .checkpoint import build_net
from .fitting import CHECKPOINTS, State, read_checkpoint, require_fit, shapes_of, unprefixed
from .weights import load_weights, read_weights, weights_digest

PRETRAINED = "pretrained"
"""Name of the weights that a network's library recommends."""
IMAGENET_CLASSES = 1000
"""Number of classes of published weights."""

STATISTICS = {"normalize.mean": (".mean", "_mean", ".mu"), "normalize.std": (".std", "_std", ".sigma")}
"""How the names of the statistics of pixels end, ours and those in files of others."""


def configure(backbone: Backbone, dataset: Dataset | None, given: Published | None = None) -> ModelConfig:
    """The configuration of a network for its images and the weights that it starts with.

    Args:
        backbone: its name and options; these come first.
        dataset: whose images it classifies; None for ImageNet's.
        given: weights from elsewhere, which say how their network is built: mean and standard deviation, image size.

    Raises:
        UsageError: without a data set nobody says how images are normalised.
    """
    statistics = normalization(backbone.name) or ((dataset.mean, dataset.std) if dataset else None)
    if statistics is None:
        what = f"nobody says how {backbone.name} normalises"
        raise UsageError(what, expected="--dataset, whose statistics are taken")
    options = {"mean": statistics[0], "std": statistics[1]} | (given.options if given else {}) | backbone.options
    classes = dataset.classes if dataset else ()
    return ModelConfig(
        backbone=Backbone(name=backbone.name, options=options),
        num_classes=dataset.num_classes if dataset else IMAGENET_CLASSES,
        dataset=dataset.name if dataset else "imagenet",
        classes=() if dataset and classes == fixed_classes(dataset.name) else classes,
    )


def initial_net(
    config: ModelConfig, given: Published | None, progress: Progress, *, new_head: bool = False
) -> nn.Module:
    """A network, fresh or with weights from elsewhere; a CSC-layer in its stem starts from these.

    Args:
        config: what to build.
        given: the weights; None for fresh ones, drawn from torch's global generator.
        new_head: whether weights for other classes may be left out.

    Raises:
        ModelError: the weights cannot be read or fetched, or are those of another network.
    """
    if given is None:
        return build_net(config)
    state = given.fetch()
    options = dict(config.backbone.options)
    csc_stem = options.pop("csc_stem", False)
    has_stem = csc_stem is not False and any(name.endswith(".dictionary") for name in state)
    options["csc_stem"] = csc_stem if has_stem else False
    net = build(config.backbone.name, num_classes=config.num_classes, **options)
    _fill(net, state, config.num_classes if new_head else None, given.name, progress)
    return net if has_stem else put_csc_stem(net, csc_stem)


def check_forward(net: nn.Module, name: str, dataset: Dataset, trained: int = 0) -> None:
    """Classifies an image, so that a wrong network or wrong images fail before a file is touched.

    Args:
        net: on the CPU; in eval mode afterwards. It and torch's generator are otherwise left as they were.
        trained: the number of images of which the gradient of a training step is computed, too.

    Raises:
        UsageError: it takes no images of that size, makes no logits for these classes, or cannot be trained.
    """
    with torch.no_grad():
        try_forward(net.eval(), name, _first(dataset, 1), dataset.num_classes)
    if trained:
        try_forward(net.train(), name, _first(dataset, trained), dataset.num_classes)
    net.zero_grad()
    net.eval()


def _first(dataset: Dataset, count: int) -> Batch:
    return next(dataset.open("train").subset(range(count)).batches(count, torch.device("cpu")))


def try_forward(net: nn.Module, name: str, batch: Batch, num_classes: int | None = None) -> Tensor:
    """The logits of a batch, `(N, num_classes)`, for None of any number of classes; in training mode a gradient, too.

    Buffers and torch's generator are left as they were. A `UsageError` as in `check_forward`.
    """
    count, mode = len(batch.labels), " in training" if net.training else ""
    try:
        with _without_trace(net):
            logits = net(batch.images.float().div_(255))
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            classes = got[1] if num_classes is None and len(got) == 2 else num_classes
            if got != (count, classes):
                expected = (count, classes or "number of classes")
                raise UsageError(f"{name} makes no logits{mode}", expected=expected, got=got)
            if net.training and not logits.requires_grad:
                raise UsageError(f"{name} has nothing to train", expected="logits with a gradient")
            if net.training:
                F.cross_entropy(logits.float(), batch.labels).backward()  # type: ignore[no-untyped-call]
            found: Tensor = logits.detach()
            return found
    except BenchError:
        raise
    except Exception as error:  # a network of others may raise anything
        size = f"{batch.images.shape[-2]}x{batch.images.shape[-1]}"
        at_once = f"{mode}, {count} at once" if net.training else ""
        raise UsageError(f"{name} takes no images of {size}{at_once}: {reason(error)}") from None


@contextmanager
def _without_trace(net: nn.Module) -> Iterator[None]:
    """Restores buffers and the CPU's generator when the block ends."""
    kept = {name: buffer.clone() for name, buffer in net.named_buffers() if not is_lazy(buffer)}
    with torch.random.fork_rng(devices=[]):
        yield
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            buffer.copy_(kept.get(name, buffer))


def find_weights(backbone: str, weights: str) -> Published:
    """The weights of that name. A file is hashed; no weights are fetched yet.

    A `UsageError` where there are none of that name, a `ModelError` where the file cannot be read.
    """
    path = Path(weights)
    if path.suffix in (".safetensors", *CHECKPOINTS):
        fetch = partial(read_checkpoint, path) if path.suffix in CHECKPOINTS else partial(read_weights, [path])
        return Published(f"sha256 {weights_digest([path])}", {}, fetch, weights)
    wanted = None if weights == PRETRAINED else weights
    found = published(backbone, wanted) if is_external(backbone) else None
    if found is None:
        raise UsageError(f"{backbone} has no published weights", expected="a .safetensors file or .pth", got=weights)
    return found._replace(name=weights)


def _fill(net: nn.Module, state: State, new_classes: int | None, weights: str, progress: Progress) -> None:
    """Loads weights strictly, except for a head of other classes, or a missing head, where `new_classes` are given."""
    fresh = net.state_dict()
    ours, prefix = unprefixed(state, fresh)
    if isinstance(net, External) and not ("normalize.mean" in ours and any(name.startswith("net.") for name in ours)):
        ours, prefix = _behind_normalization(state, fresh, weights, progress)
    if prefix:
        progress.note(f"{weights}: the tensors under {prefix}")
    state = ours
    head = [name for name, own in fresh.items() if _is_head(own, state.get(name), new_classes)]
    state |= {name: fresh[name] for name in head}
    complaint = f"{weights} are the weights of another network, or of other classes"
    require_fit(shapes_of(state), shapes_of(net, state), complaint)
    load_weights(net, state)
    if head:
        progress.note(f"{weights}: fresh for these classes: {', '.join(sorted(head))}")


def _behind_normalization(state: State, fresh: State, weights: str, progress: Progress) -> tuple[State, str]:
    """The tensors of a bare network by our names and their prefix; with the statistics of pixels, where it has some."""
    inner, prefix = unprefixed(state, {name.removeprefix("net.") for name in fresh.keys() - STATISTICS.keys()})
    found = _statistics({name: tensor for name, tensor in state.items() if not name.startswith(prefix)})
    if found:
        progress.note(f"{weights}: pixels are normalised with the mean and the deviation in it")
    statistics = {name: found.get(name, fresh[name]).view_as(fresh[name]) for name in STATISTICS}
    return statistics | {f"net.{name}": tensor for name, tensor in inner.items()}, prefix


def _statistics(beside: State) -> State:
    """Mean and standard deviation of pixels among the tensors that a file has beside its network, if they are clear.

    Those of pixels from 0 to 255 are scaled.
    """
    found = {
        ours: [tensor.flatten() for name, tensor in beside.items() if name.endswith(theirs) and tensor.numel() == 3]
        for ours, theirs in STATISTICS.items()
    }
    if not all(values and all(torch.equal(values[0], each) for each in values) for values in found.values()):
        return {}
    scale = 255 if found["normalize.mean"][0].max() > 1 else 1
    return {ours: values[0] / scale for ours, values in found.items()}


def _is_head(fresh: Tensor, given: Tensor | None, new_classes: int | None) -> bool:
    """Whether a weight belongs to the head, and the given one is missing or is for other classes."""
    if fresh.shape[:1] != (new_classes,):
        return False
    return given is None or (fresh.shape != given.shape and fresh.shape[1:] == given.shape[1:])
