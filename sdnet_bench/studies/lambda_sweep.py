"""Accuracy as a function of lambda at test time (paper, Figure 2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..config import LAMBDAS
from ..csc import check_lambda, require_csc_layers
from ..data import SEVERITIES, Severity
from ..errors import UsageError
from ..records import Layers, Record
from .accuracy import corrupted_cells
from .workbench import Workbench


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
    grid = parse_lambdas(LAMBDAS) if lambdas is None else lambdas
    cells = corrupted_cells(bench, "test", corruption, severities, grid, limit, layers=layers)
    return bench.measure(cells, f"lambda sweep, {corruption}")


def best_record(records: Iterable[Record]) -> Record:
    """The most accurate record of a sweep, that of the smallest lambda where several are."""
    return max(records, key=lambda record: (record.accuracy, -(record.cell.lambda_ or 0)))


def parse_lambdas(text: str) -> list[float]:
    """A grid of lambdas: "0.1:1.5:0.1" (first, last, step) or "0.1,0.3,1"; a `UsageError` where it is neither."""
    return [check_lambda(value) for value in parse_grid(text, "lambdas")]


def parse_grid(text: str, what: str) -> list[float]:
    """Numbers written as "first:last:step" or with commas between them, each once; a `UsageError` for anything else."""
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            count = math.floor((last - first) / step + 1e-6) + 1
            values = [round(first + at * step, 6) for at in range(count)]
        else:
            values = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"not a grid of {what}", expected="0.1:1.5:0.1 or 0.1,0.3,1", got=text) from None
    if not values:
        raise UsageError(f"an empty grid of {what}", expected="0.1:1.5:0.1 or 0.1,0.3,1", got=text)
    return list(dict.fromkeys(values))
