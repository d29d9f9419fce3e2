"""The study of adaptations: its table from records made up here, and its plan on small networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from found import there
from torch import nn

from sdnet_bench.adaptations import setting_of
from sdnet_bench.config import Backbone, ModelConfig
from sdnet_bench.data import SEVERITIES, limited
from sdnet_bench.paper.adaptation import ADAPTATION
from sdnet_bench.paper.noise import TABLE2, TABLE3
from sdnet_bench.paper.plan import plan, run
from sdnet_bench.paper.published import published
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.steps import StudySize
from sdnet_bench.paper.tables import Entry, Table, build_tables
from sdnet_bench.records import MIXED, NOISES, UNKNOWN, AdaptationSetting, Cell, Record
from sdnet_bench.records.lambda_fit import LambdaFit, Point, fit_line, pool
from sdnet_bench.records.statistics import mcnemar
from sdnet_bench.studies.workbench import Workbench

BN, SORTED, SINGLE = setting_of("bn"), setting_of("bn", 200, "sorted"), setting_of("bn:prior=16", 1)
MEDIAN = setting_of("median")
N = 100
AS_TRAINED, ALGORITHM_1 = "SDNet-18, lambda as trained", "SDNet-18, Algorithm 1"
STATISTICS = "SDNet-18, statistics of batches of 200"
FITTED_UNDER = f"{STATISTICS}, Algorithm 1 fitted under them"
UNKNOWN_TYPE = "SDNet-18, a lambda per image, type unknown"


def record(
    right: int,
    corruption: str | None = "gaussian",
    severity: Any = 3,
    adaptation: AdaptationSetting | None = None,
    *,
    seconds: float | None = None,
    device: str = "cpu",
    n: int = N,
    **rest: Any,
) -> Record:
    """`right` of `n` test images are classified correctly."""
    content = {"weights": "w", "dataset": "cifar10", "split": "test", "images": f"{n} images", "lambda_": 0.1}
    content |= {"corruption": corruption, "severity": severity, "adaptation": adaptation} | rest
    made = Record.of("mine", Cell.model_validate(content), np.arange(n) < right)
    return made.model_copy(update={"provenance": {"device": device} | ({"seconds": seconds} if seconds else {})})


def line(corruption: str = "gaussian", adaptation: AdaptationSetting | None = None) -> LambdaFit:
    points = [Point(0.1, r, 0.5 * r, 0.5) for r in (1.0, 2.0)]
    return fit_line(corruption, "w", points, adaptation=adaptation)


def results(*records: Record, fits: Sequence[LambdaFit] = (), backbone: str = "sdnet18") -> Results:
    config = ModelConfig(backbone=Backbone(name=backbone), num_classes=10, dataset="cifar10", weights_sha256="w")
    training = Record(model="mine", cell=record(0, None, None, kind="training", split="train").cell, n=1)
    return Results("mine", config, (training, *records), {fit.name: fit for fit in fits})


def table(model: Results, name: str = "adaptation") -> Table:
    (found,) = build_tables([model], [{"adaptation": ADAPTATION, "table2": TABLE2, "table3": TABLE3}[name]])
    return found


def entry(model: Results, row: str, column: str, name: str = "adaptation") -> Entry:
    (found,) = (each for each in table(model, name).entries if (each.row, each.column) == (row, column))
    return found


def value(model: Results, row: str, column: str) -> float | None:
    found = entry(model, row, column).ours
    return None if found is None else round(found.value, 6)


def test_rows_name_adaptations_with_all_their_settings() -> None:
    rows = [row for table in published().values() for row in table.rows if row.adapt]
    assert {row.adapt for row in rows} >= {"bn:prior=0", "tent:lr=0.001:steps=1:episodic=false", "nlm"}
    for row in rows:
        assert row.adaptation(8, "sorted") == setting_of(str(row.adapt), 8, "sorted")


def per_severity(rights: Sequence[int], adaptation: AdaptationSetting | None = None, **rest: Any) -> list[Record]:
    """Gaussian noise of severities 1 to 5."""
    return [record(right, "gaussian", at, adaptation, **rest) for at, right in zip(SEVERITIES, rights, strict=True)]


PLAIN_FIT, BN_FIT = line(), line(adaptation=BN)
FITS = [PLAIN_FIT, BN_FIT, *(line(noise) for noise in NOISES[1:])]
POOLED = pool([line(noise) for noise in NOISES])
RECORDS = [
    *per_severity([90, 80, 70, 60, 50]),
    *per_severity([95, 85, 75, 65, 55], rule=PLAIN_FIT.rule, lambda_=0.4),
    *per_severity([96, 94, 92, 90, 88], BN),
    *per_severity([97, 95, 93, 91, 89], BN, rule=BN_FIT.rule, lambda_=0.3),
    record(66, rule=POOLED.per_image_rule, lambda_=None),
    *(record(right, adaptation=setting_of("bn", size)) for size, right in ((1, 20), (8, 80), (64, 90))),
    record(40, adaptation=SORTED),
    record(44, adaptation=SORTED, rule=BN_FIT.rule, lambda_=0.35),
    record(99, None, None),
    record(97, None, None, BN),
    record(72, adaptation=MEDIAN),
]


@pytest.mark.parametrize(
    ("row", "column", "wanted"),
    [
        (AS_TRAINED, "gaussian", 70),
        (ALGORITHM_1, "gaussian", 75),
        (STATISTICS, "gaussian", 92),
        (FITTED_UNDER, "gaussian", 93),
        (AS_TRAINED, "gaussian 5", 50),
        (STATISTICS, "gaussian 5", 88),
        (AS_TRAINED, "clean", 99),
        (STATISTICS, "clean", 97),
        (UNKNOWN_TYPE, "gaussian 3", 66),
        (STATISTICS, "in batches of 1", 20),
        (STATISTICS, "in batches of 8", 80),
        (STATISTICS, "in batches of 64", 90),
        (STATISTICS, "sorted by label", 40),
        (FITTED_UNDER, "sorted by label", 44),
        # what knows nothing of a batch is the same in all streams
        (AS_TRAINED, "in batches of 8", 70),
        (AS_TRAINED, "sorted by label", 70),
        ("SDNet-18, median filter", "in batches of 1", 72),
        (ALGORITHM_1, "sorted by label", 75),
        # nothing is on record
        (STATISTICS, "shot", None),
        ("SDNet-18, TENT", "gaussian", None),
        # no fit is made for other batches, and no type is known
        (FITTED_UNDER, "in batches of 8", None),
        (ALGORITHM_1, "clean", None),
    ],
)
def test_a_row_has_its_adaptation_and_choice_of_lambda(row: str, column: str, wanted: float | None) -> None:
    assert value(results(*RECORDS, fits=FITS), row, column) == wanted


def test_rows_are_on_the_images_of_the_widest_adapted_record() -> None:
    """Accuracy of the network as trained is on record for more images, and for fewer."""
    mine = results(*RECORDS, *per_severity([1] * 5, n=1000), *per_severity([1] * 5, n=10), fits=FITS)
    assert {each.ours.n for each in table(mine).entries if each.ours and each.ours.records} == {N}
    assert value(mine, AS_TRAINED, "gaussian") == 70


def test_images_of_an_archive_are_others() -> None:
    archived = per_severity([1] * 5, BN, archive="official:1", n=1000)
    assert value(results(*RECORDS, *archived, fits=FITS), STATISTICS, "gaussian") == 92


def test_a_row_is_compared_with_the_one_it_names() -> None:
    mine = results(*RECORDS, fits=FITS)
    for row, against in ((STATISTICS, ALGORITHM_1), (ALGORITHM_1, AS_TRAINED)):
        found, other = (entry(mine, each, "gaussian") for each in (row, against))
        assert found.against == against
        assert found.p == mcnemar(there(found.ours), there(other.ours))
        assert there(found.p) < 0.01 or row == ALGORITHM_1


@pytest.mark.parametrize(("device", "wanted"), [("cpu", 2.5), ("gpu", None)])
def test_time_is_relative_to_plain_inference_on_the_same_machine(device: str, wanted: float | None) -> None:
    mine = results(record(70, seconds=2.0), record(92, adaptation=BN, seconds=5.0, device=device))
    assert value(mine, STATISTICS, "time") == wanted
    assert value(mine, AS_TRAINED, "time") == 1


def test_a_time_that_lambdas_of_a_sweep_share_is_not_that_of_an_image() -> None:
    swept = record(70, seconds=2.0)
    swept = swept.model_copy(update={"provenance": {**swept.provenance, "cells": 15}})
    mine = results(swept, record(92, adaptation=BN, seconds=5.0))
    assert (value(mine, STATISTICS, "gaussian 3"), value(mine, STATISTICS, "time")) == (92, None)


def test_an_empty_cell_names_the_study_where_it_can_be_filled() -> None:
    mine = results(*RECORDS, fits=FITS)
    study = "sdnet-bench evaluate mine --study adaptation"
    for row, column, command in [
        (STATISTICS, "shot", study),
        (UNKNOWN_TYPE, "clean", study),
        (ALGORITHM_1, "clean", None),
        (ALGORITHM_1, "15 corruptions", None),
        (FITTED_UNDER, "in batches of 64", None),
        (FITTED_UNDER, "unknown type", None),
    ]:
        assert (entry(mine, row, column).ours, entry(mine, row, column).command) == (None, command)


def test_without_adaptations_on_record_there_is_no_table() -> None:
    plain = [each for each in RECORDS if each.inference.adaptation is None]
    assert "adaptation" not in {each.name for each in build_tables([results(*plain, fits=FITS)])}


def test_published_numbers_stand_beside_ours() -> None:
    found = [each for each in table(results(*RECORDS, fits=FITS)).entries if each.paper is not None]
    assert [(each.row.partition(", ")[2], each.column, each.paper) for each in found] == [
        ("as trained", "gaussian 5", 27.7),
        ("statistics of batches of 200", "gaussian 5", 71.9),
        ("TENT", "gaussian 5", 75.2),
    ]


@pytest.mark.parametrize(("name", "column", "wanted"), [("table2", "3", 92.0), ("table3", "gaussian", 92.0)])
def test_tables_of_the_paper_have_rows_of_adaptations_where_they_are_measured(
    name: str, column: str, wanted: float
) -> None:
    mine = results(*RECORDS, fits=FITS)
    plain = results(*(each for each in RECORDS if each.inference.adaptation is None), fits=FITS)
    found = entry(mine, STATISTICS, column, name)
    assert there(found.ours).value == pytest.approx(wanted)
    assert found.command == "sdnet-bench evaluate mine --study adaptation"
    added = [each for each in table(mine, name).entries if each.row == STATISTICS]
    assert len(added) == len({each.column for each in table(mine, name).entries})
    assert [each for each in table(mine, name).entries if each not in added] == list(table(plain, name).entries)


def test_records_under_adaptations_are_no_part_of_the_plain_network() -> None:
    """They are on more images, so that they would be preferred."""
    plain = [each for each in RECORDS if each.inference.adaptation is None]
    wide = [*per_severity([1] * 5, BN, n=1000), record(1, None, None, BN, n=1000)]
    wide += [record(1, adaptation=BN, lambda_=at, n=1000) for at in (0.1, 0.5, 0.9)]
    mine, other = (results(*plain, *more, fits=FITS) for more in ([], wide))
    assert mine.given("gaussian", 3) == other.given("gaussian", 3)
    assert mine.adaptive("gaussian", 3) == other.adaptive("gaussian", 3)
    assert mine.clean() == other.clean()
    assert mine.mean("gaussian") == other.mean("gaussian")
    assert mine.mean("gaussian", adaptive=True) == other.mean("gaussian", adaptive=True)
    assert mine.sweep("gaussian") == other.sweep("gaussian") == []
    assert mine.fit("gaussian") == PLAIN_FIT


def test_results_under_an_adaptation_have_its_records_and_fits() -> None:
    mine = results(*RECORDS, fits=FITS)
    under = mine.under(BN)
    assert there(under.given("gaussian", 3)).accuracy == 0.92
    assert there(under.adaptive("gaussian", 3)).accuracy == 0.93
    assert under.fit("gaussian") == mine.under(SORTED).fit("gaussian") == BN_FIT
    assert (under.fit("shot"), under.pooled) == (None, None)
    assert mine.under(None) is mine
    assert mine.under(BN) is under
    assert there(under.over([("gaussian", 1), ("gaussian", 3)], 0.1)).value == pytest.approx(94)
    assert under.over([("gaussian", 1), ("shot", 1)], 0.1) is None
    assert under.over([("gaussian", 1)], 0.1, digest="other images") is None


def test_the_widest_images_that_all_places_share_are_those_of_a_column() -> None:
    wide = [record(5, adaptation=MEDIAN, n=300), record(5, None, None, MEDIAN, n=300)]
    found = results(*RECORDS, *wide, record(5, n=500))
    digests = {n: next(each.images.digest for each in found.records if each.n == n) for n in (N, 300)}
    assert found.adapted_images([("gaussian", 3)]) == digests[300]
    assert found.adapted_images([("gaussian", 3), (None, None)]) == digests[300]
    assert found.adapted_images([("gaussian", 3), ("gaussian", 1)]) == digests[N]
    assert found.adapted_images([("gaussian", 3), ("shot", 1)]) is None


IMAGES = 6
BRIEF = StudySize(tested=IMAGES, training_images=IMAGES, lambdas=(0.1, 0.8))


def shrink(bench: Workbench) -> Workbench:
    """A data set of a few images."""
    whole = bench.dataset.open
    bench.dataset = replace(bench.dataset, open=lambda which: limited(whole(which), IMAGES))
    return bench


def test_rows_that_a_network_has_no_norm_for_are_left_out(open_bench: Any, told: Any) -> None:
    bench = shrink(open_bench("resnet18-tiny"))
    (batch,) = bench.split("test", 1).batches(1, torch.device("cpu"))
    net = nn.Sequential(nn.Flatten(), nn.Linear(batch.images[0].numel(), 10))
    bench = replace(bench, model=replace(bench.model, net=net))
    titles = [step.title.removeprefix("ResNet-18, ") for step in plan(bench, "adaptation", BRIEF)]
    assert titles == ["as trained", "median filter", "Gaussian blur", "JPEG", "non-local means"]
    left = [note for note in told.notes if note.startswith("left out: ResNet-18, ")]
    assert len(left) == 4
    assert "TENT: there is no norm layer" in left[-1]


@pytest.mark.soak
@pytest.mark.parametrize("name", ["sdnet18-tiny", "resnet18-tiny"])
def test_the_study_fills_its_table_and_a_second_run_measures_nothing(open_bench: Any, told: Any, name: str) -> None:
    bench = shrink(open_bench(name))
    steps = plan(bench, "adaptation", BRIEF)
    promised = sum(bench.work(bench.missing(step.cells)) + step.later for step in steps)
    known = sum(len(bench.missing(step.cells)) for step in steps)
    before = len(bench.store)
    run(steps)
    assert told.images <= promised
    assert known <= len(bench.store) - before
    if name == "resnet18-tiny":
        assert (told.images, len(bench.store) - before) == (promised, known)
    told.images = 0
    run(plan(bench, "adaptation", BRIEF))
    assert told.images == 0
    found = build_tables([Results.read(bench.folder, bench.folder.parent)], [ADAPTATION])
    entries = [each for each in found[0].entries if each.model == name]
    assert [(each.row, each.column) for each in entries if each.command and each.ours is None] == []
    assert len({each.row for each in entries}) == (9 if name == "resnet18-tiny" else 10)
    assert {(UNKNOWN, MIXED), ("gaussian", MIXED)} <= {
        (each.images.corruption, each.images.severity) for each in bench.store
    }
