"""The published numbers as they are printed, and ours beside them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from sdnet_bench.config import Backbone, ModelConfig
from sdnet_bench.data import SEVERITIES
from sdnet_bench.records import AttackSetting, Cell, Record
from sdnet_bench.report.results import Results
from sdnet_bench.report.tables import Entry, Table, build_tables, published

PRINTED = [
    ("table1", "cifar10", "ResNet-18", "Top-1 Acc (%)", 95.54),
    ("table1", "cifar10", "ResNet-34", "Top-1 Acc (%)", 95.57),
    ("table1", "cifar10", "MDEQ", "Model Size (M)", 11.1),
    ("table1", "cifar10", "SCN", "Memory (GB)", 10.0),
    ("table1", "cifar10", "SCN-18", "Speed (n/s)", 158),
    ("table1", "cifar10", "SDNet-18", "Top-1 Acc (%)", 95.20),
    ("table1", "cifar10", "SDNet-18", "Speed (n/s)", 1500),
    ("table1", "cifar10", "SDNet-34", "Memory (GB)", 2.4),
    ("table1", "cifar100", "ResNet-18", "Top-1 Acc (%)", 77.82),
    ("table1", "cifar100", "SCN", "Top-1 Acc (%)", 80.07),
    ("table1", "cifar100", "SDNet-18", "Model Size (M)", 11.3),
    ("table1", "cifar100", "SDNet-34", "Top-1 Acc (%)", 78.48),
    ("table1", "imagenet", "ResNet-18", "Top-1 Acc (%)", 68.98),
    ("table1", "imagenet", "SCN", "Speed (n/s)", 51),
    ("table1", "imagenet", "SDNet-18", "Memory (GB)", 37.6),
    ("table1", "imagenet", "SDNet-34", "Top-1 Acc (%)", 72.67),
    ("table2", "cifar10", "ResNet-18", "1", 79.43),
    ("table2", "cifar10", "ResNet-18", "5", 23.45),
    ("table2", "cifar10", "SCN", "3", 44.97),
    ("table2", "cifar10", "SDNet-18 w/ lambda = 0.1", "2", 63.50),
    ("table2", "cifar10", "SDNet-18 w/ adaptive lambda", "5", 48.84),
    ("table2", "cifar10", "lambda from linear fitting", "1", 0.49),
    ("table2", "cifar10", "lambda from linear fitting", "4", 0.84),
    ("table3", "cifar10", "ResNet-18", "shot", 57.88),
    ("table3", "cifar10", "SCN", "impulse", 54.19),
    ("table3", "cifar10", "SDNet-18 w/ lambda = 0.1", "speckle", 67.11),
    ("table3", "cifar10", "SDNet-18 w/ adaptive lambda", "gaussian", 64.92),
    ("table3", "imagenet", "ResNet-18", "gaussian", 22.73),
    ("table3", "imagenet", "SDNet-18 w/ lambda = 0.1", "shot", 23.97),
    ("table3", "imagenet", "SDNet-18 w/ adaptive lambda", "impulse", 22.01),
    ("table4", "cifar10", "ResNet-18", "linf 8/255", 0.01),
    ("table4", "cifar10", "ResNet-18", "l2 0.5", 29.47),
    ("table4", "cifar10", "SDNet-18 w/ lambda = 0.1", "linf 8/255", 0.11),
    ("table4", "cifar10", "SDNet-18 w/ lambda = 0.1", "l2 0.5", 29.95),
    ("table4", "cifar10", "SDNet-18 (after tuning lambda), attack made at lambda = 0.1", "linf 8/255", 35.18),
    ("table4", "cifar10", "SDNet-18 (after tuning lambda), attack made at lambda = 0.1", "l2 0.5", 62.80),
]


@pytest.mark.parametrize(("table", "dataset", "name", "column", "value"), PRINTED)
def test_published_numbers_are_those_of_the_paper(
    table: str, dataset: str, name: str, column: str, value: float
) -> None:
    paper = published()[table]
    (row,) = (row for row in paper.rows if (row.dataset, row.name) == (dataset, name))
    assert row.values[paper.columns.index(column)] == value


def test_published_tables_are_complete() -> None:
    sizes = {name: (len(table.rows), len(table.columns)) for name, table in published().items()}
    assert sizes["table1"] == (7 + 7 + 5, 4)
    assert sizes["table2"] == (5, 5)
    assert sizes["table3"] == (4 + 3, 4)
    for table in published().values():
        assert all(len(row.values) == len(table.columns) for row in table.rows)


def test_the_paper_has_no_speckle_noise_on_imagenet() -> None:
    paper = published()["table3"]
    values = [row.values[paper.columns.index("speckle")] for row in paper.rows if row.dataset == "imagenet"]
    assert len(values) == 3
    assert all(math.isnan(value) for value in values)


def record(right: int, **cell: Any) -> Record:
    content = {"weights": "w", "dataset": "cifar10", "split": "test", "images": "i", "lambda_": 0.1} | cell
    return Record.of("mine", Cell(**content), np.arange(1000) < right)


def noisy(right: int, severity: int, **rest: Any) -> Record:
    return record(right, corruption="gaussian", severity=severity, level=float(severity), **rest)


def attacked(right: int, made_at: float, scored_at: float, split: str = "test") -> Record:
    setting = AttackSetting(norm="linf", eps=8 / 255, step_size=0.01, steps=10, crafted_at=made_at)
    return record(right, lambda_=scored_at, attack=setting, split=split)


TRAINING = Record(
    model="mine",
    cell=Cell(kind="training", weights="w", dataset="cifar10", split="train", images="t", lambda_=0.1),
    n=45_000,
    metrics={"parameters": 11_173_962, "peak_memory": 1.5e9, "images_per_second": 1234.5},
)
RECORDS = (
    TRAINING,
    record(950),
    *(noisy(900 - 100 * severity, severity) for severity in SEVERITIES),
    *(noisy(950 - 50 * severity, severity, lambda_=0.2 * severity, rule="algorithm-1/x") for severity in (1, 2, 3)),
    attacked(10, 0.1, 0.1),
    attacked(10, 0.1, 0.1, split="validation"),
    attacked(400, 0.1, 0.7, split="validation"),
    attacked(350, 0.1, 0.7),
    attacked(120, 0.7, 0.7),
)


def results(*records: Record, dataset: str = "cifar10", backbone: str = "sdnet18") -> Results:
    config = ModelConfig(backbone=Backbone(name=backbone), num_classes=10, dataset=dataset, weights_sha256="w")
    return Results("mine", config, records)


def entry(tables: list[Table], number: int, row: str, column: str) -> Entry:
    (table,) = (table for table in tables if table.number == number)
    (found,) = (entry for entry in table.entries if (entry.row, entry.column) == (row, column))
    return found


FIXED, ADAPTIVE = "SDNet-18 w/ lambda = 0.1", "SDNet-18 w/ adaptive lambda"
TUNED = "SDNet-18 (after tuning lambda), attack "


@pytest.mark.parametrize(
    ("number", "row", "column", "ours", "difference"),
    [
        (1, "SDNet-18", "Model Size (M)", 11.173962, -0.026),
        (1, "SDNet-18", "Top-1 Acc (%)", 95.0, -0.2),
        (1, "SDNet-18", "Memory (GB)", 1.5, None),
        (1, "SDNet-18", "Speed (n/s)", 1234.5, None),
        (2, FIXED, "1", 80.0, -1.78),
        (2, FIXED, "5", 40.0, 12.08),
        (2, ADAPTIVE, "2", 85.0, 10.13),
        (2, "lambda from linear fitting", "3", 0.6, -0.15),
        (3, FIXED, "gaussian", 60.0, 9.42),
        (4, FIXED, "linf 8/255", 1.0, 0.89),
        (4, TUNED + "made at lambda = 0.1", "linf 8/255", 35.0, -0.18),
        (4, TUNED + "that knows lambda", "linf 8/255", 12.0, None),
    ],
)
def test_ours_stands_beside_the_papers(
    number: int, row: str, column: str, ours: float, difference: float | None
) -> None:
    found = entry(build_tables([results(*RECORDS)]), number, row, column)
    assert found.ours is not None
    assert found.ours.value == pytest.approx(ours)
    assert found.model == "mine"
    if difference is None:
        assert found.difference is None
    else:
        assert found.difference == pytest.approx(difference, abs=1e-3)


@pytest.mark.parametrize(
    ("number", "row", "column", "words"),
    [
        (2, ADAPTIVE, "4", "sdnet-bench evaluate mine --corruption gaussian --lambda adaptive"),
        (2, "ResNet-18", "1", "sdnet-bench train resnet18-cifar10"),
        (3, FIXED, "shot", "sdnet-bench evaluate mine --corruption "),
        (4, FIXED, "l2 0.5", "sdnet-bench attack mine --norm l2"),
    ],
)
def test_an_empty_cell_names_the_command_that_fills_it(number: int, row: str, column: str, words: str) -> None:
    found = entry(build_tables([results(*RECORDS)]), number, row, column)
    assert found.ours is None
    assert found.command is not None
    assert words in found.command


def test_a_mean_over_four_severities_is_an_empty_cell() -> None:
    found = entry(build_tables([results(*RECORDS)]), 3, ADAPTIVE, "gaussian")
    assert found.ours is None


def test_what_no_recipe_trains_has_no_command() -> None:
    for name in ("SCN", "MDEQ"):
        assert entry(build_tables([results(*RECORDS)]), 1, name, "Top-1 Acc (%)").command is None


def test_there_are_four_tables_for_every_data_set() -> None:
    tables = build_tables(
        [results(*RECORDS), results(dataset="digits"), results(dataset="digits", backbone="resnet18")]
    )
    assert [(table.dataset, table.number) for table in tables] == [
        (dataset, number) for dataset in ("cifar10", "digits") for number in (1, 2, 3, 4)
    ]


def test_a_data_set_that_the_paper_does_not_have_stands_beside_its_cifar10() -> None:
    tables = build_tables([results(dataset="digits")])
    assert {table.measured_on for table in tables} == {"cifar10"}
    assert entry(tables, 2, FIXED, "1").paper == 81.78


def test_models_of_one_architecture_share_a_row() -> None:
    first, second = results(*RECORDS), results(*RECORDS)
    (table, *_) = build_tables([first, second])
    assert len([entry for entry in table.entries if entry.row == "SDNet-18"]) == 2 * 4


def test_numbers_of_two_data_sets_have_no_difference() -> None:
    found = entry(build_tables([results(*RECORDS, dataset="digits")]), 2, "SDNet-18 w/ lambda = 0.1", "1")
    assert found.ours is not None
    assert found.difference is None


def test_a_table_says_how_its_numbers_were_got() -> None:
    (note,) = build_tables([results(*RECORDS)])[3].notes
    assert "mine: width " in note
    assert re.search(r"linf 0\.0314: pgd, \d+ steps of 0\.\d+, \d+ random start\(s\), 1,000 test images, float32", note)


def test_models_of_another_data_set_are_not_in_the_table() -> None:
    tables = build_tables([results(*RECORDS), results(dataset="digits", backbone="resnet18")])
    assert entry([table for table in tables if table.dataset == "cifar10"], 1, "ResNet-18", "Speed (n/s)").model is None
