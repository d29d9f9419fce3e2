"""Training from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ..config import Recipe
from ..engine.runtime import Runtime
from ..errors import UsageError
from ..progress import Progress
from ..studies.training import find_recipe, train_model, with_backbone
from .bench import Bench
from .publishing import publish
from .requests import folder_of
from .screen import progress_of


def train(
    recipe: str | Recipe = "sdnet18-digits",
    *,
    backbone: str | None = None,
    csc_stem: bool = False,
    weights: str | None = None,
    epochs: int | None = None,
    width: int | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    set_: Mapping[str, object] | None = None,
    log: str | None = None,
    name: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    eager: bool = False,
    device: str = "auto",
    precision: str = "auto",
    data_dir: Path | str | None = None,
    runs_dir: Path | str | None = None,
    progress: bool | Progress = True,
) -> Bench:
    """Trains a model by its recipe, measures its accuracy on clean test images, and returns its bench.

    Args:
        recipe: a shipped recipe by name, a `.toml` file, or a `Recipe`.
        backbone: another network in the recipe, also "torchvision:resnet18", "timm:..." or "nets.py:function".
        csc_stem: put a CSC-layer in the place of the network's first convolution.
        weights: to start from: "pretrained", a name of published ones, a safetensors file or a checkpoint.
        epochs, batch_size, limit, seed, name: in the place of the recipe's; the name is that of the run.
        width: channels of the first stage; 64 in the paper.
        set_: any fields of the recipe by name, such as {"optimizer.lr": 0.05}, in the place of all others.
        log: a tracker of Accelerate, such as "tensorboard", that logs each epoch live, in the folder of the run.
        resume: go on with an interrupted run.
        overwrite: replace a run of that name.
        eager: on CUDA, no captured steps.
        device, precision, data_dir, runs_dir, progress: of `Bench`.

    Raises:
        UsageError: an unknown recipe, field or tracker, a run of that name by another recipe, or an unfinished one
            without `resume`.
        TrainingError: the loss is not finite, or the tracker cannot log.
    """
    if resume and overwrite:
        raise UsageError("a run is either gone on with or replaced", expected="one of --resume and --overwrite")
    bars, runtime = progress_of(progress), Runtime.create(device, precision)
    found = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    chosen = with_backbone(found, backbone, width, csc_stem=csc_stem)
    chosen = chosen.replace(name=name, epochs=epochs, batch_size=batch_size, limit=limit, seed=seed, weights=weights)
    chosen = chosen.set(set_ or {})
    runs, data = folder_of(runs_dir, "runs"), folder_of(data_dir, "data")
    with runtime.computing(), torch.random.fork_rng([runtime.device] if runtime.device.type == "cuda" else []):
        trained = train_model(
            chosen, runs, data, runtime, bars, resume=resume, overwrite=overwrite, capture=not eager, log=log
        )
    publish(trained)
    return Bench(trained.model, device=device, precision=precision, data_dir=data, runs_dir=runs, progress=bars)
