"""Sentences on the provenance of a model's records: machine, torch version, precision and dates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..records import Cell, Record

WORK = ("Training", "Accuracy without an attack", "Accuracy under attack")
TF32 = """\
Where a CUDA device measured in "float32", its convolutions ran as TF32 (10 bits of mantissa), PyTorch's default."""


def provenance(records: Sequence[Record]) -> Iterator[str]:
    """A sentence for each kind of work and machine, with the number of records and their dates."""
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    for record in records:
        groups[_work(record.cell), _machine(record)].append(str(record.provenance.get("time", ""))[:10])
    for (work, machine), days in sorted(groups.items()):
        first, last = min(days), max(days)
        span = first if first == last else f"{first} to {last}"
        yield f"{WORK[work]}: {len(days):,} record{'s' * (len(days) > 1)} on {machine}, {span}."
    if any(record.inference.precision == "float32" and _is_tf32(record) for record in records):
        yield TF32


def _work(cell: Cell) -> int:
    """Index into `WORK` of the kind of a cell."""
    return 0 if cell.kind == "training" else 1 if cell.attack is None else 2


def _machine(record: Record) -> str:
    """The device, the precision, and the version of torch."""
    details, precision = record.provenance, record.inference.precision
    return f"{details.get('device', 'an unknown device')} in {precision}, torch {details.get('torch', 'unknown')}"


def _is_tf32(record: Record) -> bool:
    """Whether a CUDA device measured the record before float32 was IEEE; other devices have their type in front."""
    on_cuda = not str(record.provenance.get("device", "cpu")).startswith(("cpu", "mps"))
    return on_cuda and "ieee" not in record.provenance
