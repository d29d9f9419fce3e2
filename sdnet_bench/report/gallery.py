"""The figures that a model's card shows, in the model's own folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ..csc import csc_layers
from ..errors import UsageError
from ..studies.visual import find_atoms, measure_sparsity, rebuild_inputs
from ..studies.workbench import Workbench
from .card import FIGURES
from .figures import write_figures
from .pictures import write_dictionary, write_features, write_sparsity
from .results import Results

NUMBERS = ("features.csv", "sparsity.csv")
"""What stands in no record is kept beside its figure."""
IMAGES = range(5)
"""Of the test split, rebuilt in Figure 4."""


def illustrate(bench: Workbench, limit: int | None = None) -> list[Path]:
    """Draws the figures of a card into the folder of a run, as far as there is anything to draw.

    Args:
        limit: so many test images for the values of codes; all by default.

    Returns:
        The paths written.
    """
    with TemporaryDirectory() as scratch:
        drawn = {path.name.removeprefix(f"{bench.model.name}-"): path for path in _draw(bench, Path(scratch), limit)}
        kept = [name for name in (*FIGURES, *NUMBERS) if name in drawn]
        return [Path(shutil.copy(drawn[name], bench.folder / name)) for name in kept]


def _draw(bench: Workbench, folder: Path, limit: int | None) -> Iterator[Path]:
    name, layers = bench.model.name, csc_layers(bench.model.net)
    yield from write_figures([Results.read(bench.model.folder, bench.folder.parent)], folder)
    if layers:
        yield from write_dictionary(find_atoms(bench), folder, name)
        yield from write_sparsity(measure_sparsity(bench, limit=limit), folder, name)
    if len(layers) > 1:
        with suppress(UsageError):  # no chain leads back to the pixels
            yield from write_features(rebuild_inputs(bench, IMAGES), folder, name)
