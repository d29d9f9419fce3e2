"""Measured cells, and the append-only file they are kept in.

A `Cell` says what is measured and nothing of how it went; its digest is the key of its `Record`. A record keeps
one bit per image, so that accuracies, intervals, paired tests and unions are all derived and never stored.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError, model_validator

from .config import RESULTS, Frozen, first_fault
from .errors import RecordError
from .files import drop_torn_line

if TYPE_CHECKING:
    import pandas

Outcomes = NDArray[np.bool_]
Layers = Literal["all", "stem"]

CLEAN = "misclassified"
"""What images are lost to that are classified wrongly before anybody attacks them."""


class AttackSetting(Frozen):
    """An attack with all that decides its outcome. `repr` is the experiment."""

    name: str = "pgd"
    norm: str
    eps: float
    """Radius of the ball in pixels of [0, 1]."""
    steps: int
    """Iterations; queries where the attack is a random search."""
    step_size: float | None = None
    """None where the attack adapts it."""
    restarts: int = 1
    crafted_at: float | tuple[float, ...] | None = None
    """The lambda of the network that the attack looks at; several: the mean of their logits; None for a network
    without one, and where the attack looks through the cell's rule."""
    through: Literal["attached", "detached"] | None = None
    """The attack looks at the network whose lambda the cell's rule chooses, with or without the gradient of that
    choice."""
    inference_steps: int | None = None
    """FISTA iterations of the network that the attack looks at, where they are not those of the cell."""
    smooth: bool = False
    """The attack looks at a network whose threshold is a softplus."""
    gradient: str | None = None
    """How solved layers of the network that the attack looks at are differentiated, where not in their own way."""
    revision: int = 1
    """Of the code of attacks: what an older one measured is measured again."""

    @property
    def is_detour(self) -> bool:
        """Whether the attack looks at a network that somebody changed so that gradients pass it better."""
        return self.smooth or self.inference_steps is not None or self.gradient is not None


REVISION = 2
"""1: one random start per batch. 2: random numbers per image, misclassified and fooled images leave the batch."""


class Cell(Frozen):
    """One thing to measure."""

    kind: Literal["training", "accuracy"] = "accuracy"
    weights: str
    """sha256 of the model's weights."""
    dataset: str
    split: Literal["train", "validation", "test"]
    images: str
    """Digest of the clean images and labels."""
    limit: int | None = None
    """So many images, spread evenly over the split; None for all."""
    block: tuple[int, int] | None = None
    """Of those the first to the last but one in the order that `seed` shuffles them into: how a race takes them."""
    lambda_: float | None = None
    """The trade-off; None for a network without a CSC-layer, and where a rule chooses one per image."""
    layers: Layers = "all"
    """The CSC-layers with this trade-off; with "stem" the others keep that of training."""
    steps: int | None = None
    """FISTA iterations at inference; None for as many as in training."""
    corruption: str | None = None
    """Its name; "unknown" where each image has one of the four noises."""
    level: float | tuple[float, ...] | None = None
    """The corruption's own parameters."""
    severity: int | Literal["mixed"] | None = None
    """1 to 5 where `level` is that of an archive; "mixed" where each image has one of them."""
    archive: str | None = None
    """Origin and md5 of the archive's part that the corrupted images were read from, such as "official:ecaf8b...".

    None where they were made here."""
    attack: AttackSetting | None = None
    defence: str | None = None
    """What stands between an adversarial image and its verdict: a placebo by name, or "net:" and the sha256 of the
    weights of another network that classifies it."""
    rule: str | None = None
    """How lambda was chosen, where it was not given: the `rule` of a `LambdaFit`."""
    precision: str = "float32"
    seed: int = 0
    """Of the corruption and of the attack's random starts."""

    @property
    def key(self) -> str:
        """Digest of the cell's content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]


class Record(Frozen):
    """A measured cell."""

    model: str
    """Name of the model, for people; the key holds its weights."""
    cell: Cell
    n: PositiveInt
    outcomes: str | None = None
    """One bit per image, in the order of the split: was it classified correctly? Packed, base64."""
    lost_to: dict[str, str] = Field(default_factory=dict)
    """Under attack: which images fell to what, packed like `outcomes`: to `CLEAN`, or to an attack by name."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Whatever else was measured: `residual`, `parameters`, `images_per_second`, ..."""
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_a_bit_for_each_image(self) -> Self:
        length = 4 * math.ceil(math.ceil(self.n / 8) / 3)
        if any(len(bits) != length for bits in (self.outcomes, *self.lost_to.values()) if bits is not None):
            raise ValueError(f"outcomes are not those of {self.n} images")
        return self

    @classmethod
    def of(cls, model: str, cell: Cell, outcomes: Outcomes, **rest: Any) -> Self:
        return cls(model=model, cell=cell, n=len(outcomes), outcomes=_pack(outcomes), **rest)

    @classmethod
    def of_attack(cls, model: str, cell: Cell, losses: Mapping[str, Outcomes], **rest: Any) -> Self:
        """From which images fell to what; the others stand."""
        lost_to = {name: _pack(lost) for name, lost in losses.items() if lost.any()}
        return cls.of(model, cell, ~np.logical_or.reduce(list(losses.values())), lost_to=lost_to, **rest)

    @property
    def correct(self) -> Outcomes:
        """`(n,)`: which images were classified correctly."""
        return _unpack(self.outcomes or "", self.n)

    def lost(self, name: str) -> Outcomes:
        """`(n,)`: which images fell to an attack, or were misclassified as they are: `CLEAN`."""
        return _unpack(self.lost_to[name], self.n) if name in self.lost_to else np.zeros(self.n, bool)

    @property
    def accuracy(self) -> float:
        """Share of correct images, in [0, 1]."""
        return float(self.correct.mean())


def _pack(bits: Outcomes) -> str:
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def _unpack(text: str, count: int) -> Outcomes:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


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
        return cls(run_folder, () if is_own_run else read_results(model_folder))

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
    cell = record.cell.model_dump(exclude={"attack"})
    attack = {f"attack_{name}": value for name, value in record.cell.attack or ()}
    return {"model": record.model, **cell, **attack, "n": record.n, **measured, **record.metrics}
