"""The published numbers as they are printed, and ours beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from found import there

from sdnet_bench.config import Backbone, ModelConfig
from sdnet_bench.data import CORRUPTIONS, SEVERITIES
from sdnet_bench.paper import attacks, inference
from sdnet_bench.paper.attacks import TABLE4
from sdnet_bench.paper.inference import INFERENCE
from sdnet_bench.paper.published import alexnet, published
from sdnet_bench.paper.render import to_csv, to_markdown
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.tables import Entry, Table, build_tables
from sdnet_bench.records import CLEAN, MIXED, NOISES, AttackSetting, Cell, Inference, Record
from sdnet_bench.records.lambda_fit import LambdaFit, Point, fit_line, known_types_rule, pool
from sdnet_bench.records.statistics import mcnemar

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
    ("table4", "cifar10", "ResNet-18", "linf 8/255 transfer", 0.01),
    ("table4", "cifar10", "ResNet-18", "l2 0.5 transfer", 29.47),
    ("table4", "cifar10", "SDNet-18 w/ lambda = 0.1", "linf 8/255 transfer", 0.11),
    ("table4", "cifar10", "SDNet-18 w/ lambda = 0.1", "l2 0.5 transfer", 29.95),
    ("table4", "cifar10", "SDNet-18 (after tuning lambda)", "linf 8/255 transfer", 35.18),
    ("table4", "cifar10", "SDNet-18 (after tuning lambda)", "l2 0.5 transfer", 62.80),
    ("table6", "cifar10", "SDNet-18-all", "Top-1 Acc (%)", 95.18),
    ("table6", "cifar100", "SDNet-18-all", "Memory (GB)", 4.1),
    ("table6", "imagenet", "SDNet-18-all", "Speed (n/s)", 490),
    ("table6", "imagenet", "SDNet-34-all", "Top-1 Acc (%)", 72.54),
    ("table6", "imagenet", "SDNet-34-all", "Memory (GB)", 157.7),
]


@pytest.mark.parametrize(("table", "dataset", "name", "column", "value"), PRINTED)
def test_published_numbers_are_those_of_the_paper(
    table: str, dataset: str, name: str, column: str, value: float
) -> None:
    paper = published()[table]
    (row,) = (row for row in paper.rows if (row.dataset, row.name) == (dataset, name))
    assert row.values[paper.columns.index(column)] == value


def test_published_tables_are_complete() -> None:
    rows = {name: [row for row in table.rows if not row.adapt] for name, table in published().items()}
    sizes = {name: (len(rows[name]), len(table.columns)) for name, table in published().items()}
    assert sizes["table1"] == (7 + 7 + 5, 4)
    assert sizes["table2"] == (5, 5)
    assert sizes["table3"] == (4 + 3, 4)
    assert (sizes["table4"], sizes["table5"], sizes["table6"]) == ((6, 8), (3, 4), (4 + 4 + 4, 4))
    assert 'The paper\'s protocol is "transfer"' in published()["table4"].title
    for table in published().values():
        assert all(len(row.values) in (0, len(table.columns)) for row in table.rows)


def test_the_paper_has_no_speckle_noise_on_imagenet() -> None:
    paper = published()["table3"]
    values = [row.values[paper.columns.index("speckle")] for row in paper.rows if row.dataset == "imagenet"]
    assert len(values) == 3
    assert all(math.isnan(value) for value in values)


def record(right: int, **cell: Any) -> Record:
    content = {"weights": "w", "dataset": "cifar10", "split": "test", "images": "i", "lambda_": 0.1} | cell
    return Record.of("mine", Cell.model_validate(content), np.arange(1000) < right)


def noisy(right: int, severity: int, **rest: Any) -> Record:
    return record(right, corruption="gaussian", severity=severity, level=float(severity), **rest)


def attacked(
    right: int, made_at: float | None, scored_at: float | None, clean: int = 950, through: Any = None, **rest: Any
) -> Record:
    """PGD, linf 8/255, on 1,000 images of which so many stand, and so many are classified correctly without it."""
    attack = AttackSetting(norm="linf", eps=8 / 255, step_size=0.01, steps=10, crafted_at=made_at, through=through)
    attack = attack.model_copy(update={name: rest.pop(name) for name in ("name", "steps", "step_size") if name in rest})
    cell = record(0, lambda_=scored_at, attack=attack, **rest).cell
    place = np.arange(1000)
    return Record.of_attack("mine", cell, {CLEAN: place >= clean, "pgd": (right <= place) & (place < clean)})


TRAINING = Record(
    model="mine",
    cell=record(0, kind="training", split="train").cell,
    n=45_000,
    metrics={"parameters": 11_173_962, "peak_memory": 1.5e9, "images_per_second": 1234.5},
)
FIT = fit_line("gaussian", "w", [Point(0.1, r, r, 0.5) for r in (0.1, 1.0)])
RECORDS = (
    TRAINING,
    record(950),
    *(noisy(900 - 100 * severity, severity) for severity in SEVERITIES),
    *(noisy(950 - 50 * severity, severity, lambda_=0.2 * severity, rule=FIT.rule) for severity in (1, 2, 3)),
    attacked(10, 0.1, 0.1),
    attacked(10, 0.1, 0.1, split="validation"),
    attacked(400, 0.1, 0.7, split="validation"),
    attacked(350, 0.1, 0.7, 600),
    attacked(120, 0.7, 0.7, 600),
    attacked(360, 0.1, 0.9, 500),
)


def results(
    *records: Record,
    dataset: str = "cifar10",
    backbone: str = "sdnet18",
    fits: Sequence[LambdaFit] = (FIT,),
    named: bool = False,
) -> Results:
    config = ModelConfig(backbone=Backbone(name=backbone), num_classes=10, dataset=dataset, weights_sha256="w")
    return Results(f"{backbone}-mine" if named else "mine", config, records, {fit.name: fit for fit in fits})


def entry(tables: list[Table], name: str, row: str, column: str) -> Entry:
    (table,) = (table for table in tables if table.name == name)
    (found,) = (entry for entry in table.entries if (entry.row, entry.column) == (row, column))
    return found


FIXED, ADAPTIVE = "SDNet-18 w/ lambda = 0.1", "SDNet-18 w/ adaptive lambda"
TUNED = "SDNet-18 (after tuning lambda)"
ORACLE = "SDNet-18 (lambda tuned on the test images: an oracle)"
INFERRED = "SDNet-18 (a lambda for each image, by Algorithm 1)"


@pytest.mark.parametrize(
    ("table", "row", "column", "ours", "difference"),
    [
        ("table1", "SDNet-18", "Model Size (M)", 11.173962, -0.026),
        ("table1", "SDNet-18", "Top-1 Acc (%)", 95.0, -0.2),
        ("table1", "SDNet-18", "Memory (GB)", 1.5, None),
        ("table1", "SDNet-18", "Speed (n/s)", 1234.5, None),
        ("table2", FIXED, "1", 80.0, -1.78),
        ("table2", FIXED, "5", 40.0, 12.08),
        ("table2", ADAPTIVE, "2", 85.0, 10.13),
        ("table2", "lambda from linear fitting", "3", 0.6, -0.15),
        ("table3", FIXED, "gaussian", 60.0, 9.42),
        ("table4", FIXED, "linf 8/255 transfer", 1.0, 0.89),
        ("table4", FIXED, "linf 8/255 matched", 1.0, None),
        ("table4", TUNED, "linf 8/255 transfer", 35.0, -0.18),
        ("table4", TUNED, "linf 8/255 matched", 12.0, None),
        ("table4", TUNED, "linf 8/255 union", 12.0, None),
        ("table4", TUNED, "linf 8/255 clean", 60.0, None),
        ("table4", ORACLE, "linf 8/255 transfer", 36.0, None),
        ("table4", ORACLE, "linf 8/255 clean", 50.0, None),
        ("table4", "lambda after tuning", "linf 8/255 transfer", 0.7, None),
    ],
)
def test_ours_stands_beside_the_papers(
    table: str, row: str, column: str, ours: float, difference: float | None
) -> None:
    found = entry(build_tables([results(*RECORDS)]), table, row, column)
    assert there(found.ours).value == pytest.approx(ours)
    assert found.model == "mine"
    assert found.difference == (difference if difference is None else pytest.approx(difference, abs=1e-3))


@pytest.mark.parametrize(
    ("table", "row", "column", "words"),
    [
        ("table2", ADAPTIVE, "4", "sdnet-bench evaluate mine --study table2"),
        ("table2", "ResNet-18", "1", "sdnet-bench train resnet18-cifar10"),
        ("table3", FIXED, "shot", "sdnet-bench evaluate mine --study table3"),
        ("table3", ADAPTIVE, "gaussian", "sdnet-bench evaluate mine --study table3"),  # of three severities
        ("table4", FIXED, "l2 0.5 transfer", "sdnet-bench attack mine --norm l2"),
        ("table4", ORACLE, "linf 8/255 matched", "sdnet-bench attack mine --norm linf"),
        ("table4", INFERRED, "linf 8/255 matched", "sdnet-bench fit-lambda mine --corruption all"),
        ("table4", "lambda after tuning", "l2 0.5 transfer", "sdnet-bench attack mine --norm l2"),
        ("table4", "ResNet-18", "linf 8/255 union", "sdnet-bench train resnet18-cifar10"),
    ],
)
def test_an_empty_cell_names_the_command_that_fills_it(table: str, row: str, column: str, words: str) -> None:
    found = entry(build_tables([results(*RECORDS)]), table, row, column)
    assert found.ours is None
    assert words in there(found.command)


def test_what_no_recipe_trains_has_no_command() -> None:
    tables = build_tables([results(*RECORDS, dataset="imagenet")])
    assert entry(tables, "table1", "SCN", "Top-1 Acc (%)").command is None
    assert entry(tables, "table1", "SDNet-34", "Top-1 Acc (%)").command == "sdnet-bench train sdnet34-imagenet"


def test_there_are_four_tables_for_every_data_set() -> None:
    tables = build_tables(
        [results(*RECORDS), results(dataset="digits"), results(dataset="digits", backbone="resnet18")]
    )
    paper = [(table.dataset, table.name) for table in tables if table.name in ("table1", "table2", "table3", "table4")]
    assert paper == [(dataset, f"table{n}") for dataset in ("cifar10", "digits") for n in (1, 2, 3, 4)]


def test_a_data_set_that_the_paper_does_not_have_stands_beside_its_cifar10() -> None:
    tables = build_tables([results(dataset="digits")])
    assert {table.measured_on for table in tables} == {"cifar10"}
    assert entry(tables, "table2", FIXED, "1").paper == 81.78


def test_models_of_one_architecture_share_a_row() -> None:
    first, second = results(*RECORDS), results(*RECORDS)
    (table, *_) = build_tables([first, second])
    assert len([entry for entry in table.entries if entry.row == "SDNet-18"]) == 2 * 4


def test_numbers_of_two_data_sets_have_no_difference() -> None:
    found = entry(build_tables([results(*RECORDS, dataset="digits")]), "table2", "SDNet-18 w/ lambda = 0.1", "1")
    assert found.ours is not None
    assert found.difference is None


def test_a_table_says_how_its_numbers_were_got() -> None:
    note, attack = build_tables([results(*RECORDS)])[3].notes
    assert "mine: width " in note
    assert re.search(r"linf 8/255: pgd, \d+ steps of 0\.\d+, \d+ random start\(s\), 1,000 test images, float32", attack)
    assert "union (tuned) of pgd (transfer, matched)" in attack
    assert "p of matched against transfer after tuning < 0.0001" in attack


def test_lambda_after_tuning_is_shown_once_for_each_threat() -> None:
    tables = build_tables([results(*RECORDS)])
    for column in ("linf 8/255 matched", "linf 8/255 union", "l2 0.5 clean"):
        found = entry(tables, "table4", "lambda after tuning", column)
        assert (found.ours, found.command) == (None, None)


def test_after_tuning_a_column_is_tested_against_the_same_column_before() -> None:
    tables = build_tables([results(*RECORDS)])
    found, before = (entry(tables, "table4", row, "linf 8/255 matched") for row in (TUNED, FIXED))
    assert found.p == mcnemar(there(found.ours), there(before.ours))
    assert there(found.p) < 1e-4


def test_lambda_for_other_test_images_is_that_tuned_at_home() -> None:
    other = [attacked(right, 0.1, at, 900, dataset="cifar10.1") for at, right in ((0.1, 5), (0.7, 250), (0.9, 300))]
    mine = replace(results(*RECORDS), elsewhere=(record(880, dataset="cifar10.1"), *other))
    tables = [table for table in build_tables([mine]) if table.dataset == "cifar10.1"]
    clean, tuned, oracle = (
        there(entry(tables, "table4", row, f"linf 8/255 {column}").ours).value
        for row, column in ((FIXED, "clean"), (TUNED, "transfer"), (ORACLE, "transfer"))
    )
    assert [round(value, 6) for value in (clean, tuned, oracle)] == [90, 25, 30]
    assert there(entry(tables, "table1", "SDNet-18", "Top-1 Acc (%)").ours).value == 88


def test_unions_of_other_attacks_are_not_tested_against_each_other() -> None:
    """What AutoAttack leaves at one lambda says nothing about a lambda at which it was not run."""
    columns = [f"linf 8/255 {column}" for column in ("transfer", "matched", "union", "clean")]
    stronger = attacked(10, 0.1, 0.1, name="autoattack", steps=100, step_size=None)
    for added, has_p in (((), [True] * 4), ((stronger,), [True, True, False, True])):
        tables = build_tables([results(*added, *RECORDS)])
        found = [entry(tables, "table4", TUNED, column) for column in columns]
        assert all(each.ours for each in found)
        assert [each.p is not None for each in found] == has_p


POOLED = [fit_line(noise, "w", [Point(0.1, r, r, 0.5) for r in (0.1, 1.0)], found="grid") for noise in NOISES]


def test_robust_inference_meets_transferred_and_adaptive_attacks() -> None:
    """The images that withstand the attack with the gradient of the choice of lambda, and the one without."""
    rule = pool(POOLED).per_image_rule
    transferred = attacked(300, 0.1, None, 900, rule=rule)
    attached = attacked(70, None, None, 900, "attached", rule=rule)
    detached = attacked(50, None, None, 900, "detached", rule=rule)
    tables = build_tables([results(*RECORDS, transferred, attached, detached, fits=POOLED)])
    found = [entry(tables, "table4", INFERRED, f"linf 8/255 {c}") for c in ("transfer", "matched", "union", "clean")]
    assert [each.ours and round(each.ours.value, 6) for each in found] == [30, 5, 5, 90]
    assert "lambda fitted by grid" in tables[3].notes[0]
    alone = build_tables([results(*RECORDS, transferred, attached, fits=POOLED)])
    missing = entry(alone, "table4", INFERRED, "linf 8/255 matched")
    assert (missing.ours, missing.command) == (None, "sdnet-bench attack mine --norm linf")


def test_models_of_another_data_set_are_not_in_the_table() -> None:
    tables = build_tables([results(*RECORDS), results(dataset="digits", backbone="resnet18")])
    mine = [table for table in tables if table.dataset == "cifar10"]
    assert entry(mine, "table1", "ResNet-18", "Speed (n/s)").model is None


def test_a_row_is_tested_against_the_one_that_a_reader_compares_it_with() -> None:
    plain = [record(700 - 100 * s, corruption="gaussian", severity=s, level=float(s), lambda_=None) for s in SEVERITIES]
    lambda_free = TRAINING.model_copy(update={"cell": TRAINING.cell.with_inference(Inference())})
    models = [results(*RECORDS, named=True), results(lambda_free, *plain, backbone="resnet18", named=True)]
    table = next(table for table in build_tables(models) if table.name == "table2")
    found, other = (entry([table], "table2", row, "1") for row in (FIXED, "ResNet-18"))
    assert (found.against, found.p) == ("ResNet-18", mcnemar(there(found.ours), there(other.ours)))
    assert there(found.p) < 1e-4
    assert (other.against, other.p) == (None, None)
    assert "| p against ResNet-18 | < 0.0001 |" in to_markdown(table)
    header, *lines = to_csv(table).splitlines()
    assert {"against", "p"} <= set(header.split(","))
    assert any("ResNet-18" in line.split(",")[1:] for line in lines)


def test_without_the_other_row_there_is_no_p() -> None:
    found = entry(build_tables([results(*RECORDS, named=True)]), "table2", FIXED, "1")
    assert found.ours is not None
    assert found.p is None


FITS = [fit_line(n, "w", [Point(0.1, r, r * (i + 1), 0.5) for r in (0.1, 1.0)]) for i, n in enumerate(NOISES)]
SET, IMAGE = "type known, one lambda per set (Algorithm 1)", "type known, a lambda per image"
UNKNOWN_SET, UNKNOWN_IMAGE = "type unknown, one lambda per set", "type unknown, a lambda per image"


@pytest.mark.parametrize(
    ("row", "column", "rule"),
    [
        ("lambda as in training", "shot", None),
        (SET, "shot", FITS[1].rule),
        (IMAGE, "shot", FITS[1].per_image_rule),
        (UNKNOWN_SET, "shot", pool(FITS).rule),
        (UNKNOWN_IMAGE, "shot", pool(FITS).per_image_rule),
        (SET, "shot clean", FITS[1].rule),
        (UNKNOWN_IMAGE, "shot clean", pool(FITS).per_image_rule),
        (IMAGE, "unknown", known_types_rule(FITS)),
        (UNKNOWN_SET, "unknown", pool(FITS).rule),
        (SET, "unknown", "none"),
    ],
)
def test_each_cell_of_the_inference_table_has_the_rule_of_its_row(row: str, column: str, rule: str | None) -> None:
    rules = [None, *(f.rule for f in FITS), *(f.per_image_rule for f in FITS), known_types_rule(FITS)]
    rules += [pool(FITS).rule, pool(FITS).per_image_rule]
    noise, _, is_clean = column.partition(" ")
    data: dict[str, Any] = {} if is_clean else {"corruption": noise, "severity": MIXED}
    records = [
        record(100 + place, rule=name, lambda_=0.1 if name is None else 0.3, **data) for place, name in enumerate(rules)
    ]
    found = entry(build_tables([results(TRAINING, *records, fits=FITS)]), "inference", row, column)
    assert (found.ours and round(found.ours.value, 1)) == (None if rule == "none" else 10 + rules.index(rule) / 10)


def test_clean_images_stand_beside_the_stream_of_the_same_images() -> None:
    """Clean accuracy as trained is that of the images of a stream, so that it can be compared; else of the most."""
    chosen = record(70, rule=FITS[0].rule, lambda_=0.3, images="some")
    stream = record(90, corruption="gaussian", severity=MIXED, images="some")
    models = [results(TRAINING, record(95, images="some"), record(960), chosen, stream, fits=FITS)]
    beside, elsewhere = (
        entry(build_tables(models), "inference", "lambda as in training", f"{noise} clean").ours
        for noise in ("gaussian", "shot")
    )
    assert (beside and round(beside.value, 1), elsewhere and round(elsewhere.value, 1)) == (9.5, 96.0)
    assert entry(build_tables(models), "inference", SET, "gaussian clean").p is not None


def test_columns_are_those_that_are_printed() -> None:
    assert TABLE4.published.columns == tuple(attacks.COLUMNS)
    assert INFERENCE.published.columns == tuple(inference.COLUMNS)


def test_iterations_that_the_model_was_not_trained_with_are_remarked() -> None:
    (table,) = (t for t in build_tables([results(TRAINING, record(950), record(960, steps=4))]) if t.name == "table5")
    found = {row: entry([table], "table5", row, "clean") for row in ("2 iterations", "4 iterations", "8 iterations")}
    assert found["2 iterations"].remark is None
    assert found["4 iterations"].remark == "trained with 2, 4 at inference alone"
    assert [e.ours and round(e.ours.value, 6) for e in found.values()] == [95, 96, None]
    assert "| mine (trained with 2, 4 at inference alone) |" in to_markdown(table)


ALEXNET = {  # Hendrycks & Dietterich (2019), in the code that they publish
    "gaussian": 88.6428, "shot": 89.4468, "impulse": 92.2640, "defocus_blur": 81.9880, "glass_blur": 82.6268,
    "motion_blur": 78.5948, "zoom_blur": 79.8360, "snow": 86.6816, "frost": 82.6572, "fog": 81.9324,
    "brightness": 56.4592, "contrast": 85.3204, "elastic_transform": 64.6056, "pixelate": 71.7840,
    "jpeg_compression": 60.6500,
}  # fmt: skip


def corrupted() -> list[Record]:
    """The fifteen at five severities; errors differ with both."""
    return [
        record(900 - 10 * place - 50 * s, corruption=name, severity=s, level=float(s))
        for place, name in enumerate(ALEXNET)
        for s in SEVERITIES
    ]


def test_mce_is_the_mean_of_errors_relative_to_those_of_alexnet() -> None:
    errors = {name: fmean(10 + place + 5 * s for s in SEVERITIES) for place, name in enumerate(ALEXNET)}
    tables = build_tables([results(TRAINING, *corrupted(), dataset="imagenet")])
    found = {column: entry(tables, "corruptions", "SDNet-18", column).ours for column in ("fog", "mean", "mCE")}
    expected = {
        "fog": errors["fog"],
        "mean": fmean(errors.values()),
        "mCE": 100 * fmean(error / ALEXNET[name] for name, error in errors.items()),
    }
    assert {column: value and value.value for column, value in found.items()} == pytest.approx(expected)


def test_the_errors_of_alexnet_are_those_of_the_benchmark() -> None:
    assert set(ALEXNET) == {name for name in CORRUPTIONS if not CORRUPTIONS[name].extra}
    assert alexnet() == ALEXNET


def test_only_imagenet_has_an_mce() -> None:
    tables = build_tables([results(TRAINING, *corrupted())])
    assert entry(tables, "corruptions", "SDNet-18", "mean").ours is not None
    assert entry(tables, "corruptions", "SDNet-18", "mCE").ours is None


def test_a_mean_error_needs_all_fifteen() -> None:
    assert "corruptions" not in [t.name for t in build_tables([results(TRAINING, *corrupted()[:-1])])]


def test_tables_of_studies_that_nobody_ran_are_left_out() -> None:
    """Accuracy on clean images and the noises, as every model has it, is no inference study and no Table 5."""
    assert [t.name for t in build_tables([results(*RECORDS)])] == ["table1", "table2", "table3", "table4", "table6"]


def test_an_architecture_that_no_row_is_about_gets_rows_of_its_own() -> None:
    """A plugin's too: after those of SDNet-18 where it has a lambda, of ResNet-18 where it has none."""
    records = [record.model_copy(update={"model": "mine"}) for record in RECORDS]
    tables = build_tables([results(*records, backbone="sdnet18_all")])
    expected = entry(build_tables([results(*RECORDS)]), "table3", FIXED, "gaussian").ours
    assert entry(tables, "table3", "SDNet-18-all w/ lambda = 0.1", "gaussian").ours == expected
    assert entry(tables, "table2", "lambda from linear fitting, SDNet-18-all", "3").ours is not None
    assert entry(tables, "table1", "SDNet-18-all", "Top-1 Acc (%)").paper is None
    plain = build_tables([results(record(950, lambda_=None), backbone="perceptron", fits=())])
    assert entry(plain, "table1", "perceptron", "Top-1 Acc (%)").ours is not None


