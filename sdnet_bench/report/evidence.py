"""What the figures of a page rest on: images, settings, machine and commands of their records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..records import Record
from ..records.statistics import Value, show
from .commands import commands_of

EN_DASH = "\u2013"
MOST_LISTED = 6
"""Largest number of different values of a fact that are listed."""


@dataclass(frozen=True)
class Figure:
    """A number as the page shows it."""

    text: str
    interval: str = ""
    value: float | None = None
    """What it is sorted by; None where there is no number."""
    at: int | None = None
    """Place of its evidence in the ledger."""
    note: str = ""
    difference: str = ""
    """Ours minus the paper's."""
    within: bool | None = None
    """Whether the paper's number lies in the interval; None where there is none."""


@dataclass
class Ledger:
    """Collects the evidence of all figures; equal parts are kept once."""

    datasets: Mapping[str, str] = field(default_factory=dict)
    """The data set of training by the name of a network; those in memory, which no command can name, are not here."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    facts: list[list[tuple[str, str]]] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)

    @property
    def content(self) -> dict[str, list[Any]]:
        """What the page holds of it."""
        return {"entries": self.entries, "facts": self.facts, "commands": self.commands}

    def figure(
        self,
        title: str,
        value: Value | None,
        trained_lambda: float | None,
        *,
        note: str = "",
        extra: Mapping[str, str] | None = None,
        otherwise: Sequence[str] = (),
    ) -> Figure:
        """A measured number with the evidence of its records; "—" where there is none.

        `extra` is what else is known of it; `otherwise` are the commands of a number that is of no records.
        """
        if value is None:
            return Figure("—")
        named = [record for record in value.records if record.model in self.datasets]
        dataset = self.datasets[named[0].model] if named else None
        made = [f"sdnet-bench {line}" for line in commands_of(named, trained_lambda, dataset)]
        number, _, interval = show(value).partition(" ")
        at = self.add(title, show(value), facts(value.records), made or otherwise, extra or {})
        return Figure(number, interval.strip("[]").replace(", ", EN_DASH), value.value, at, note)

    def add(
        self, title: str, shown: str, known: Mapping[str, str], commands: Iterable[str], extra: Mapping[str, str]
    ) -> int:
        """Adds evidence and returns its place."""
        parts = [_place(self.facts, list(known.items())), _place(self.commands, list(commands))]
        self.entries.append({"title": title, "shown": shown, "of": parts, "extra": list(extra.items())})
        return len(self.entries) - 1


def _place(known: list[Any], part: Any) -> int:
    if part not in known:
        known.append(part)
    return known.index(part)


def facts(records: Sequence[Record]) -> dict[str, str]:
    """What records have in common, and in what they differ, by name."""
    if not records:
        return {}
    days = sorted(str(record.provenance.get("time", ""))[:10] for record in records)
    found = {
        "images": _each(records, lambda of: f"{of.n:,} {of.images.split} images of {of.images.dataset}"),
        "corruption": _each(records, _corruption),
        "lambda": _each(records, _lambda),
        "attack": _each(records, _attack),
        "adaptation": _each(records, lambda of: of.inference.adaptation),
        "seed": _each(records, lambda of: of.images.seed),
        "precision": _each(records, lambda of: of.inference.precision),
        "device": _each(records, lambda of: of.provenance.get("device")),
        "torch": _each(records, lambda of: of.provenance.get("torch")),
        "sdnet-bench": _each(records, lambda of: of.provenance.get("version")),
        "commit": _each(records, lambda of: (of.provenance.get("commit") or "not known")[:12]),
        "measured": days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}",
        "records": _each(records, lambda of: of.cell.key[:12]),
    }
    return {name: text for name, text in found.items() if text}


def _each(records: Iterable[Record], of: Callable[[Record], object]) -> str:
    """The different values over records, at most MOST_LISTED of them."""
    values = list(dict.fromkeys(str(value) for record in records if (value := of(record)) not in (None, "")))
    more = len(values) - MOST_LISTED
    return ", ".join(values[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _corruption(record: Record) -> str | None:
    images = record.images
    origin = f" ({images.origin} archive)" if images.origin else ""
    return images.corruption and f"{images.corruption} {images.severity or images.level}{origin}"


def _lambda(record: Record) -> str | None:
    by = record.inference
    rule = f"by {by.rule.split('/')[0]} ({by.rule.split('/')[1]})" if by.rule else ""
    if by.lambda_ is None:
        return f"one for each image {rule}" if rule else None
    return f"{by.lambda_:g} {rule}".strip()


def _attack(record: Record) -> str | None:
    attack = record.cell.attack
    if attack is None:
        return None
    times = f" x {attack.restarts}" if attack.restarts > 1 else ""
    return f"{attack.name}, {attack.threat}, {attack.steps} steps{times}, {record.cell.protocol or 'surrogate'}"
