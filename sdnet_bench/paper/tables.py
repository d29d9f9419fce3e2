"""The paper's tables with our numbers beside the published ones: records in, entries out.

A table is a list of entries, each one number of the paper and one of ours; how it looks is decided at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..backbones import BACKBONES
from ..config import MODELS, Backbone
from ..records import NOISES, UNKNOWN, Record
from ..records.statistics import Value, mcnemar
from .accuracy import table1_value
from .attacks import COLUMNS, shows_lambda, table4_value
from .inference import KNOWN_TYPE, inference_value
from .iterations import remark, table5_value
from .noise import corruptions_value, table2_value, table3_value
from .published import PaperRow, PaperTable, published, titles
from .registry import ON_ARCHIVES
from .results import Results

OF_THE_MACHINE = ("Memory", "Speed")


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


Lookup = Callable[[Results, PaperRow, str], Value | None]


def build_tables(results: Sequence[Results]) -> list[Table]:
    """All tables for every data set that a model was trained on; for digits where there is no model yet."""
    datasets = sorted({result.config.dataset for result in results}) or ["digits"]
    tables = [_build(name, dataset, results) for dataset in datasets for name in CELLS]
    return [table for table in tables if table.name not in OPTIONAL or _was_measured(table)]


def _was_measured(table: Table) -> bool:
    """Whether there is more in it than what every model has: clean accuracy as it was trained."""
    return any(entry.ours and (entry.against or not entry.column.endswith("clean")) for entry in table.entries)


def _build(name: str, dataset: str, results: Sequence[Results]) -> Table:
    paper = published()[name]
    rows = paper.rows_for(dataset)
    models = [result for result in results if result.config.dataset == dataset]
    if name in ON_ARCHIVES:  # there a model has a line for each origin
        models += [archived for model in models for archived in model.on_archives()]
    found = [entry for row in rows for entry in _entries(name, paper, row, dataset, models)]
    if name not in CLOSED:
        added = [entry for row in _added_rows(rows, models) for entry in _entries(name, paper, row, dataset, models)]
        found += _shown(added)
    entries = _compared(found, {model.name: model.config.backbone for model in models})
    return Table(name, paper.title, dataset, rows[0].dataset, tuple(entries), tuple(_notes(name, models, entries)))


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


def _notes(name: str, models: Sequence[Results], entries: Sequence[Entry]) -> Iterator[str]:
    """What a reader has to know of each model's numbers."""
    present = {entry.model for entry in entries}
    for model in models:
        if model.name not in present:
            continue
        values = [entry.ours for entry in entries if entry.model == model.name and entry.ours]
        records = [record for value in values for record in value.records]
        yield "; ".join([f"{model.name}: {model.conditions()}", *_measured(records), *_fits_behind(model, records)])
        for robustness in model.robustness.values() if name == "table4" else ():
            yield f"{model.name}, {'; '.join(robustness.conditions())}"


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


def _entries(table: str, paper: PaperTable, row: PaperRow, dataset: str, models: Iterable[Results]) -> Iterator[Entry]:
    """A row once for every model of its architecture; once without a model where there is none."""
    own: list[Results | None] = [model for model in models if model.config.backbone.architecture == row.backbone]
    for model in own or [None] * bool(row.values):  # a row of ours alone needs a model of ours
        for column, value in zip(paper.columns, row.values or [math.nan] * len(paper.columns), strict=True):
            yield Entry(
                row=row.name,
                column=column,
                paper=None if math.isnan(value) else value,
                model=model.name if model else None,
                ours=CELLS[table](model, row, column) if model else None,
                command=_command(table, row, column, dataset, model),
                comparable=row.dataset == dataset and not column.startswith(OF_THE_MACHINE),
                backbone=row.backbone,
                remark=remark(row, model),
                against=row.against,
            )


OPTIONAL = ("table5", "inference", "corruptions")
"""Tables that are left out while there is nothing to show in them."""

CLOSED = ("table6",)
"""Tables that compare certain architectures, and take in no other."""

CELLS: dict[str, Lookup] = {
    "table1": table1_value,
    "table2": table2_value,
    "table3": table3_value,
    "table4": table4_value,
    "table5": table5_value,
    "table6": table1_value,
    "inference": inference_value,
    "corruptions": corruptions_value,
}


def _command(table: str, row: PaperRow, column: str, dataset: str, model: Results | None) -> str | None:
    """What fills a cell, ready to be typed; None where nothing does."""
    if table == "table4" and row.shows == "lambda" and not shows_lambda(column):
        return None
    if model is None:
        recipe = f"{row.backbone}-{dataset}"
        return f"sdnet-bench train {recipe}" if row.backbone in BACKBONES and (MODELS / recipe).exists() else None
    if table in ("table1", "table6"):
        clean = column.startswith("Top-1")
        retrain = f"sdnet-bench train {model.name} --overwrite" if (MODELS / model.name).exists() else None
        return f"sdnet-bench evaluate {model.name}" if clean else retrain
    if table == "table4":
        if row.rule == "adaptive" and model.pooled is None:
            return f"sdnet-bench fit-lambda {model.name} --corruption all"
        return f"sdnet-bench attack {model.name} --norm {COLUMNS[column][0].norm}"
    if table == "inference" and column.startswith(UNKNOWN) and row.rule in KNOWN_TYPE:
        return None
    if column == "mCE" and dataset != "imagenet":
        return None
    return None if model.origin else f"sdnet-bench evaluate {model.name} --study {table}"
