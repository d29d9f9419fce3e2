"""Accuracy on clean and on corrupted test images (Table 1; the fixed-lambda rows of Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..csc import check_lambda, require_csc_layers
from ..data import CORRUPTIONS, MIXED, SEVERITIES, UNKNOWN, Severity
from ..data.archives import source_of
from ..data.corruptions import Level
from ..data.datasets import Which
from ..errors import UsageError
from ..records import Cell, Record
from .workbench import Workbench


def measure_clean(
    bench: Workbench, *, lambda_: float | None = None, limit: int | None = None, steps: int | None = None
) -> Record:
    """Accuracy on the test split as it is."""
    return bench.measure([bench.cell("test", limit, lambda_, steps=steps)], "clean test images")[0]


def measure_corrupted(
    bench: Workbench,
    corruptions: Iterable[str],
    severities: Iterable[Severity] = SEVERITIES,
    *,
    lambda_: float | None = None,
    limit: int | None = None,
    steps: int | None = None,
    archived: bool = False,
) -> list[Record]:
    """Accuracy on the corrupted test split, for every corruption and severity.

    With `archived` the images are those of the data set's -C archive; otherwise they are made here.
    """
    severities = list(severities)
    cells = [
        cell
        for name in corruptions
        for cell in corrupted_cells(bench, "test", name, severities, [lambda_], limit, steps=steps, archived=archived)
    ]
    return bench.measure(cells, "corrupted test images")


def corrupted_cells(
    bench: Workbench,
    which: Which,
    corruption: str,
    severities: Iterable[Severity],
    lambdas: Sequence[float | None],
    limit: int | None,
    *,
    steps: int | None = None,
    archived: bool = False,
) -> list[Cell]:
    """One cell for every severity of a corruption and every lambda."""
    cells = []
    for severity in severities:
        level = _level(bench, corruption, severity)
        cell = bench.cell(which, limit, steps=steps, corruption=corruption, severity=severity, level=level)
        cell = _in_archive(bench, cell) if archived else cell
        cells += [cell.model_copy(update=_with_lambda(bench, lambda_)) for lambda_ in lambdas]
    return cells


def _with_lambda(bench: Workbench, lambda_: float | None) -> dict[str, float]:
    if lambda_ is None:
        return {}
    require_csc_layers(bench.model.net)
    return {"lambda_": check_lambda(lambda_)}


def _in_archive(bench: Workbench, cell: Cell) -> Cell:
    """The same images as the archive of the data set has them."""
    corruption, severity = str(cell.corruption), cell.severity
    if not isinstance(severity, int) or corruption == UNKNOWN:
        raise UsageError("an archive has no such stream", expected="a corruption and severities 1 to 5", got=severity)
    bench.archived(corruption, severity, cell.limit)  # whatever is wrong with it shows before anything is measured
    source = source_of(bench.dataset.name, corruption, bench.data_dir, bench.progress)
    return cell.model_copy(update={"archive": source.md5})


def _level(bench: Workbench, corruption: str, severity: Severity) -> Level | None:
    """None for a stream, in which each image has a level of its own."""
    if corruption == UNKNOWN or severity == MIXED:
        return None
    return CORRUPTIONS[corruption].level(bench.dataset.family, severity)
