"""Models by name: runs, shipped models, folders, and models that are fetched first. Finding one needs no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..backbones import is_external
from ..config import CONFIG, MODELS, RECIPE
from ..errors import ModelError, UnknownNameError
from ..files import holding
from ..progress import Progress
from .mark import is_marked

if TYPE_CHECKING:
    from .checkpoint import Model


def load_model(path_or_name: str | Path, *, runs_dir: Path | str = "runs", progress: Progress | None = None) -> Model:
    """Loads a model from a folder, from the run of that name, or from the models shipped with the package.

    `hf:owner/name` is fetched from the Hub first, `torchvision:resnet50` or `timm:...` with its published weights; both
    are runs from then on. Only a model that this user has trained or added may name a Python file that builds its
    network.

    Raises:
        UnknownNameError: no such folder, run or shipped model.
        ModelError: its weights are missing, truncated, or those of another network, or cannot be fetched.
    """
    from .checkpoint import read_model

    folder = find_model(path_or_name, Path(runs_dir), progress)
    return read_model(folder, run_code=is_marked(folder))


def find_model(path_or_name: str | Path, runs_dir: Path, progress: Progress | None = None) -> Path:
    """The folder of a model, by path or name; a run that another process makes is waited for."""
    run = runs_dir / path_or_name
    for folder in (Path(path_or_name), run, MODELS / path_or_name):
        if folder == run:
            _await(run, progress or Progress())
        if os.path.exists(folder / CONFIG):  # False for a name that no file can have
            return folder
    if is_external(str(path_or_name)):
        from .adding import obtain

        return obtain(str(path_or_name), runs_dir, progress or Progress())
    if os.path.isdir(path_or_name):
        raise ModelError(f"{path_or_name} is no model folder", expected="config.json in it")
    known = {path.parent.name for root in (runs_dir, MODELS) for path in root.glob("*/model*.safetensors")}
    raise UnknownNameError("model", str(path_or_name), known, hint="Train one with `sdnet-bench train`.")


def _await(run: Path, progress: Progress) -> None:
    """Waits while another process makes a run; a `ModelError` where it is unfinished: no other model has its name."""
    lock = run.parent / f".{run.name}.lock"
    if not os.path.exists(run / CONFIG) and os.path.exists(lock):
        with holding(lock, progress, f"makes {run}"):
            pass
    if not os.path.exists(run / CONFIG) and os.path.exists(run / RECIPE):
        hint = f"Go on with `sdnet-bench train {run / RECIPE} --resume`, or remove it."
        raise ModelError(f"{run} is unfinished", hint=hint)
