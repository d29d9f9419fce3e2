"""Builds the paper's tables from records, with our numbers beside the published ones.

A table is a list of entries, each with one number of the paper and one of ours; `render` formats it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
    """Name of the model; None where there is no model of this architecture."""
    ours: Value | None
    command: str | None
    """The command that fills an empty `ours`; None where there is none."""
    backbone: str = ""
    remark: str | None = None
    """A difference in conditions between our number and the paper's."""
    comparable: bool = True
    """Whether both were measured on the same data set, and do not depend on the machine."""
    against: str | None = None
    """Name of the row that this one is compared with."""
    p: float | None = None
    """p-value of McNemar's test for the difference from that row; None where other attacks stand behind that one."""

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
    """`table1`, ..., or a word for a table that is not in the paper."""
    title: str
    dataset: str
    measured_on: str
    """The data set of the paper's numbers."""
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """Notes on the measurement of our numbers."""

    @property
    def where(self) -> str:
        """The data set of our numbers and, where it is another one, that of the paper's."""
        is_foreign = self.dataset != self.measured_on and any(entry.paper is not None for entry in self.entries)
        return f"Ours on {self.dataset}." + f" The published figures are those of {self.measured_on}." * is_foreign


def build_tables(results: Sequence[Results], studies: Sequence[TableStudy] = TABLES) -> list[Table]:
    """The tables for every data set that a model was trained or measured on; for digits where there is no model.

    Optional tables are left out where nothing was measured for them.
    """
    results = [each for result in results for each in result.on_all()]
    datasets = sorted({result.config.dataset for result in results}) or ["digits"]
    built = [(study, _build(study, dataset, results)) for dataset in datasets for study in studies]
    return [table for study, table in built if not study.optional or _was_measured(table)]


def _was_measured(table: Table) -> bool:
    """Whether a table has more than clean accuracy at lambda_0."""
    cells = [record.cell for entry in table.entries if entry.ours for record in entry.ours.records]
    return any(cell.images.corruption or cell.inference.rule or cell.inference.steps for cell in cells)


def _build(study: TableStudy, dataset: str, results: Sequence[Results]) -> Table:
    rows = study.published.rows_for(dataset)
    models = [result for result in results if result.config.dataset == dataset]
    if study.on_archives:  # one line per model and origin
        models += [archived for model in models for archived in model.on_archives()]
    added = [] if study.fixed else list(_added_rows(rows, models))
    found: list[Entry] = []
    for row in (*rows, *added):
        new = list(_entries(study, row, dataset, models))
        is_extra = row in added or (row.adapt and not study.optional)  # shown only where it was measured
        found += new if not is_extra or any(entry.ours for entry in new) else []
    entries = tuple(_compared(found, {model.name: model.config.backbone for model in models}))
    notes = tuple(_notes(study, models, entries))
    return Table(study.name, study.published.title, dataset, rows[0].dataset, entries, notes)


def _added_rows(rows: Sequence[PaperRow], models: Iterable[Results]) -> Iterator[PaperRow]:
    """Rows for architectures that are not in the table, copied from those of SDNet-18 or, without lambda, ResNet-18.

    Every backbone, also of a plugin, thus has rows in every table that it was measured for.
    """
    named = {row.backbone for row in rows}
    found = [(model.config.backbone.architecture, model) for model in models]
    added = {architecture: model for architecture, model in found if architecture not in named}
    for backbone, model in sorted(added.items()):
        template = "resnet18" if model.trained_lambda is None else "sdnet18"
        names = _row_names(rows, template, backbone)
        if model.config.backbone.has_csc_stem and model.config.backbone.name in added:
            names |= _row_names(rows, "resnet18", model.config.backbone.name)  # the row that it is compared with
        yield from (row.of(backbone, names) for row in rows if row.backbone == template)


def _row_names(rows: Sequence[PaperRow], template: str, backbone: str) -> dict[str, str]:
    """Names of a backbone's rows by those of the template's: its title replaces the template's or is appended."""
    old, new = titles()[template], titles().get(backbone, backbone)
    names = [row.name for row in rows if row.backbone == template]
    return {name: name.replace(old, new) if old in name else f"{name}, {new}" for name in names}


