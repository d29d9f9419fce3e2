"""Models by name: runs, shipped models, folders, and what has to be brought from elsewhere first."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from ..backbones import is_code, is_foreign, normalization
from ..config import MODELS, Backbone, ModelConfig, Origin
from ..data import Dataset
from ..errors import ModelError, UnknownNameError, UsageError
from ..files import make_folder
from ..progress import Progress
from .checkpoint import WEIGHTS, Model, read_model, write_model
from .hub import HUB, folder_name, pull
from .initial import PRETRAINED, initial_net

IMAGENET_CLASSES = 1000
"""Of the published weights of other people's networks."""


def load_model(path_or_name: str | Path, *, runs_dir: Path | str = "runs", progress: Progress | None = None) -> Model:
    """Loads a model from a folder, from the run of that name, or from the models shipped with the package.

    `hf:owner/name` is fetched from the Hub first, `torchvision:resnet50` or `timm:...` with its published weights; both
    are runs from then on. Only a run may name a Python file that builds its network.

    Raises:
        UnknownNameError: no such folder, run or shipped model.
        ModelError: its weights are missing, truncated, or those of another network, or cannot be fetched.
    """
    folder = find_model(path_or_name, Path(runs_dir), progress)
    return read_model(folder, run_code=folder.resolve().parent == Path(runs_dir).resolve())


def find_model(path_or_name: str | Path, runs_dir: Path, progress: Progress | None = None) -> Path:
    """The folder of a model, by path or name."""
    for folder in (Path(path_or_name), runs_dir / path_or_name, MODELS / path_or_name):
        if (folder / "config.json").exists():
            return folder
    if is_foreign(str(path_or_name)):
        return _obtain(str(path_or_name), runs_dir, progress or Progress())
    if Path(path_or_name).is_dir():
        raise ModelError(f"{path_or_name} is no model folder", expected="config.json in it")
    known = {path.parent.name for root in (runs_dir, MODELS) for path in root.glob(f"*/{WEIGHTS}")}
    raise UnknownNameError("model", str(path_or_name), known, hint="Train one with `sdnet-bench train`.")


def _obtain(name: str, runs_dir: Path, progress: Progress) -> Path:
    """The run of a model from elsewhere, which the first process to ask for it makes."""
    folder = runs_dir / (folder_name(name) if name.startswith(HUB) else Backbone(name=name).slug)
    make_folder(runs_dir)
    with FileLock(runs_dir / f".{folder.name}.lock"):
        if not (folder / "config.json").exists():
            return pull(name, folder, progress) if name.startswith(HUB) else add_model(name, runs_dir, progress)
    origin = Origin.read(folder)
    if origin is None or origin.source != name:
        hint = f"Give {name} another name: `sdnet-bench models {'pull' if name.startswith(HUB) else 'add'} --name`."
        raise UsageError(f"{folder} is another model", hint=hint)
    return folder


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
    """Makes a run of a network that was trained elsewhere.

    Args:
        backbone: its name, such as `torchvision:resnet50`.
        runs_dir: where the run goes.
        progress: is told what is done.
        dataset: whose images it classifies; by default ImageNet's.
        weights: "pretrained", the name of published weights, or a safetensors file.
        csc_stem: put a CSC-layer in the place of its first convolution, whose weights become the atoms.
        name: of the run.

    Raises:
        UsageError: there is such a run already, or nobody has published weights of this network.
        ModelError: the weights cannot be read or fetched, or are those of another network or of other classes.
    """
    if is_code(backbone) and weights == PRETRAINED:
        hint = f"Train it with `sdnet-bench train --backbone {backbone}`, or name a file with --weights."
        raise UsageError(f"{backbone} has no weights", hint=hint)
    statistics = normalization(backbone) or ((dataset.mean, dataset.std) if dataset else None)
    if statistics is None:
        raise UsageError(f"nobody says how {backbone} normalises", expected="--dataset, whose statistics are taken")
    options = {"mean": statistics[0], "std": statistics[1]} | ({"csc_stem": True} if csc_stem else {})
    built = Backbone(name=backbone, options=options)
    folder = runs_dir / (name or built.slug)
    if folder.exists():
        raise UsageError(f"{folder} is there already", hint="Choose another name with --name.")
    config = ModelConfig(
        backbone=built,
        num_classes=dataset.num_classes if dataset else IMAGENET_CLASSES,
        dataset=dataset.name if dataset else "imagenet",
    )
    net = initial_net(built, config.num_classes, weights, progress)
    write_model(folder, Origin(source=backbone, revision=weights), config, net)
    return folder
