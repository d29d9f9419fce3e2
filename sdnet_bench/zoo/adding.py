"""Runs of models that were trained elsewhere: of the Hub, of a library, or of a file of weights."""

from __future__ import annotations

from pathlib import Path

from ..config import CONFIG, Backbone, ModelConfig, Origin
from ..csc import get_lambda
from ..data import Dataset
from ..errors import ModelError, UsageError
from ..files import holding, make_folder
from ..progress import Progress
from .checkpoint import check_run_name, making_run, run_folder, write_model
from .classes import differences, is_same
from .hub.layout import HUB, folder_name
from .initial import PRETRAINED, check_forward, configure, find_weights, initial_net

IMAGENET = {"dataset": "imagenet", "classes": ()}
"""Of the configuration of published weights, where they are for 1000 classes."""


def obtain(name: str, runs_dir: Path, progress: Progress) -> Path:
    """The run of a model from the Hub or a library; the first process that asks for it makes it."""
    folder = runs_dir / check_run_name(folder_name(name) if name.startswith(HUB) else Backbone(name=name).slug)
    make_folder(runs_dir)
    with holding(runs_dir / f".{folder.name}.lock", progress, f"makes {folder}"):
        if not (folder / CONFIG).exists():
            return _pull(name, folder, progress) if name.startswith(HUB) else add_model(name, runs_dir, progress)
    if not _is_of(name, Origin.read(folder)):
        hint = f"Give {name} another name: `sdnet-bench models {'pull' if name.startswith(HUB) else 'add'} --name`."
        raise UsageError(f"{folder} is another model", hint=hint)
    return folder


def _pull(name: str, folder: Path, progress: Progress) -> Path:
    from .hub.download import pull  # the library of the Hub takes its time, and warns where a notebook has no widgets

    return pull(name, folder, progress)


def _is_of(name: str, origin: Origin | None) -> bool:
    """Whether the origin is this name, for a library's network with its recommended weights."""
    if origin is None or origin.source != name:
        return False
    return name.startswith(HUB) or origin.revision == find_weights(name, PRETRAINED).revision


def add_model(
    backbone: str,
    runs_dir: Path,
    progress: Progress,
    *,
    dataset: Dataset | None = None,
    weights: str = PRETRAINED,
    csc_stem: bool = False,
    name: str | None = None,
) -> Path:
    """Makes a run of a network that was trained elsewhere; returns its folder, `name` in `runs_dir`.

    Args:
        backbone: its name, such as `torchvision:resnet50`.
        dataset: whose images it classifies; by default ImageNet's.
        weights: "pretrained", the name of published weights, or a safetensors file.
        csc_stem: put a CSC-layer in the place of its first convolution, whose weights become the atoms.

    Raises:
        UsageError: there is such a run already, or nobody has published weights of this network.
        ModelError: the weights cannot be read or fetched, or are those of another network or of other classes.
    """
    given = find_weights(backbone, weights)
    config = configure(Backbone(name=backbone, options={"csc_stem": True} if csc_stem else {}), dataset, given)
    is_file = given.revision.startswith("sha256 ")
    if dataset and not is_file and not is_same(theirs := config.model_copy(update=IMAGENET), dataset):
        raise ModelError(f"{backbone} is published for other classes", **differences(theirs, dataset))
    folder = run_folder(runs_dir, name or config.backbone.slug)
    net = initial_net(config, given, progress)
    if dataset:
        check_forward(net, backbone, dataset)
    if csc_stem:  # a file may bring a lambda of its own
        config = _with_lambda(config, get_lambda(net))
    with making_run(folder) as made:
        write_model(made, Origin(source=backbone, revision=given.revision), config, net)
    progress.note(f"{backbone} with the weights {given.revision} is in {folder}")
    return folder


def _with_lambda(config: ModelConfig, lambda_: float) -> ModelConfig:
    """The configuration of a network whose CSC stem has that lambda."""
    options = config.backbone.options | {"csc_stem": {"lambda_": lambda_}}
    return config.model_copy(update={"backbone": config.backbone.model_copy(update={"options": options})})