def _compared(entries: Sequence[Entry], backbones: Mapping[str, Backbone]) -> list[Entry]:
    """Adds McNemar's p to entries that are compared with another row.

    The model of the other row is found by name: it differs only in the name of the backbone.
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
            p = _p(entry.ours, values.get((entry.against, entry.column, partner)))
        compared.append(replace(entry, p=p))
    return compared


def _p(ours: Value | None, other: Value | None) -> float | None:
    """McNemar's p; None where a value is missing or other attacks stand behind it, as a union of more is lower."""
    if ours is None or other is None:
        return None
    attacks = [{record.cell.attack and record.attack.bare for record in value.records} for value in (ours, other)]
    return mcnemar(ours, other) if attacks[0] == attacks[1] else None


def _notes(study: TableStudy, models: Sequence[Results], entries: Sequence[Entry]) -> Iterator[str]:
    """Notes on the numbers of each model."""
    for model in models:
        if own := [entry for entry in entries if entry.model == model.name]:
            records = [record for entry in own if entry.ours for record in entry.ours.records]
            found = filter(None, [model.conditions(), *_measured(records), *_fits_behind(model, records)])
            yield f"{model.name}: {'; '.join(found)}"
            yield from study.notes(model)


def _measured(records: Sequence[Record]) -> Iterator[str]:
    """Notes on the number of images, seeds, precision and machines of these records."""
    if records:
        counts = " and ".join(f"{n:,}" for n in sorted({record.n for record in records}))
        seeds = ", ".join(str(seed) for seed in sorted({record.images.seed for record in records}))
        precisions = ", ".join(sorted({record.inference.precision for record in records}))
        devices = ", ".join(sorted({str(record.provenance.get("device", "an unknown device")) for record in records}))
        yield f"{counts} test images, seed {seeds}, {precisions} on {devices}"


def _fits_behind(model: Results, records: Sequence[Record]) -> Iterator[str]:
    """Notes on the fits that chose the lambdas of these records."""
    rules = {record.inference.rule for record in records if record.inference.rule}
    fits = [fit for fit in model.fits.values() if {fit.rule, fit.per_image_rule} & rules]
    if model.pooled and {model.pooled.rule, model.pooled.per_image_rule} & rules:
        fits += filter(None, map(model.fit, NOISES))
    found = {fit.found for fit in fits if fit.found}
    if found:
        yield f"lambda fitted by {', '.join(sorted(found))}"


def _entries(study: TableStudy, row: PaperRow, dataset: str, models: Iterable[Results]) -> Iterator[Entry]:
    """The entries of a row for every model of its architecture; without a model where there is none."""
    own: list[Results | None] = [model for model in models if model.config.backbone.architecture == row.backbone]
    columns = study.published.columns
    for model in own or [None] * bool(row.values):  # a row without paper values needs a model
        for column, value in zip(columns, row.values or [math.nan] * len(columns), strict=True):
            yield Entry(
                row=row.name,
                column=column,
                paper=None if math.isnan(value) else value,
                model=model.name if model else None,
                ours=study.value(model, row, column) if model else None,
                command=_filling(study, model, row, column) if model else _training(f"{row.backbone}-{dataset}"),
                comparable=row.dataset == dataset and column not in study.of_the_machine,
                backbone=row.backbone,
                remark=study.remark(model, row) if model else None,
                against=row.against,
            )


def _filling(study: TableStudy, model: Results, row: PaperRow, column: str) -> str | None:
    """The command that measures a cell; None for a network in memory, and on another data set than that of training."""
    return None if model.in_memory or model.is_elsewhere else study.filled_by(model, row, column)


def _training(recipe: str) -> str | None:
    """The command of a shipped recipe; None where it is not shipped."""
    return f"sdnet-bench train {recipe}" if (MODELS / recipe).exists() else None
