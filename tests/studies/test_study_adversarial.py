"""The two protocols, and a tuned lambda that the test split has no say in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdnet_bench.attacks import Threat
from sdnet_bench.errors import UnknownNameError
from sdnet_bench.records import AttackSetting, Cell, Record
from sdnet_bench.studies.adversarial import attack_setting, best_lambda, check_protocol, run_attack
from sdnet_bench.studies.workbench import Workbench

GRID = [0.1, 0.5, 1.0]
LIMIT = 40
SETTING = attack_setting(Threat("linf", 0.06), steps=3)


def attacks(records: Any, split: str) -> list[Record]:
    return [record for record in records if record.cell.attack and record.cell.split == split]


def test_pgd_walks_two_and_a_half_radii() -> None:
    setting = attack_setting(Threat("l2", 0.5), steps=20, restarts=3)
    assert setting == AttackSetting(name="pgd", norm="l2", eps=0.5, step_size=0.0625, steps=20, restarts=3)


@pytest.mark.parametrize("name", ["matched", "transfer", "all"])
def test_protocols_by_name(name: str) -> None:
    assert check_protocol(name) == name


def test_a_misspelt_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown protocol 'mached'\. Did you mean 'matched'"):
        check_protocol("mached")


def test_transferred_images_are_made_at_lambda_0_and_scored_at_every_lambda(sdnet: Workbench) -> None:
    records = run_attack(sdnet, SETTING, "transfer", GRID, limit=LIMIT)
    assert [record.cell.lambda_ for record in records] == GRID
    assert {record.cell.attack.crafted_at for record in records if record.cell.attack} == {0.1}
    assert {record.cell.split for record in records} == {"test"}


def test_matched_images_are_made_at_the_lambda_they_are_scored_at(sdnet: Workbench) -> None:
    records = run_attack(sdnet, SETTING, "matched", GRID, limit=LIMIT)
    for record in records:
        assert record.cell.attack
        assert record.cell.attack.crafted_at == record.cell.lambda_
    tuned = best_lambda(attacks(sdnet.store, "validation"))
    assert [record.cell.lambda_ for record in records] == sorted({0.1, tuned})


def test_both_protocols_agree_at_lambda_0(sdnet: Workbench) -> None:
    records = run_attack(sdnet, SETTING, "all", GRID, limit=LIMIT)
    assert len([record for record in records if record.cell.lambda_ == 0.1]) == 1
    transfer, matched = (
        run_attack(sdnet, SETTING, protocol, GRID, limit=LIMIT) for protocol in ("transfer", "matched")
    )
    assert transfer[0] == matched[0]
    assert transfer[0].cell.lambda_ == 0.1


def test_lambda_is_tuned_on_validation_images_alone(sdnet: Workbench, told: Any) -> None:
    run_attack(sdnet, SETTING, "all", GRID, limit=LIMIT)
    tuning = attacks(sdnet.store, "validation")
    assert [record.cell.lambda_ for record in tuning] == GRID
    assert {record.cell.images for record in tuning} == {sdnet.split("validation", LIMIT).digest}
    best = max(record.accuracy for record in tuning)
    smallest = min(float(record.cell.lambda_ or 0) for record in tuning if record.accuracy == best)
    assert f"lambda tuned on validation images: {smallest:g}" in told.notes


def test_the_test_split_has_no_say_in_the_tuned_lambda(sdnet: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda stays where validation images put it when every test image stands at another lambda."""
    from sdnet_bench.studies.workbench import Workbench as Bench

    honest = Bench._measure_group

    def rigged(bench: Workbench, group: Any, task: Any, rules: Any) -> None:
        if group[0].split == "test":
            for cell in group:
                standing = np.full(LIMIT, cell.lambda_ == 1.0)
                bench.store.append(Record.of("m", cell, standing))
        elif group[0].split == "validation":
            for cell in group:
                bench.store.append(Record.of("m", cell, np.full(LIMIT, cell.lambda_ == 0.5)))
        else:
            honest(bench, group, task, rules)

    monkeypatch.setattr(Bench, "_measure_group", rigged)
    records = run_attack(sdnet, SETTING, "matched", GRID, limit=LIMIT)
    assert [record.cell.lambda_ for record in records] == [0.1, 0.5]


def test_the_tuned_lambda_is_measured_without_an_attack_too(sdnet: Workbench) -> None:
    run_attack(sdnet, SETTING, "matched", GRID, limit=LIMIT)
    tuned = best_lambda(attacks(sdnet.store, "validation"))
    assert sdnet.cell("test", LIMIT, tuned) in sdnet.store


@pytest.mark.parametrize("protocol", ["matched", "transfer", "all"])
def test_a_network_without_lambda_has_one_protocol(resnet: Workbench, protocol: Any) -> None:
    (record,) = run_attack(resnet, SETTING, protocol, GRID, limit=LIMIT)
    assert record.cell.attack
    assert (record.cell.lambda_, record.cell.attack.crafted_at) == (None, None)
    assert attacks(resnet.store, "validation") == []


def test_nothing_on_record_is_attacked_again(sdnet: Workbench, told: Any) -> None:
    first = run_attack(sdnet, SETTING, "all", GRID, limit=LIMIT)
    told.images = 0
    assert run_attack(sdnet, SETTING, "all", GRID, limit=LIMIT) == first
    assert told.images == 0


@pytest.mark.parametrize("change", [{"steps": 4}, {"eps": 0.05}, {"restarts": 2}, {"step_size": 0.01}])
def test_another_attack_is_another_record(resnet: Workbench, told: Any, change: dict[str, Any]) -> None:
    run_attack(resnet, SETTING, limit=LIMIT)
    told.images = 0
    run_attack(resnet, SETTING.model_copy(update=change), limit=LIMIT)
    assert told.images == LIMIT


def test_attacks_run_in_single_precision_whatever_the_runtime(resnet: Workbench) -> None:
    from dataclasses import replace

    resnet.runtime = replace(resnet.runtime, precision="bfloat16")
    (record,) = run_attack(resnet, SETTING, limit=LIMIT)
    assert (record.cell.precision, record.provenance["precision"]) == ("float32", "float32")


def test_attacked_images_are_those_of_the_limit(resnet: Workbench) -> None:
    (record,) = run_attack(resnet, SETTING, limit=LIMIT)
    assert (record.n, record.cell.limit) == (LIMIT, LIMIT)
    assert record.cell.images == resnet.split("test", LIMIT).digest


def score(lambda_: float, right: int) -> Record:
    cell = Cell(weights="w", dataset="d", split="validation", images="i", lambda_=lambda_)
    return Record.of("m", cell, np.arange(10) < right)


def test_the_best_lambda_is_the_smallest_of_equals() -> None:
    assert best_lambda([score(0.1, 3), score(0.7, 6), score(0.5, 6), score(0.9, 5)]) == 0.5


def test_an_attack_goes_by_name() -> None:
    assert attack_setting(Threat("linf", 0.1), name="pgd").name == "pgd"
    with pytest.raises(UnknownNameError, match=r"unknown attack 'pgdd'\. Did you mean 'pgd'\?"):
        attack_setting(Threat("linf", 0.1), name="pgdd")
