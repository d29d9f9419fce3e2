"""A report as a page: one HTML file with styles, script and data in it, which needs no network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import printable
from ..files import replacing
from ..paper.accuracy import OF_TRAINING
from ..paper.render import paper_number, signed
from ..paper.results import Results
from ..paper.robustness import THREATS
from ..paper.tables import Entry, Table
from ..records import NOISES, Record
from ..records.statistics import say_p
from ..version import __version__
from .commands import commands
from .evidence import Figure, Ledger, facts
from .explorer import explorable
from .leaderboard import CHOICES, audits_of, leaderboard
from .provenance import provenance

if TYPE_CHECKING:
    from jinja2 import Template

WEB = Path(__file__).parent / "web"
NAME = "index.html"


@dataclass(frozen=True)
class Line:
    """A line of a table: the figures of the paper, or those of a model."""

    name: str
    figures: tuple[Figure, ...]
    is_paper: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table of the paper as the page shows it."""

    name: str
    title: str
    dataset: str
    where: str
    columns: tuple[str, ...]
    rows: Mapping[str, Sequence[Line]]
    """Lines by the name of the row."""
    notes: tuple[str, ...]
    absent: Mapping[str, str]
    """Commands that train what is missing, by the name of the row."""


@dataclass(frozen=True)
class Source:
    """Where the figures of a model come from."""

    name: str
    sentences: tuple[str, ...]
    commands: tuple[str, ...]


def write_page(results: Sequence[Results], tables: Sequence[Table], folder: Path) -> list[Path]:
    """Writes `index.html` into a folder. Returns its path."""
    with replacing(folder / NAME) as scratch:
        scratch.write_text(printable(page(results, tables)), encoding="utf-8")
    return [folder / NAME]


def page(results: Sequence[Results], tables: Sequence[Table]) -> str:
    """The HTML of the page."""
    parts = {name: (WEB / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    records = [record for result in results for record in (*result.records, *result.elsewhere)]
    ledger = Ledger({result.name: result.config.dataset for result in results if not result.in_memory})
    return _template().render(
        **parts,
        digests={name: digest(text) for name, text in parts.items()},
        standings=leaderboard(results, ledger),
        sheets=[_sheet(table, results, ledger) for table in tables],
        models=explorable(results, ledger),
        sources=[_source(result) for result in results],
        summary=facts(records),
        count=len(records),
        ledger=ledger.content,
        noises=NOISES,
        choices=CHOICES,
        threats=THREATS,
        version=__version__,
    )


def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(WEB), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["letters"] = letters
    return environment.get_template("page.html.j2")


def digest(text: str) -> str:
    """The source of a style or script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def letters(text: str) -> str:
    """Text with the word lambda as the letter."""
    return re.sub(r"\blambda\b", "λ", text.replace("lambda_0", "λ₀"))


def _sheet(table: Table, results: Sequence[Results], ledger: Ledger) -> Sheet:
    models = {result.name: result for result in results}
    rows = {row: list(entries) for row, entries in groupby(table.entries, key=lambda entry: entry.row)}
    lines = {row: list(_lines(table, entries, models, ledger)) for row, entries in rows.items()}
    return Sheet(
        name=table.name,
        title=table.title,
        dataset=table.dataset,
        where=table.where,
        columns=tuple(dict.fromkeys(entry.column for entry in table.entries)),
        rows={row: found for row, found in lines.items() if any(not line.is_paper for line in found)},
        notes=table.notes,
        absent={row: e[0].command for row, e in rows.items() if e[0].model is None and e[0].command},
    )


def _lines(table: Table, entries: Sequence[Entry], models: Mapping[str, Results], ledger: Ledger) -> Iterator[Line]:
    """The lines of a row: the paper's numbers, and those of each model that was measured."""
    parts = [list(part) for _, part in groupby(entries, key=lambda entry: entry.model)]
    if any(entry.paper is not None for entry in parts[0]):
        yield Line("paper", tuple(Figure(paper_number(entry)) for entry in parts[0]), is_paper=True)
    for part in parts:
        if any(entry.ours for entry in part):
            remark = f" ({part[0].remark})" if part[0].remark else ""
            figures = tuple(_figure(table, entry, models.get(str(entry.model)), ledger) for entry in part)
            yield Line(f"{part[0].model}{remark}", figures)


def _figure(table: Table, entry: Entry, model: Results | None, ledger: Ledger) -> Figure:
    """One number of ours, and how far it is from the paper's; where there is none, the command that measures it."""
    ours, commands = entry.ours, [entry.command] if entry.command else []
    title = f"{entry.model}, {letters(f'{_number(table)}: {entry.row}, {entry.column}')}"
    if ours is None:
        return Figure("—", at=ledger.add(title, "not measured", {}, commands, {}) if commands else None)
    if not ours.records and model and entry.column in OF_TRAINING:
        ours = ours._replace(records=_training(model))
    trained = model.trained_lambda if model else None
    figure = ledger.figure(title, ours, trained, extra=_beside(table, entry), otherwise=commands)
    difference = "" if entry.difference is None else signed(entry.difference)
    return replace(figure, difference=difference, within=_is_within(entry) if difference else None)


def _beside(table: Table, entry: Entry) -> dict[str, str]:
    """What stands beside a number: the paper's, a comparison, and conditions where no records do."""
    notes = [note for note in table.notes if note.startswith(f"{entry.model}: ")]
    known = {
        "paper": None if entry.paper is None else f"{entry.paper:g}",
        letters(f"against {entry.against}"): None if entry.p is None else say_p(entry.p),
        "conditions": None if entry.ours and entry.ours.records else " ".join(notes),
    }
    return {name: text for name, text in known.items() if text}


def _number(table: Table) -> str:
    """How a table is called: "Table 2", or what it is of."""
    return table.title.partition(":")[0]


def _training(model: Results) -> tuple[Record, ...]:
    return tuple(record for record in model.records if record.cell.kind == "training")[:1]


def _is_within(entry: Entry) -> bool | None:
    """Whether the paper's number lies in our interval; None where there is none."""
    if entry.ours is None or entry.paper is None or entry.ours.low is None or entry.ours.high is None:
        return None
    return entry.ours.low <= entry.paper <= entry.ours.high


def _source(result: Results) -> Source:
    """Machines and dates of a model's records, and the commands that make them all."""
    lines = commands(result.folders[0], result, audits_of(result)) if result.folders and result.records else []
    weights = f"Weights: sha256 {result.config.weights_sha256}."
    return Source(result.name, (weights, *provenance(result.records)), tuple(f"sdnet-bench {line}" for line in lines))
