"""The paper's tables with our numbers beside the published ones: records in, entries out.

A table is a list of entries, each one number of the paper and one of ours; how it looks is decided at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..backbones import BACKBONES
from ..config import MODELS, Backbone
from ..records import NOISES, Record
from ..records.statistics import Value, mcnemar
from .published import PaperRow, titles
from .registry import TABLES
from .results import Results
from .study import TableStudy


@dataclass(frozen=True)
class Entry:
    """One number of the paper and ours."""

    row: str
    column: str
    paper: float | None
    model: str | None
    """None where no model of this architecture is at hand."""
    ours: Value | None
    command: str | None
    """What to type to fill an empty `ours`; None where nothing does."""
    backbone: str = ""
    remark: str | None = None
    """What sets our number apart from the paper's."""
    comparable: bool = True
    """Whether both were measured on the same data set, and of a thing that does not depend on the machine."""
    against: str | None = None
    """The row that a reader compares this one with."""
    p: float | None = None
    """McNemar's for the difference from that row."""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, where the two can be compared."""
        if self.ours is None or self.paper is None or not self.comparable:
            return None
        return self.ours.value - self.paper


@dataclass(frozen=True)
class Table:
    """A table for one data set."""

    name: str
    """`table1`, ..., or a word for those that the paper does not have."""
    title: str
    dataset: str
    measured_on: str
    """The data set of the paper's numbers."""
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """How our numbers were got."""


def build_tables(results: Sequence[Results], studies: Sequence[TableStudy] = TABLES) -> list[Table]:
    """These tables for every data set that a model was trained on; for digits where there is no model yet.

    Optional ones are left out where nothing was measured for them.
    """
    datasets = sorted({result.config.dataset for result in results}) or ["digits"]
    built = [(study, _build(study, dataset, results)) for dataset in datasets for study in studies]
    return [table for study, table in built if not study.optional or _was_measured(table)]


def _was_measured(table: Table) -> bool:
    """Whether there is more in it than what every model has: clean accuracy as it was trained."""
    cells = [record.cell for entry in table.entries if entry.ours for record in entry.ours.records]
    return any(cell.images.corruption or cell.inference.rule or cell.inference.steps for cell in cells)


def _build(study: TableStudy, dataset: str, results: Sequence[Results]) -> Table:
    rows = study.published.rows_for(dataset)
    models = [result for result in results if result.config.dataset == dataset]
    if study.on_archives:  # there a model has a line for each origin
        models += [archived for model in models for archived in model.on_archives()]
    found = [entry for row in rows for entry in _entries(study, row, dataset, models)]
    if not study.fixed:
        found += _shown([entry for row in _added_rows(rows, models) for entry in _entries(study, row, dataset, models)])
    entries = tuple(_compared(found, {model.name: model.config.backbone for model in models}))
    notes = tuple(_notes(study, models, entries))
    return Table(study.name, study.published.title, dataset, rows[0].dataset, entries, notes)


def _added_rows(rows: Sequence[PaperRow], models: Iterable[Results]) -> Iterator[PaperRow]:
    """Rows for architectures that the table does not name, after those of an SDNet-18 or, without lambda, a ResNet-18.

    So every backbone, a plugin's too, stands in every table that it was measured for.
    """
    named = {row.backbone for row in rows}
    found = [(model.config.backbone.architecture, model) for model in models]
    added = {architecture: model for architecture, model in found if architecture not in named}
    for backbone, model in sorted(added.items()):
        template = "resnet18" if model.trained_lambda is None else "sdnet18"
        names = _row_names(rows, template, backbone)
        if model.config.backbone.has_csc_stem and model.config.backbone.name in added:
            names |= _row_names(rows, "resnet18", model.config.backbone.name)  # what it is compared with
        yield from (row.of(backbone, names) for row in rows if row.backbone == template)


def _row_names(rows: Sequence[PaperRow], template: str, backbone: str) -> dict[str, str]:
    """What the rows of a template are called where they are a backbone's."""
    templates = [row.name for row in rows if row.backbone == template]
    return {name: _renamed(name, titles()[template], titles().get(backbone, backbone)) for name in templates}


