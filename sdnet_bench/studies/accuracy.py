"""Accuracy on clean and on corrupted test images (Table 1; the fixed-lambda rows of Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..config import LAMBDAS
from ..csc import require_csc_layers
from ..data import CORRUPTIONS, SEVERITIES
from ..data.archives import source_of
from ..data.corruptions import Level
from ..data.datasets import Which
from ..errors import DataError, UsageError
from ..records import MIXED, UNKNOWN, Cell, Layers, Record, Severity
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
    layers: Layers = "all",
    steps: int | None = None,
    archived: bool = False,
) -> list[Cell]:
    """One cell for every severity of a corruption and every lambda of these layers."""
    cells = []
    source = _source(bench, corruption) if archived else None
    for severity in severities:
        noise: dict[str, Any] = {
            "corruption": corruption,
            "severity": severity,
            "level": _level(bench, corruption, severity),
        }
        found = [bench.cell(which, limit, lambda_, layers=layers, steps=steps, **noise) for lambda_ in lambdas]
        cells += [_in_archive(bench, cell, source) for cell in found] if source else found
    return cells


def _source(bench: Workbench, corruption: str) -> str:
    """Origin and md5 of a corruption's images in the archive; a `DataError` where they are not whole."""
    if corruption == UNKNOWN:
        raise UsageError("an archive has no such stream", expected="the name of a corruption", got=corruption)
    found = source_of(bench.dataset.name, corruption, bench.data_dir, bench.progress)
    if found.verdict == "missing":
        bench.archived(corruption, 1)  # says what is missing, and how to get it
    if found.verdict == "damaged" or found.md5 is None:
        raise DataError(
            f"{found.name} in the archive is damaged: {found.detail}", hint="See `sdnet-bench data verify`."
        )
    return f"{found.verdict}:{found.md5}"


def _in_archive(bench: Workbench, cell: Cell, source: str) -> Cell:
    """The cell on the same images as the archive of the data set has them."""
    if not isinstance(cell.severity, int):
        raise UsageError("an archive has no such stream", expected="severities 1 to 5", got=cell.severity)
    images = bench.archived(str(cell.corruption), cell.severity, cell.limit)
    return cell.model_copy(update={"images": images.identity, "archive": source})


def _level(bench: Workbench, corruption: str, severity: Severity) -> Level | None:
    """None for a stream, in which each image has a level of its own."""
    if corruption == UNKNOWN or severity == MIXED:
        return None
    return CORRUPTIONS[corruption].level(bench.dataset.family, severity)


def sweep_lambda(
    bench: Workbench,
    corruption: str,
    severities: Iterable[Severity] = SEVERITIES,
    lambdas: Sequence[float] | None = None,
    *,
    layers: Layers = "all",
    limit: int | None = None,
) -> list[Record]:
    """Measures the corrupted test split under every lambda; a `UsageError` for a net without CSC-layers.

    Args:
        layers: that lambda is changed in; with "stem" the other CSC-layers keep lambda_0.
    """
    require_csc_layers(bench.model.net)
    grid = LAMBDAS if lambdas is None else lambdas
    cells = corrupted_cells(bench, "test", corruption, severities, grid, limit, layers=layers)
    return bench.measure(cells, f"lambda sweep, {corruption}")
