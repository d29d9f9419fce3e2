"""Exports a model with parameters in bfloat16, for publication."""

from __future__ import annotations

from pathlib import Path

from ..config import CONFIG, ORIGIN, RECIPE, Origin, Recipe
from ..errors import UsageError
from ..zoo.checkpoint import check_run_name, write_model
from ..zoo.classes import whole
from .accuracy import measure_clean
from .workbench import Workbench

SHARD = "16MB"
"""Largest size of a weight file."""


def export(bench: Workbench, folder: Path, shard: str = SHARD) -> Workbench:
    """Copies a model with its parameters in bfloat16, in files of at most `shard`, and returns the copy.

    An existing folder is empty, or holds an export of the same recipe. The record of training is copied; other records
    belong to the old weights. Clean test accuracy is measured anew and noted beside the old one.
    """
    made = _how_it_was_made(bench.model.folder)
    check_run_name(folder.resolve().name)
    begun = any((folder / name).exists() for name in (RECIPE, ORIGIN))
    if folder.is_dir() and any(folder.glob("[!.]*")) and not begun:
        raise UsageError(f"{folder} holds other files", hint="Name another folder.")
    if folder.resolve() == bench.model.folder.resolve():
        raise UsageError(f"{folder} is the model itself", hint="Name another folder.")
    if (folder / CONFIG).exists() and _how_it_was_made(folder) != made:
        raise UsageError(f"{folder} holds another model", hint="Name another folder.")
    if bench.runtime.processes.is_main_process:
        write_model(folder, made, bench.model.config, whole(bench.model.net), shard=shard)
    bench.runtime.processes.wait_for_everyone()
    copy = Workbench.open(str(folder), folder.parent, bench.data_dir, bench.runtime, bench.progress, bench.seed)
    for record in bench.store:
        cell = record.cell.model_copy(update={"weights": copy.model.weights})
        if cell.kind == "training" and cell not in copy.store and copy.runtime.processes.is_main_process:
            copy.store.append(record.model_copy(update={"cell": cell}))
    before, after = measure_clean(bench), measure_clean(copy)
    bench.progress.note(f"in bfloat16: clean accuracy {before.accuracy:.2%} -> {after.accuracy:.2%}")
    return copy


def _how_it_was_made(folder: Path) -> Recipe | Origin:
    """The recipe or the origin of a model, without its name."""
    return Origin.read(folder) or Recipe.read(folder / RECIPE).replace(name="model")