def _renamed(row: str, template: str, backbone: str) -> str:
    """The name of a row with the backbone in the place of its template, or behind it where the row names none."""
    return row.replace(template, backbone) if template in row else f"{row}, {backbone}"


def _shown(entries: Sequence[Entry]) -> list[Entry]:
    """Those of rows in which anything was measured."""
    measured = {entry.row for entry in entries if entry.ours}
    return [entry for entry in entries if entry.row in measured]


def _compared(entries: Sequence[Entry], backbones: Mapping[str, Backbone]) -> list[Entry]:
    """Entries with McNemar's p for those that a reader compares with another one.

    Models are named after their `backbones`: the partner's name differs in that alone.
    """
    values = {(entry.row, entry.column, entry.model): entry.ours for entry in entries}
    architectures = {entry.row: entry.backbone for entry in entries}
    slugs = {backbone.architecture: backbone.slug for backbone in backbones.values()}
    compared = []
    for entry in entries:
        p = None
        if entry.against in architectures and entry.model:
            architecture = architectures[entry.against]
            partner = entry.model.replace(backbones[entry.model].slug, slugs.get(architecture, architecture))
            other = values.get((entry.against, entry.column, partner))
            p = mcnemar(entry.ours, other) if entry.ours and other else None
        compared.append(replace(entry, p=p))
    return compared


def _notes(study: TableStudy, models: Sequence[Results], entries: Sequence[Entry]) -> Iterator[str]:
    """What a reader has to know of each model's numbers."""
    present = {entry.model for entry in entries}
    for model in models:
        if model.name not in present:
            continue
        values = [entry.ours for entry in entries if entry.model == model.name and entry.ours]
        records = [record for value in values for record in value.records]
        yield "; ".join([f"{model.name}: {model.conditions()}", *_measured(records), *_fits_behind(model, records)])
        yield from study.notes(model)


def _measured(records: Sequence[Record]) -> Iterator[str]:
    """On how many images, with which seeds, how and where; several of a kind are all named."""
    if records:
        counts = " and ".join(f"{n:,}" for n in sorted({record.n for record in records}))
        seeds = ", ".join(str(seed) for seed in sorted({record.images.seed for record in records}))
        precisions = ", ".join(sorted({record.inference.precision for record in records}))
        devices = ", ".join(sorted({str(record.provenance.get("device", "an unknown device")) for record in records}))
        yield f"{counts} test images, seed {seeds}, {precisions} on {devices}"


def _fits_behind(model: Results, records: Sequence[Record]) -> Iterator[str]:
    """How the lambdas of these records were fitted."""
    rules = {record.inference.rule for record in records if record.inference.rule}
    fits = [fit for fit in model.fits.values() if {fit.rule, fit.per_image_rule} & rules]
    if model.pooled and {model.pooled.rule, model.pooled.per_image_rule} & rules:
        fits += filter(None, map(model.fit, NOISES))
    found = {fit.found for fit in fits if fit.found}
    if found:
        yield f"lambda fitted by {', '.join(sorted(found))}"


def _entries(study: TableStudy, row: PaperRow, dataset: str, models: Iterable[Results]) -> Iterator[Entry]:
    """A row once for every model of its architecture; once without a model where there is none."""
    own: list[Results | None] = [model for model in models if model.config.backbone.architecture == row.backbone]
    columns = study.published.columns
    for model in own or [None] * bool(row.values):  # a row of ours alone needs a model of ours
        for column, value in zip(columns, row.values or [math.nan] * len(columns), strict=True):
            yield Entry(
                row=row.name,
                column=column,
                paper=None if math.isnan(value) else value,
                model=model.name if model else None,
                ours=study.value(model, row, column) if model else None,
                command=_command(study, row, column, dataset, model),
                comparable=row.dataset == dataset and column not in study.of_the_machine,
                backbone=row.backbone,
                remark=study.remark(model, row) if model else None,
                against=row.against,
            )


def _command(study: TableStudy, row: PaperRow, column: str, dataset: str, model: Results | None) -> str | None:
    """What fills a cell, ready to be typed; None where nothing does."""
    if model is not None:
        return study.filled_by(model, row, column)
    recipe = f"{row.backbone}-{dataset}"
    return f"sdnet-bench train {recipe}" if row.backbone in BACKBONES and (MODELS / recipe).exists() else None
