"""All records as flat Parquet files: a row per cell, or a row per image of each cell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import replacing
from ..paper.results import Results
from ..records import Record
from ..records.statistics import percent

if TYPE_CHECKING:
    from pandas import DataFrame


def write_cells(results: Sequence[Results], folder: Path) -> list[Path]:
    """Writes `records.parquet`, the frame of `cells`. Returns its path."""
    return [_write(cells(results), folder / "records.parquet")]


def write_images(results: Sequence[Results], folder: Path) -> list[Path]:
    """Writes `images.parquet`, the frame of `images`. Returns its path."""
    return [_write(images(results), folder / "images.parquet")]


def _write(frame: DataFrame, path: Path) -> Path:
    with replacing(path) as scratch:
        frame.to_parquet(scratch, index=False, compression="zstd")
    return path


def cells(results: Sequence[Results]) -> DataFrame:
    """A row per record: the fields of its cell, accuracy (%) with its interval, metrics and provenance.

    Columns are named as by `records.load`; those of the provenance begin with `provenance_`. Values that are no single
    number or text, such as several lambdas, are JSON.
    """
    import pandas

    frame = pandas.DataFrame([_row(record) for result in results for record in (*result.records, *result.elsewhere)])
    mixed = [name for name in frame if frame[name].map(type, na_action="ignore").dropna().nunique() > 1]
    nested = [name for name in frame if frame[name].map(lambda value: isinstance(value, list | dict)).any()]
    for name in {*mixed, *nested}:
        frame[name] = frame[name].map(_as_text, na_action="ignore")
    return frame


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _row(record: Record) -> dict[str, object]:
    """The columns of a record."""
    cell, value = record.cell.model_dump(mode="json"), percent([record]) if record.outcomes else None
    attack = {f"attack_{name}": part for name, part in (cell.pop("attack") or {}).items()}
    measured = {"accuracy": value.value, "low": value.low, "high": value.high} if value else {}
    made = {f"provenance_{name}": part for name, part in record.provenance.items()}
    names = {"key": record.cell.key, "model": record.model, "protocol": record.cell.protocol}
    return {**names, **cell, **attack, "n": record.n, **measured, **record.metrics, **made}


def images(results: Sequence[Results]) -> DataFrame:
    """A row per image of each record: `key` of the cell, place `image` among its images, and whether `correct`."""
    import pandas

    records = [record for result in results for record in (*result.records, *result.elsewhere) if record.outcomes]
    sizes = [record.n for record in records]
    keys = pandas.Categorical.from_codes(
        np.repeat(np.arange(len(records)), sizes), pandas.Index([record.cell.key for record in records], dtype=object)
    )
    places = [np.arange(size, dtype=np.int32) for size in sizes] or [np.empty(0, np.int32)]
    correct = [record.correct for record in records] or [np.empty(0, bool)]
    return pandas.DataFrame({"key": keys, "image": np.concatenate(places), "correct": np.concatenate(correct)})
