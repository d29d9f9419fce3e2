"""Minimum-norm attacks: which one there is, and how they fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec

from ..records import MINIMUM_NORM, AttackSetting, Record
from ..records.attack import DDN_SHRINKS, least_steps


def attack_by_eps(norm: str) -> str:
    """Name of the attack for accuracy against eps: the minimum-norm attack where foolbox is installed, else "pgd"."""
    names = [name for name, its in MINIMUM_NORM.items() if its == norm]
    return names[0] if names and find_spec("foolbox") else "pgd"


def failures(asked: Sequence[Record], store: Iterable[Record]) -> Iterator[str]:
    """Sentences on minimum-norm attacks that failed: DDN could not look so near, or PGD at an eps leaves fewer images.

    Args:
        asked: the records of attacks that were just asked for.
        store: all records.
    """
    keys, known = {record.cell.key for record in asked}, [record for record in store if record.cell.is_white_box]
    for found in (record for record in known if record.distances):
        if found.cell.key in keys:
            yield from _blindness(found.attack)
        rivals = (each for each in known if keys & {each.cell.key, found.cell.key} and _is_rival(each, found))
        if missed := [text for pgd in rivals if (text := _missed(found, pgd))]:
            yield f"{found.attack.name} failed: {'; '.join(missed)}"


def _missed(found: Record, pgd: Record) -> str | None:
    """How many images a minimum-norm attack leaves at the eps of PGD, where PGD leaves fewer; None elsewhere."""
    threat = pgd.attack.threat
    there = found.under(threat)
    if there is None or there.accuracy <= pgd.accuracy:
        return None
    left, fewer = (int(record.correct.sum()) for record in (there, pgd))
    return f"{left} of {found.n} images stand at {threat}, {fewer} under pgd"


def _blindness(attack: AttackSetting) -> Iterator[str]:
    """A sentence on DDN with too few steps for the smallest of RADII."""
    if attack.name == "ddn" and attack.steps < least_steps(attack.eps):
        reach = DDN_SHRINKS**attack.steps
        yield f"ddn with {attack.steps} steps cannot look below a radius of {reach:.2g}: there all images look robust"


def _is_rival(pgd: Record, found: Record) -> bool:
    """Whether one is PGD on the network that the other attacks."""
    return pgd.attack.name == "pgd" and pgd.cell.unattacked == found.cell.unattacked
