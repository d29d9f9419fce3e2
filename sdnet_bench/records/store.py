"""The append-only file that records are kept in, and the files that they are published in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from ..config import RESULTS, first_fault
from ..errors import ModelError, RecordError
from ..files import drop_torn_line
from .cell import Cell
from .lambda_fit import present_rules, saved_fits
from .record import Record

if TYPE_CHECKING:
    import pandas


class RecordStore:
    """The records in `folder / records.jsonl`, one JSON object per line, oldest first.

    Appending takes a lock, so processes may share a file. A last line torn by a crash is dropped.

    Args:
        folder: of the model's run; made when the first record is appended.
        known: records from elsewhere, published with the model, that need not be measured again.
    """

    FILE = "records.jsonl"

    def __init__(self, folder: Path, known: Iterable[Record] = ()) -> None:
        self.path = folder / self.FILE
        self._records = {record.cell.key: record for record in [*known, *self._read()]}

    @classmethod
    def of_model(cls, model_folder: Path, run_folder: Path) -> Self:
        """What is on record of a model: what its run has measured, after what was published with it."""
        is_own_run = model_folder.resolve() == run_folder.resolve()
        store = cls(run_folder, () if is_own_run else read_results(model_folder))
        with suppress(ModelError):  # whoever needs the fits is told what is wrong with them
            store._rename_rules([model_folder, run_folder])
        return store

    def _rename_rules(self, folders: Iterable[Path]) -> None:
        """Gives rules of earlier versions the names that the saved fits have now."""
        rules = {record.inference.rule for record in self if record.inference.rule}
        names = present_rules(rules, saved_fits(folders)) if rules else {}
        if names:
            found = (_by_rule(record, names.get(str(record.inference.rule))) for record in self)
            self._records = {record.cell.key: record for record in found}

    def __contains__(self, cell: Cell) -> bool:
        return cell.key in self._records

    def __getitem__(self, cell: Cell) -> Record:
        return self._records[cell.key]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: Record) -> None:
        """Adds one record; it is on the disk when this returns."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"), self.path.open("ab") as file:
                drop_torn_line(self.path)
                file.write(record.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RecordError(
                f"cannot write {self.path}: {error}", hint="Name another folder with --runs-dir."
            ) from None
        self.keep(record)

    def keep(self, record: Record) -> None:
        """Knows a record from now on without writing it: another process does."""
        self._records[record.cell.key] = record

    def _read(self) -> Iterator[Record]:
        try:
            lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        except OSError as error:
            raise RecordError(f"cannot read {self.path}: {error}") from None
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last line break is torn
            try:
                yield Record.model_validate_json(line)
            except ValidationError as error:
                raise RecordError(f"{self.path}, line {number}: {first_fault(error)}") from None


def _by_rule(record: Record, rule: str | None) -> Record:
    """The record under another name of its rule; as it is where that is None."""
    if rule is None:
        return record
    inference = record.inference.by(rule, record.inference.lambda_)
    return record.model_copy(update={"cell": record.cell.with_inference(inference)})


def read_results(folder: Path) -> list[Record]:
    """The records published with a model, in `results.json`; none where there is no such file."""
    path = folder / RESULTS
    return read_records(path) if path.exists() else []


def read_records(path: Path) -> list[Record]:
    """The records in a file of `write_results`."""
    try:
        return TypeAdapter(list[Record]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordError(f"{path}: {first_fault(error)}") from None
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"cannot read {path}: {error}") from None


def write_results(path: Path, records: Iterable[Record]) -> None:
    """Publishes records as a JSON list, one record per line."""
    lines = ",\n".join(record.model_dump_json() for record in records)
    path.write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")


def load(path: Path | str) -> pandas.DataFrame:
    """The records of a run folder or a published model as a table: one row per record, one column per field."""
    import pandas

    folder = Path(path)
    records = {record.cell.key: record for record in [*read_results(folder), *RecordStore(folder)]}
    return pandas.DataFrame([_row(record) for record in records.values()])


def _row(record: Record) -> dict[str, Any]:
    measured = {"accuracy": record.accuracy} if record.outcomes else {}
    cell = record.cell.model_dump()
    attack = {f"attack_{name}": value for name, value in (cell.pop("attack") or {}).items()}
    return {"model": record.model, **cell, **attack, "n": record.n, **measured, **record.metrics}
