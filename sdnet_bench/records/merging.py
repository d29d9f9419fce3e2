"""Records and fits of one network that several machines measured, brought together in one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import RecordError
from ..progress import Progress
from .lambda_fit import save_fit, saved_fits
from .record import Record
from .store import RecordStore, read_results


def merge(folders: Sequence[Path], store: RecordStore, run: Path, weights: str | None, progress: Progress) -> int:
    """Adds records and fits of run folders to a run and its store; returns the number of records that were new.

    Only those of the network with the digest `weights` are taken, and of cells and fits that the run has already,
    those of the run stay. Nothing is added where a folder cannot be read or has no record of the network: a
    `RecordError`.
    """
    found = [record for folder in folders for record in _records(folder, weights)]
    fits = [(folder, fit) for folder in folders for fit in saved_fits([folder]).values() if fit.weights == weights]
    new = [record for record in {record.cell: record for record in found}.values() if record.cell not in store]
    for record in new:
        store.append(record)
    for folder, fit in fits:
        own = saved_fits([run]).get(fit.name)
        if own is None or own.weights != weights:
            save_fit(run, fit, progress)
        elif own.rule != fit.rule:
            progress.note(f"{run} keeps its own fit of {fit.name}; that of {folder} is another one")
    return len(new)


def _records(folder: Path, weights: str | None) -> list[Record]:
    """The records of a network in a run folder, the published ones and those of the run."""
    stores = (read_results(folder), RecordStore.of_model(folder, folder))
    records = [record for store in stores for record in store if record.cell.weights == weights]
    if not records:
        hint = "Name the folder of the run, in which records.jsonl lies."
        raise RecordError(f"{folder} has no record of this network", hint=hint)
    return records
