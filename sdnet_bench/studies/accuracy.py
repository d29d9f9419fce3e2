"""Accuracy on clean and on corrupted test images (Table 1; the fixed-lambda rows of Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..data import CORRUPTIONS, SEVERITIES
from ..data.datasets import Which
from ..records import Cell, Record
from .workbench import Workbench


def measure_clean(bench: Workbench, *, lambda_: float | None = None, limit: int | None = None) -> Record:
    """Accuracy on the test split as it is."""
    return bench.measure([bench.cell("test", limit, lambda_)], "clean test images")[0]


def measure_corrupted(
    bench: Workbench,
    corruptions: Iterable[str],
    severities: Iterable[int] = SEVERITIES,
    *,
    lambda_: float | None = None,
    limit: int | None = None,
) -> list[Record]:
    """Accuracy on the corrupted test split, for every corruption and severity."""
    severities = list(severities)
    cells = [
        cell for name in corruptions for cell in corrupted_cells(bench, "test", name, severities, [lambda_], limit)
    ]
    return bench.measure(cells, "corrupted test images")


def corrupted_cells(
    bench: Workbench,
    which: Which,
    corruption: str,
    severities: Iterable[int],
    lambdas: Sequence[float | None],
    limit: int | None,
) -> list[Cell]:
    """One cell for every severity of a corruption and every lambda."""
    level = CORRUPTIONS[corruption].level
    return [
        bench.cell(
            which,
            limit,
            lambda_,
            corruption=corruption,
            severity=severity,
            level=level(bench.dataset.family, severity),
        )
        for severity in severities
        for lambda_ in lambdas
    ]
