"""Thresholds on differences, and the selection of comparable attacks."""

from __future__ import annotations

from collections.abc import Iterable

from ..records import Cell, Record


def exceeds(points: float, threshold: float, n: int) -> bool:
    """Whether a difference is above a threshold, both in points, and more than one image of n."""
    return points > threshold and round(points * n / 100) > 1


def on_same_network(records: Iterable[Record], cell: Cell) -> list[Record]:
    """The records of attacks on the images of `cell`, scored by the same inference, with at most its radius.

    Random noise, the control, is recorded like an attack and left out.
    """
    return [record for record in records if _same(record.cell, cell)]


def _same(cell: Cell, wanted: Cell) -> bool:
    if cell.attack is None or wanted.attack is None or cell.attack.name == "noise":
        return False
    return (
        wanted.attack.threat.covers(cell.attack.threat)
        and cell.weights == wanted.weights
        and cell.images.clean == wanted.images.clean
        and cell.images.corruption == wanted.images.corruption
        and cell.inference == wanted.inference
    )
