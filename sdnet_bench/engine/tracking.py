"""Live logs of a training, by the trackers that Accelerate knows by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from torch import Tensor, nn

from ..config import Recipe
from ..csc import CSCConv2d, csc_layers
from ..data import Split
from ..errors import TrainingError, UnknownNameError, UsageError, reason
from .batches import BATCH_SIZE
from .runtime import Runtime

Row = dict[str, float]
"""The figures of an epoch by name."""
Report = Callable[[Row], None]
LOGS = "logs"
"""Folder of the logs in the folder of a run."""
FOLDER_OPTIONS = {"wandb": "dir", "dvclive": "dir", "swanlab": "logdir"}
"""The option by which a tracker takes the folder of its logs, where Accelerate does not hand it on."""


def check_tracker(name: str | None) -> None:
    """Raises a `UsageError` for a tracker that is unknown or whose package is not installed; None is no tracker."""
    if name is not None and name not in LOGGER_TYPE_TO_CLASS:
        raise UnknownNameError("tracker", name, LOGGER_TYPE_TO_CLASS)
    if name is not None and name not in map(str, get_available_trackers()):
        raise UsageError(f"{name} is not installed", hint=f"Install it with `pip install {name}`.")


@contextmanager
def tracking(name: str | None, folder: Path, recipe: Recipe) -> Iterator[Report | None]:
    """Yields a function that logs the row of an epoch; None where no tracker is named.

    The step is the number of the epoch. A training that goes on logs into the same folder. A `TrainingError` where the
    tracker does not start or does not take a row.
    """
    if name is None:
        yield None
        return
    check_tracker(name)
    accelerator = Accelerator(log_with=name, project_dir=str(folder / LOGS))

    def report(row: Row) -> None:
        step = int(row["epoch"])
        try:
            if not accelerator.trackers:
                accelerator.init_trackers(recipe.name, **_start(recipe, folder / LOGS, step))
            accelerator.log({figure: value for figure, value in row.items() if figure != "epoch"}, step=step)
        except Exception as error:
            hint = "Go on with --resume, or without --log."
            raise TrainingError(f"{name} cannot log: {reason(error)}", hint=hint) from error

    try:
        yield report
    finally:
        for tracker in accelerator.trackers:  # `end_training` would end the group of processes too
            tracker.finish()


def _start(recipe: Recipe, logs: Path, step: int) -> dict[str, Any]:
    """What trackers start with: the settings of a training that begins, and options of each tracker."""
    logs.mkdir(exist_ok=True)
    options: dict[str, dict[str, Any]] = {name: {option: str(logs)} for name, option in FOLDER_OPTIONS.items()}
    options["tensorboard"] = {"purge_step": step}  # rows of epochs that are trained again are replaced
    return {"config": _flat(recipe.model_dump()) if step == 1 else None, "init_kwargs": options}


@torch.no_grad()
def stem_figures(net: nn.Module, split: Split, runtime: Runtime) -> Row:
    """The first CSC-layer on the first batch of a split: lambda, step size, mean residual and share of zeros.

    Empty without a CSC-layer. The network, on the runtime's device, is in eval mode.
    """
    found: Row = {}

    def observe(stem: CSCConv2d, inputs: tuple[Tensor, ...], code: Tensor) -> None:
        found["stem/lambda"], found["stem/step_size"] = float(stem.lambda_), float(stem.step_size)
        found["stem/residual"] = float(stem.residual(inputs[0], code).flatten(1).norm(dim=1).mean())
        found["stem/share_of_zeros"] = float((code == 0).float().mean())

    for stem in csc_layers(net)[:1]:
        with stem.register_forward_hook(observe), runtime.autocast():
            net(runtime.to_pixels(next(split.batches(BATCH_SIZE, runtime.device)).images))
    return found


def _flat(content: Mapping[str, object], before: str = "") -> dict[str, bool | int | float | str]:
    """The fields of a recipe by their full names, `optimizer.lr`, without those that are None."""
    found: dict[str, bool | int | float | str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        elif value is not None:
            found[before + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found
