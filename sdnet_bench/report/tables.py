"""The paper's tables with our numbers beside the published ones: records in, entries out.

A table is a list of entries, each one number of the paper and one of ours; how it looks is decided at the end.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..backbones import BACKBONES
from ..config import MODELS, Frozen
from .results import Results, Value, percent

OF_THE_MACHINE = ("Memory", "Speed")
EPS = {"linf 8/255": ("linf", 8 / 255), "l2 0.5": ("l2", 0.5)}


class PaperRow(Frozen):
    """One row of a published table."""

    dataset: str
    name: str
    backbone: str
    values: tuple[float, ...]
    rule: str | None = None
    """Which of a model's numbers stand in this row, where it is not those at lambda_0."""
    shows: str = "accuracy"


class PaperTable(Frozen):
    """One published table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]

    def rows_for(self, dataset: str) -> list[PaperRow]:
        """Those measured on `dataset`; those of CIFAR-10 where the paper did not measure on it."""
        own = [row for row in self.rows if row.dataset == dataset]
        return own or [row for row in self.rows if row.dataset == "cifar10"]


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
    comparable: bool = True
    """Whether both were measured on the same data set, and of a thing that does not depend on the machine."""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, where the two can be compared."""
        if self.ours is None or self.paper is None or not self.comparable:
            return None
        return self.ours.value - self.paper


@dataclass(frozen=True)
class Table:
    """A table for one data set."""

    number: int
    title: str
    dataset: str
    measured_on: str
    """The data set of the paper's numbers."""
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """How our numbers were got."""


Lookup = Callable[[Results, PaperRow, str], Value | None]


def build_tables(results: Sequence[Results]) -> list[Table]:
    """Tables 1 to 4 for every data set that a model was trained on; for digits where there is no model yet."""
    datasets = sorted({result.config.dataset for result in results}) or ["digits"]
    return [_build(number, dataset, results) for dataset in datasets for number in CELLS]


def _build(number: int, dataset: str, results: Sequence[Results]) -> Table:
    paper = published()[f"table{number}"]
    rows = paper.rows_for(dataset)
    models = [result for result in results if result.config.dataset == dataset]
    entries = [entry for row in rows for entry in _entries(number, paper, row, dataset, models)]
    return Table(number, paper.title, dataset, rows[0].dataset, tuple(entries), tuple(_notes(number, models)))


def _notes(number: int, models: Sequence[Results]) -> Iterator[str]:
    """What a reader has to know of each model's numbers."""
    for model in models:
        attacks = [model.attack_conditions(*threat) for threat in EPS.values()] if number == 4 else []
        yield "; ".join([f"{model.name}: {model.conditions()}", *filter(None, attacks)])


def _entries(number: int, paper: PaperTable, row: PaperRow, dataset: str, models: Iterable[Results]) -> Iterator[Entry]:
    """A row once for every model of its architecture; once without a model where there is none."""
    own: list[Results | None] = [model for model in models if model.config.backbone.name == row.backbone]
    for model in own or [None]:
        for column, value in zip(paper.columns, row.values, strict=True):
            ours = CELLS[number](model, row, column) if model else None
            name = model.name if model else None
            command = _command(number, row, column, dataset, name)
            comparable = row.dataset == dataset and not column.startswith(OF_THE_MACHINE)
            yield Entry(row.name, column, None if math.isnan(value) else value, name, ours, command, comparable)


def _table1(model: Results, row: PaperRow, column: str) -> Value | None:
    if column.startswith("Top-1"):
        return model.clean()
    metric, scale = {"Model": ("parameters", 1e6), "Memory": ("peak_memory", 1e9)}.get(
        column.split()[0], ("images_per_second", 1)
    )
    measured = model.training(metric)
    return Value(measured.value / scale) if measured else None


def _table2(model: Results, row: PaperRow, column: str) -> Value | None:
    record = model.corrupted("gaussian", int(column), adaptive=row.rule == "adaptive")
    if row.shows == "lambda":
        return Value(float(record.cell.lambda_ or 0)) if record else None
    return percent([record])


def _table3(model: Results, row: PaperRow, column: str) -> Value | None:
    return model.corrupted_mean(column, adaptive=row.rule == "adaptive")


def _table4(model: Results, row: PaperRow, column: str) -> Value | None:
    if row.shows == "lambda":
        tuned = model.tuned_lambda(*EPS[column])
        return None if tuned is None else Value(tuned)
    return model.attacked(*EPS[column], row.rule or "trained")


CELLS: dict[int, Lookup] = {1: _table1, 2: _table2, 3: _table3, 4: _table4}


def _command(number: int, row: PaperRow, column: str, dataset: str, model: str | None) -> str | None:
    """What fills a cell, ready to be typed; None where this version has no such recipe."""
    if model is None:
        recipe = f"{row.backbone}-{dataset}"
        return f"sdnet-bench train {recipe}" if row.backbone in BACKBONES and (MODELS / recipe).exists() else None
    if number == 1:
        return (
            f"sdnet-bench evaluate {model}" if column.startswith("Top-1") else f"sdnet-bench train {model} --overwrite"
        )
    if number == 4:
        return f"sdnet-bench attack {model} --norm {EPS[column][0]}"
    noise = f"{model} --corruption {'gaussian' if number == 2 else 'all'}"
    if row.rule == "adaptive":
        return f"sdnet-bench fit-lambda {noise} && sdnet-bench evaluate {noise} --lambda adaptive"
    return f"sdnet-bench evaluate {noise}"


@cache
def published() -> dict[str, PaperTable]:
    """The paper's tables, by `table1` to `table4`."""
    content: dict[str, Any] = tomllib.loads(Path(__file__).with_name("paper.toml").read_text(encoding="utf-8"))
    return {name: PaperTable.model_validate(table) for name, table in content.items()}
