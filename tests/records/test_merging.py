"""Runs of one network on several machines become one: each cell once, fits too, nothing of another network."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sdnet_bench.errors import RecordError
from sdnet_bench.records import Cell, Images, Inference, Record, RecordStore
from sdnet_bench.records.lambda_fit import LambdaFit, Point, fit_line, save_fit, saved_fits
from sdnet_bench.records.merging import merge

OURS, THEIRS = "a" * 64, "b" * 64


def record(lambda_: float, weights: str = OURS, correct: bool = True) -> Record:
    images = Images(dataset="digits", split="test", digest="d")
    cell = Cell(weights=weights, images=images, inference=Inference(lambda_=lambda_))
    return Record(model="net", cell=cell, n=8, outcomes="/w==" if correct else "AA==")


def fit(corruption: str, best: float = 0.5, weights: str = OURS) -> LambdaFit:
    return fit_line(corruption, weights, [Point(0.1, 1.0, 0.1, 0.9), Point(0.2, 2.0, best, 0.8)])


def make_run(folder: Path, records: Sequence[Record], *fits: LambdaFit) -> Path:
    store = RecordStore(folder)
    for each in records:
        store.append(each)
    for each in fits:
        save_fit(folder, each)
    return folder


def merged(run: Path, *folders: Path, progress: Any) -> int:
    return merge(folders, RecordStore(run), run, OURS, progress)


def lambdas(run: Path) -> list[float | None]:
    """Of every line of the file."""
    lines = (run / RecordStore.FILE).read_text("utf-8").splitlines()
    return [Record.model_validate_json(line).inference.lambda_ for line in lines]


def test_every_cell_of_all_folders_is_there_once(tmp_path: Path, told: Any) -> None:
    run = make_run(tmp_path / "run", [record(0.1), record(0.2)])
    first = make_run(tmp_path / "first", [record(0.2, correct=False), record(0.3)], fit("shot"))
    second = make_run(tmp_path / "second", [record(0.3), record(0.4), record(0.5, THEIRS)], fit("gaussian"))
    assert merged(run, first, second, progress=told) == 2
    assert lambdas(run) == [0.1, 0.2, 0.3, 0.4]
    assert RecordStore(run)[record(0.2).cell].accuracy == 1  # its own stays
    assert saved_fits([run]) == {each.name: each for each in (fit("gaussian"), fit("shot"))}
    assert merged(run, first, second, progress=told) == 0
    assert lambdas(run) == [0.1, 0.2, 0.3, 0.4]
    assert told.notes == []


def test_published_records_are_taken_and_known_ones_are_not(tmp_path: Path, told: Any) -> None:
    source = make_run(tmp_path / "source", [record(0.1), record(0.2)])
    run = tmp_path / "run"
    store = RecordStore(run, known=[record(0.1)])
    assert merge([source], store, run, OURS, told) == 1
    assert lambdas(run) == [0.2]


def test_of_two_fits_of_one_name_its_own_stays_with_a_note(tmp_path: Path, told: Any) -> None:
    run = make_run(tmp_path / "run", [record(0.1)], fit("gaussian"))
    other = make_run(tmp_path / "other", [record(0.2)], fit("gaussian", 0.7))
    merged(run, other, progress=told)
    assert saved_fits([run]) == {"gaussian": fit("gaussian")}
    assert told.notes == [f"{run} keeps its own fit of gaussian; that of {other} is another one"]


@pytest.mark.parametrize("fault", ["another network", "empty", "damaged"])
def test_nothing_is_added_where_a_folder_is_of_no_use(tmp_path: Path, told: Any, fault: str) -> None:
    run = make_run(tmp_path / "run", [record(0.1)])
    good = make_run(tmp_path / "good", [record(0.2)])
    bad = make_run(tmp_path / "bad", [record(0.3, THEIRS if fault == "another network" else OURS)])
    if fault == "damaged":
        (bad / RecordStore.FILE).write_text("{}\n", encoding="utf-8")
    if fault == "empty":
        shutil.rmtree(bad)
    message = (
        r"cannot read .*bad.*, line 1: " if fault == "damaged" else r"bad has no record of this network\. Name the"
    )
    with pytest.raises(RecordError, match=message):
        merged(run, good, bad, progress=told)
    assert lambdas(run) == [0.1]
