"""The append-only file of records of a run, and the files of published records."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import TypeAdapter

from ..config import RESULTS
from ..errors import ModelError, RecordError
from ..files import holding, reading
from ..progress import Progress
from .cell import Cell
from .lambda_fit import present_rules, saved_fits
from .lines import LineFile
from .record import Record

if TYPE_CHECKING:
    import pandas


class RecordStore:
    """The records in `folder / records.jsonl`, one JSON object per line, oldest first.

    Appending takes a lock, so processes may share a file; reading takes none and writes nothing. An incomplete last
    line is dropped with a note. The folder is made with the first record; `known` records, published with the model,
    are not measured again.
    """

    FILE = "records.jsonl"

    def __init__(self, folder: Path, known: Iterable[Record] = (), progress: Progress | None = None) -> None:
        self.path, self._progress = folder / self.FILE, progress or Progress()
        self._lines = LineFile(self.path, Record, "Remove that line; it is measured again.")
        self._records = {record.cell.key: record for record in known}
        self.refresh()
        if self._lines.torn:
            what = f"the last line of {self.path} is incomplete, as a crash leaves it: its {self._lines.torn:,} bytes"
            self._progress.note(f"{what} are not read, and removed with the next record")

    @classmethod
    def of_model(cls, model_folder: Path, run_folder: Path, progress: Progress | None = None) -> Self:
        """The records of a model: the published ones, then those of its run."""
        is_own_run = model_folder.resolve() == run_folder.resolve()
        store = cls(run_folder, () if is_own_run else read_results(model_folder), progress)
        with suppress(ModelError):  # the error is raised where the fits are used
            store._rename_rules([model_folder, run_folder])
        return store

    def _rename_rules(self, folders: Iterable[Path]) -> None:
        """Renames rules of earlier versions to the present names of the saved fits."""
        rules = {record.inference.rule for record in self if record.inference.rule}
        names = present_rules(rules, saved_fits(folders)) if rules else {}
        if names:
            self._records = dict(_renamed(key, record, names) for key, record in self._records.items())

    def __contains__(self, cell: Cell) -> bool:
        return cell.key in self._records

    def __getitem__(self, cell: Cell) -> Record:
        return self._records[cell.key]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def refresh(self) -> None:
        """Reads the records that other processes appended since the last reading."""
        with without_collections():
            for record in self._lines.read():
                self.keep(record)

    def append(self, record: Record) -> None:
        """Appends one record and flushes it to the disk; a `RecordError` where that fails."""
        with holding(Path(f"{self.path}.lock"), self._progress, f"writes {self.path}"):
            self._lines.append(record, durable=True)
        self.keep(record)

    def keep(self, record: Record) -> None:
        """Adds a record without writing it, because another process writes it."""
        self._records[record.cell.key] = record


@contextmanager
def without_collections() -> Iterator[None]:
    """A block without garbage collections: each would look at all records that were made so far."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _renamed(key: str, record: Record, names: Mapping[str, str]) -> tuple[str, Record]:
    """A record and its key with the present name of its rule; unchanged where `names` has no other one."""
    by = record.inference
    if by.rule is None or by.rule not in names:
        return key, record
    cell = record.cell.with_inference(by.by(names[by.rule], by.lambda_))
    return cell.key, record.model_copy(update={"cell": cell})


def read_results(folder: Path) -> list[Record]:
    """The records in `results.json` of a model folder; empty where there is no such file."""
    path = folder / RESULTS
    return read_records(path) if path.exists() else []


def read_records(path: Path) -> list[Record]:
    """The records in a file written by `write_results`; a `RecordError` where it cannot be read."""
    with reading(path, RecordError), without_collections():
        return TypeAdapter(list[Record]).validate_json(path.read_bytes())


def write_results(path: Path, records: Iterable[Record]) -> None:
    """Writes records as a JSON list, one record per line."""
    lines = ",\n".join(record.model_dump_json() for record in records)
    path.write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")


def load(path: Path | str) -> pandas.DataFrame:
    """The records of a run folder or a published model: a row per record, a column per field; accuracy in [0, 1].

    Where the run and the published model both have a cell, the run's counts. The frame is empty where there are none; a
    `RecordError` where there is no such folder, or a file is damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RecordError(f"{folder} is no folder of records", hint="Name a run or a model, such as runs/mine.")
    return frame_of({record.cell.key: record for record in [*read_results(folder), *RecordStore(folder)]}.values())


def frame_of(records: Iterable[Record]) -> pandas.DataFrame:
    """Records as a DataFrame: a row per record, a column per field; accuracy in [0, 1]."""
    import pandas

    return pandas.DataFrame([_row(record) for record in records])


def _row(record: Record) -> dict[str, Any]:
    measured = {"accuracy": record.accuracy} if record.outcomes else {}
    cell = record.cell.model_dump()
    attack = {f"attack_{name}": value for name, value in (cell.pop("attack") or {}).items()}
    attack |= {"protocol": record.cell.protocol, "clean": record.clean} if attack else {}
    return {"model": record.model, **cell, **attack, "n": record.n, **measured, **record.metrics}
