"""Plans: what they announce is what a run measures, and a second time nothing is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sdnet_bench.data import CORRUPTIONS, limited
from sdnet_bench.errors import UnknownNameError, UsageError
from sdnet_bench.paper.iterations import STEPS
from sdnet_bench.paper.plan import images_per_second, plan, run
from sdnet_bench.paper.registry import STUDIES
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.steps import PlanStep, StudySize
from sdnet_bench.paper.tables import build_tables
from sdnet_bench.records import DEFAULT_EPS, MIXED, NOISES, PROTOCOLS, UNKNOWN, Record, Threat
from sdnet_bench.studies.adversarial import run_attack
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.workbench import Workbench

N = 8
"""Images of each split."""
GRID = (0.1, 0.8)
BRIEF = StudySize(lambdas=GRID)
NOISE_STUDIES = [name for name in STUDIES if name not in ("corruptions", "adaptation")]


def shrink(bench: Workbench) -> Workbench:
    """A data set of a few images."""
    whole = bench.dataset.open
    bench.dataset = replace(bench.dataset, open=lambda which: limited(whole(which), N))
    return bench


@pytest.fixture
def small(sdnet: Workbench) -> Workbench:
    return shrink(sdnet)


def missing(bench: Workbench, stages: list[PlanStep]) -> int:
    return len(bench.missing(cell for stage in stages for cell in stage.cells))


def announced(bench: Workbench, stages: list[PlanStep]) -> int:
    """Images to classify, as `--dry-run` adds them up."""
    return sum(bench.work(bench.missing(stage.cells)) + stage.later for stage in stages)


CELLS = {"table1": 4, "table2": 15, "table3": 8, "table4": 34, "table5": 12, "table6": 4, "inference": 47}
"""Numbers of a table.

