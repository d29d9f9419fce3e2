"""A finished run becomes a model that is shipped with the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ..config import RECIPE, Recipe
from ..errors import UsageError
from ..files import make_folder, replacing
from .hub import is_published, published_files


def adopt(folder: Path, root: Path) -> Path:
    """Copies what is published of a model into `root`, under its name.

    A recipe of that name that lies there stays as it is written; whatever else of a model was there is replaced.

    Returns:
        The folder in `root`.

    Raises:
        UsageError: the weights are somebody else's, or the recipe there is another one.
        BenchError: something of the model is missing or damaged, or `root` cannot be written to.
    """
    files, target = published_files(folder), root / folder.resolve().name
    written = target / RECIPE
    if written.exists():
        if Recipe.read(written) != Recipe.read(folder / RECIPE):
            raise UsageError(f"{written} is another recipe than that of {folder}", hint="Train the one that is there.")
        files = tuple(path for path in files if path.name != RECIPE)
    _replace(make_folder(target), files)
    return target


def _replace(target: Path, files: Iterable[Path]) -> None:
    """Copies files into a model folder and removes those of the model that was there before."""
    kept = {RECIPE}
    for path in files:
        with replacing(target / path.name) as scratch:
            shutil.copyfile(path, scratch)
        kept.add(path.name)
    for path in target.iterdir():
        if is_published(path.name) and path.name not in kept:
            path.unlink()
