"""Copies a finished run to the models that are shipped with the package."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..config import RECIPE, Recipe
from ..errors import UsageError
from ..files import make_folder, replacing
from .hub.layout import is_published
from .hub.upload import published_files


def adopt(folder: Path, root: Path) -> Path:
    """Copies the published files of a model to `root`, under its name; returns the folder there.

    A recipe of that name in `root` is kept; other files of an earlier model are replaced.

    Raises:
        UsageError: the model was not trained here, or the recipe in `root` differs.
        BenchError: a file of the model is missing or damaged, or `root` cannot be written to.
    """
    files, target = published_files(folder), root / folder.resolve().name
    written = target / RECIPE
    if written.exists():
        if Recipe.read(written) != Recipe.read(folder / RECIPE):
            raise UsageError(f"{written} is another recipe than that of {folder}", hint="Train the one that is there.")
        files = tuple(path for path in files if path.name != RECIPE)
    make_folder(target)
    for path in files:
        with replacing(target / path.name) as scratch:
            shutil.copyfile(path, scratch)
    kept = {RECIPE, *(path.name for path in files)}
    for path in target.iterdir():
        if is_published(path.name) and path.name not in kept:
            path.unlink()
    return target
