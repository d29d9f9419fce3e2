"""Brings together what several machines have measured of a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config import ModelConfig
from ..paper.results import Results
from ..progress import Progress
from ..records import RecordStore
from ..records.merging import merge
from ..report.card import write_card
from ..zoo.find import find_model


def merge_runs(model: str, folders: Sequence[Path], runs_dir: Path, progress: Progress) -> tuple[Path, int]:
    """Adds the records and fits in run folders of the same network to the model's run, each cell once.

    Returns the folder of the run, whose card is brought up to date, and the number of new records. Errors are those of
    `records.merging.merge`; nothing is added then.
    """
    folder = find_model(model, runs_dir, progress)
    run = runs_dir / folder.resolve().name
    store, weights = RecordStore.of_model(folder, run, progress), ModelConfig.read(folder).weights_sha256
    added = merge(folders, store, run, weights, progress)
    if run.resolve() == folder.resolve():
        write_card(folder, Results.read(folder, runs_dir))
    return run, added