def test_a_guest_is_compared_with_the_same_architecture() -> None:
    tables = build_tables([results(*RECORDS, backbone="sdnet18_all")])
    tuned = entry(tables, "table4", "SDNet-18-all (after tuning lambda)", "linf 8/255 transfer")
    assert tuned.against == "SDNet-18-all w/ lambda = 0.1"
    assert tuned.p is not None


def test_a_guest_is_compared_with_itself_where_rows_do_not_name_the_architecture() -> None:
    at_eight = [record(right, steps=steps) for steps, right in ((None, 950), (8, 940))]
    tables = build_tables([results(*RECORDS, *at_eight, backbone="sdnet18_all")])
    found = entry(tables, "table5", "8 iterations, SDNet-18-all", "clean")
    assert found.against == "2 iterations, SDNet-18-all"
    assert found.p is not None


def test_a_guest_has_no_row_where_nothing_was_measured() -> None:
    tables = build_tables([results(record(950, lambda_=None), backbone="perceptron", fits=())])
    rows = {table.name: {entry.row for entry in table.entries} for table in tables}
    assert "perceptron" in rows["table1"]
    assert "perceptron" not in rows["table2"] | rows["table3"] | rows["table6"]


def test_a_row_of_ours_alone_needs_a_model_of_ours() -> None:
    rows = {entry.row for table in build_tables([results(*RECORDS)]) for entry in table.entries if not entry.model}
    assert "SDNet-34-all" not in rows
    assert "SDNet-18-all" in rows
