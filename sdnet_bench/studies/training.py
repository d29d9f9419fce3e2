"""Training of a recipe to a model folder with its first records: the training, and accuracy on clean test images."""

from __future__ import annotations

import shutil
import statistics
from contextlib import nullcontext
from pathlib import Path

from torch import nn

from ..backbones import Published, accepted, count_parameters
from ..config import CONFIG, MODELS, ORIGIN, RECIPE, STATE, ModelConfig, Recipe
from ..data import Dataset, open_dataset
from ..engine.runtime import Runtime, seed_everything
from ..engine.tracking import check_tracker, tracking
from ..engine.train import Training, images_per_step, train
from ..errors import UnknownNameError, UsageError
from ..files import holding, make_folder
from ..progress import Progress
from ..records import Record
from ..zoo.checkpoint import Model, read_model, write_making, write_model
from ..zoo.classes import differences, is_same
from ..zoo.initial import check_forward, configure, find_weights, initial_net
from ..zoo.mark import is_marked
from .accuracy import measure_clean
from .workbench import Workbench


def find_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or any TOML file by path."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return Recipe.read(path)
    shipped = MODELS / name_or_path / RECIPE
    if not shipped.exists():
        known = [recipe.parent.name for recipe in MODELS.glob("*/recipe.toml")]
        raise UnknownNameError("recipe", name_or_path, known, hint="A recipe of your own is a .toml file.")
    return Recipe.read(shipped)


def with_backbone(recipe: Recipe, name: str | None, width: int | None = None, *, csc_stem: bool = False) -> Recipe:
    """The recipe with another network, another width, or a CSC-layer as its first convolution.

    Another network keeps those options that it takes, and gives the recipe a new name; so does a CSC stem.
    """
    old = recipe.backbone
    kept = old.options if name in (None, old.name) else accepted(name, old.options)
    changes = ({"width": width} if width else {}) | ({"csc_stem": True} if csc_stem else {})
    changed = recipe.replace(backbone={"name": old.name if name is None else name, "options": kept | changes})
    return changed.replace(name=recipe.name.replace(old.slug, changed.backbone.slug))


def train_model(
    recipe: Recipe,
    runs_dir: Path,
    data_dir: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    resume: bool = False,
    overwrite: bool = False,
    capture: bool = True,
    log: str | None = None,
) -> Workbench:
    """Trains into `runs_dir / recipe.name`, measures clean test accuracy, and returns the workbench.

    A finished run of the same recipe is taken as it is. An interrupted one goes on with `resume`; it, and a run of
    another recipe, is a `UsageError` otherwise, unless `overwrite` says to remove it. So is a run that another process
    trains. `capture` is that of `engine.train`, and `log` a tracker's name, see `tracking`.
    """
    check_tracker(log)
    folder, dataset = runs_dir / recipe.name, open_dataset(recipe.dataset, data_dir, progress)
    given = find_weights(recipe.backbone.name, recipe.weights) if recipe.weights is not None else None
    config = configure(recipe.backbone, dataset, given)
    seed_everything(recipe.seed)
    net = initial_net(config, given, progress, new_head=True)
    check_forward(net, recipe.backbone.name, dataset, min(2, images_per_step(recipe, dataset, runtime)))
    is_first, lock = runtime.processes.is_main_process, folder.with_name(f".{folder.name}.lock")
    with holding(lock, progress, f"trains {folder}", waits=False) if is_first else nullcontext():
        if is_first:
            _claim(folder, recipe, dataset, resume, overwrite)
        runtime.processes.wait_for_everyone()
        training = None
        if is_finished(folder):
            model = read_model(folder, run_code=is_marked(folder))
        else:
            with tracking(log if is_first else None, folder, recipe) as report:
                training = train(
                    recipe, net, dataset, folder, runtime, progress, resume=resume, capture=capture, report=report
                )
            model = _write(folder, recipe, config, training.net, runtime)
        bench = Workbench(model, dataset, folder, runtime, progress, data_dir=data_dir)
        if not training:
            progress.note(f"{folder} is trained already; --overwrite trains it anew")
        if training and is_first:
            _record_training(bench, recipe, training, given)
            (folder / STATE).unlink()
        measure_clean(bench)
    return bench


def _claim(folder: Path, recipe: Recipe, dataset: Dataset, resume: bool, overwrite: bool) -> None:
    """Makes the folder of the run; a `UsageError` where it holds a run that may not be continued."""
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    if (folder / ORIGIN).exists():
        hint = "Choose another --name, or replace it with --overwrite."
        raise UsageError(f"{folder} was not trained here", hint=hint)
    finished = folder / RECIPE
    if finished.exists() and Recipe.read(finished).replace(name=recipe.name) != recipe:
        hint = "Replace it with --overwrite, or choose another --name."
        raise UsageError(f"{folder} was trained by another recipe", hint=hint)
    if is_finished(folder) and not is_same(config := ModelConfig.read(folder), dataset):
        faults = differences(config, dataset) | {"hint": "Replace it with --overwrite, or choose another --name."}
        raise UsageError(f"{folder} was trained on other classes", **faults)
    if folder.exists() and not resume and not is_finished(folder):
        hint = "Go on with --resume, replace it with --overwrite, or choose another --name."
        raise UsageError(f"{folder} is there already, and unfinished", hint=hint)
    make_folder(folder)
    write_making(folder, recipe)


def _write(folder: Path, recipe: Recipe, config: ModelConfig, net: nn.Module, runtime: Runtime) -> Model:
    """Writes the trained network as the first process, and reads it back as every process."""
    is_first = runtime.processes.is_main_process
    model = write_model(folder, recipe, config, net) if is_first else None
    runtime.processes.wait_for_everyone()
    return model or read_model(folder, run_code=True)


def is_finished(folder: Path) -> bool:
    """Whether a run's model has been written, and its training recorded."""
    return (folder / CONFIG).exists() and not (folder / STATE).exists()


def _record_training(bench: Workbench, recipe: Recipe, training: Training, given: Published | None) -> None:
    """Records parameters, peak memory (bytes), images/s and epochs of a training, for Table 1."""
    metrics = {
        "parameters": count_parameters(training.net),
        "peak_memory": max(row["peak_memory"] for row in training.history),
        "images_per_second": statistics.median(row["images_per_second"] for row in training.history),
        "epochs": recipe.epochs,
    }
    images = bench.images("train", recipe.limit)
    seconds = sum(row["seconds"] for row in training.history)
    provenance = bench.runtime.provenance() | {"seed": recipe.seed, "seconds": round(seconds, 1)}
    if training.how:
        provenance["step"] = training.how
    if given:
        provenance["started_from"] = given.revision
    cell, n = bench.cell(images, kind="training"), len(bench.split_of(images))
    if cell in bench.store:  # it ended before its state was removed
        return
    bench.store.append(Record(model=recipe.name, cell=cell, n=n, metrics=metrics, provenance=provenance))
