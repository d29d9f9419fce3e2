"""What verdicts rest on: differences that count, and attacks that can be compared."""

from __future__ import annotations

from collections.abc import Iterable

from ..records import Cell, Record

CONTROL = "noise"
"""What looks like an attack and is none: it follows nothing."""


def exceeds(points: float, threshold: float, n: int) -> bool:
    """Whether a difference is above a threshold, both in points, and more than one image of n: one proves nothing."""
    return points > threshold and round(points * n / 100) > 1


def on_same_network(records: Iterable[Record], cell: Cell) -> list[Record]:
    """Those of attacks on the images of `cell`, judged by the same network at the same lambda, within its radius.

    Noise is a control, and no attack.
    """
    return [record for record in records if _same(record.cell, cell)]


def _same(cell: Cell, wanted: Cell) -> bool:
    if cell.attack is None or wanted.attack is None or cell.attack.name == CONTROL:
        return False
    return (
        wanted.attack.threat.covers(cell.attack.threat)
        and cell.weights == wanted.weights
        and cell.images.clean == wanted.images.clean
        and cell.images.corruption == wanted.images.corruption
        and cell.inference == wanted.inference
    )