Of the stream of all noises, "type known" is there for a lambda per image alone, and not for clean images. Training has
measured three of the four numbers of Tables 1 and 6.
"""


@pytest.mark.parametrize("study", NOISE_STUDIES)
def test_a_plan_that_was_carried_out_fills_its_table_and_has_nothing_left(
    small: Workbench, told: Any, study: str
) -> None:
    stages = plan(small, study, BRIEF)
    before, promised = missing(small, stages), announced(small, stages)
    records = run(stages)
    assert before > 0
    assert 0 < told.images <= promised
    if study in ("table2", "table3"):  # where no record can be shared
        assert told.images == promised
    assert missing(small, stages) == 0
    assert len(shown(small, study)) == CELLS.get(study, 0)
    told.images = 0
    again = plan(small, study, BRIEF)
    assert missing(small, again) == 0
    if study != "inference":
        assert announced(small, again) == 0
    assert {record.cell.key for record in run(again)} == {record.cell.key for record in records}
    assert told.images == 0
    check = {"table4": are_those_of_attack, "inference": choose_lambda_in_every_way}.get(study)
    if check:
        check(small, records)


def are_those_of_attack(bench: Workbench, measured: list[Record]) -> None:
    """After the fits: every protocol under both threats, as `attack` measures them by itself."""
    attacks = [attack_setting(Threat(norm, eps)) for norm, eps in DEFAULT_EPS.items()]
    asked = [record for setting in attacks for record in run_attack(bench, setting, bench.images("test"), lambdas=GRID)]
    assert {record.cell.key for record in measured} == {record.cell.key for record in asked}
    assert {record.cell.protocol for record in measured} >= set(PROTOCOLS) - {"transfer"}
    assert {record.cell.attack.norm for record in measured if record.cell.attack} == {"linf", "l2"}


def choose_lambda_in_every_way(_: Workbench, measured: list[Record]) -> None:
    """For every stream."""

    def kind(record: Record) -> tuple[str | None, object, str]:
        rule = record.inference.rule or ""
        per = "image" if rule.endswith("/image") else "set" * bool(rule)
        return (record.images.corruption, record.images.severity, per)

    kinds = {kind(record) for record in measured}
    assert {(name, MIXED, per) for name in (*NOISES, UNKNOWN) for per in ("", "set", "image")} <= kinds
    assert {(None, None, per) for per in ("set", "image")} <= kinds


def test_a_plan_measures_nothing(small: Workbench, told: Any) -> None:
    before = len(small.store)
    for study in STUDIES:
        assert plan(small, study, BRIEF)
    assert (told.images, told.notes, len(small.store)) == (0, [], before)


def test_table_2_fits_then_chooses(small: Workbench) -> None:
    given, fitting, chosen = plan(small, "table2", BRIEF)
    assert {cell.inference.lambda_ for cell in given.cells} == {0.1}
    assert [cell.images.split for cell in fitting.cells] == ["train"] * 7 * len(GRID)
    assert {cell.inference.lambda_ for cell in fitting.cells} == set(GRID)
    assert chosen.later == 5 * N
    run([given, fitting])
    assert [stage.title for stage in plan(small, "table2", BRIEF)] == [given.title, chosen.title]


def test_table_5_is_about_2_4_and_8_iterations(small: Workbench) -> None:
    cells = {cell.inference.steps for stage in plan(small, "table5", BRIEF) for cell in stage.cells}
    assert (STEPS, cells) == ((2, 4, 8), {None, 4, 8})  # those of training have no number


def test_table_4_tells_its_price_before_lambdas_are_known(small: Workbench) -> None:
    """Fits, clean images and transferred attacks can be told; a step of an attack is dearer than a classification."""
    stages = {stage.title: stage for stage in plan(small, "table4", BRIEF)}
    assert len(stages["clean validation images"].cells) == len(GRID)
    assert len(stages["pgd linf attack, matched"].cells) == len(GRID) - 1  # at lambda_0 it is transferred
    assert (stages["pgd l2 attack, ensemble"].later, stages["pgd l2 attack, adaptive"].later) == (N, 2 * N)
    assert stages["pgd linf attack, matched"].passes > stages["clean validation images"].passes == 1


def test_1000_images_are_attacked_where_nobody_says_otherwise() -> None:
    assert (StudySize().attacked, StudySize().swept, StudySize().tested) == (1000, 2000, None)


def test_the_corruptions_are_the_fifteen_of_mce(small: Workbench) -> None:
    (stage,) = plan(small, "corruptions", StudySize.limited(5))
    names = {cell.images.corruption for cell in stage.cells}
    assert len(stage.cells) == 5 * len(names) == 75
    assert names == {name for name in CORRUPTIONS if not CORRUPTIONS[name].extra}
    assert {cell.images.limit for cell in stage.cells} == {5}


def test_a_limit_is_that_of_test_images(small: Workbench) -> None:
    for study in STUDIES:
        limits = {
            cell.images.limit
            for stage in plan(small, study, StudySize.limited(7))
            for cell in stage.cells
            if cell.images.split == "test"
        }
        assert limits <= {7}, study


@pytest.mark.parametrize(("study", "cells"), [("table1", 1), ("table2", 5), ("table3", 20), ("table4", 2)])
def test_a_network_without_lambda_is_measured_as_it_is(resnet: Workbench, study: str, cells: int) -> None:
    stages = plan(shrink(resnet), study)
    assert {cell.inference.lambda_ for stage in stages for cell in stage.cells} == {None}
    assert len(run(stages)) == sum(len(stage.cells) for stage in stages) == cells
    assert missing(resnet, stages) == 0


@pytest.mark.parametrize("study", ["table5", "figure2", "figure3", "inference"])
def test_a_network_without_lambda_is_no_part_of_studies_of_it(resnet: Workbench, study: str) -> None:
    with pytest.raises(UsageError, match="no CSC-layer"):
        plan(resnet, study)


@pytest.mark.parametrize(("name", "nearest"), [("tabel2", "table2"), ("figure", "figure"), ("infrence", "inference")])
def test_an_unknown_study_is_answered_with_the_nearest(sdnet: Workbench, name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown study '{name}'. Did you mean '{nearest}"):
        plan(sdnet, name)


def test_the_speed_of_this_machine_is_measured_and_not_recorded(small: Workbench) -> None:
    before = len(small.store)
    assert images_per_second(small) > 0
    assert len(small.store) == before


def shown(bench: Workbench, study: str) -> set[tuple[str, str]]:
    """Row and column of the numbers that a report has for a study."""
    results = Results.read(bench.folder, bench.folder.parent)
    tables = [table for table in build_tables([results]) if table.name == study]
    return {(e.row, e.column) for table in tables for e in table.entries if e.model and e.ours}
