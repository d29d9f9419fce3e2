"""The protocols, a tuned lambda that the test split has no say in, and an attack that goes on where it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from walking import walking

from sdnet_bench.api.requests import protocols_of
from sdnet_bench.attacks import ATTACKS
from sdnet_bench.data import TensorSplit
from sdnet_bench.data.shifts import only_test
from sdnet_bench.engine import robust as loop
from sdnet_bench.engine.robust import SUITES
from sdnet_bench.errors import ModelError, RecordError, UsageError
from sdnet_bench.records import (
    CLEAN,
    MINIMUM_NORM,
    NOISES,
    PROTOCOLS,
    REVISION,
    AttackSetting,
    Cell,
    Images,
    Inference,
    Protocol,
    Record,
    Threat,
    usual_protocols,
    widening,
)
from sdnet_bench.records.journal import Entry, Journal
from sdnet_bench.records.lambda_fit import Point, fit_line, save_fit
from sdnet_bench.records.statistics import best_lambda
from sdnet_bench.studies.adversarial import USABLE, protocol_cells, run_attack, sweep_eps, tune_lambda, usable_lambdas
from sdnet_bench.studies.minimum_norm import attack_by_eps
from sdnet_bench.studies.probing import warn_of_masking
from sdnet_bench.studies.protocols import adaptive_cells, adaptive_rules, attack_setting, matched_cells, transfer_cells
from sdnet_bench.studies.workbench import Workbench

Open = Callable[[str], Workbench]
GRID = [0.1, 0.5, 1.0]
LIMIT = 15
SETTING = attack_setting(Threat("linf", 0.06), steps=2)


@pytest.fixture
def fitted(sdnet: Workbench) -> Workbench:
    """The SDNet with a line for every noise, which reaches over all its residuals."""
    for name in NOISES:
        points = [Point(0.1, r, 0.05 * r, 0.5) for r in (0.0, 100.0)]
        save_fit(sdnet.folder, fit_line(name, sdnet.model.weights, points))
    return sdnet


def attacks(records: Iterable[Record], split: str) -> list[Record]:
    return [record for record in records if record.cell.attack and record.images.split == split]


def attack_of(record: Record) -> AttackSetting:
    assert record.cell.attack
    return record.cell.attack


def lambdas_of(cells: Iterable[Cell]) -> list[tuple[object, object]]:
    """What images are scored at, and what they are made at."""
    return [(cell.inference.lambda_, cell.attack and cell.attack.crafted_at) for cell in cells]


@contextmanager
def counting(net: nn.Module) -> Iterator[list[int]]:
    """The sizes of the batches that a network sees in a block."""
    sizes: list[int] = []
    hook = net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    try:
        yield sizes
    finally:
        hook.remove()


# settings and names


def test_pgd_walks_two_and_a_half_radii() -> None:
    setting = attack_setting(Threat("l2", 0.5), steps=20, restarts=3)
    assert setting == AttackSetting(
        name="pgd", norm="l2", eps=0.5, step_size=0.0625, steps=20, restarts=3, revision=REVISION
    )


@pytest.mark.parametrize(
    ("name", "steps", "restarts"),
    [
        *((name, 100, 1) for name in ("apgd-ce", "apgd-dlr", "fab", "autoattack")),
        *(("pgd", 10, 1), ("apgd-t", 100, 9), ("fab-t", 100, 9), ("square", 5000, 1), ("noise", 1, 10)),
    ],
)
def test_each_attack_has_its_usual_budget(name: str, steps: int, restarts: int) -> None:
    setting = attack_setting(Threat("linf", 0.03), name=name)
    assert (setting.name, setting.steps, setting.restarts) == (name, steps, restarts)
    assert (setting.step_size is None) == (name != "pgd")
    other = attack_setting(Threat("linf", 0.03), 7, 2, name=name)
    assert (other.steps, other.restarts) == (7, 2)


@pytest.mark.parametrize("size", [{"steps": 10**9}, {"restarts": 10**9}, {"steps": -1}])
def test_budgets_that_nobody_means_are_refused(size: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"(steps|restarts) out of range, expected 1 to 1[0-9,]+, got"):
        attack_setting(Threat("linf", 0.1), **size)


def test_every_attack_has_a_budget_and_a_name_of_its_own() -> None:
    assert not {*ATTACKS} & {*SUITES}
    for name in [*ATTACKS, *SUITES]:
        assert attack_setting(Threat(MINIMUM_NORM.get(name, "l2"), 0.5), name=name).revision == REVISION


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("all", list(PROTOCOLS)),
        ("matched", ["matched"]),
        ("matched,transfer", ["transfer", "matched"]),
        ("adaptive,ensemble,adaptive", ["ensemble", "adaptive"]),
    ],
)
def test_protocols_by_name(text: str, meant: list[str]) -> None:
    assert protocols_of(text) == meant


# the cells of each protocol


def test_transferred_images_are_made_at_lambda_0_and_scored_at_every_lambda(sdnet: Workbench) -> None:
    cells = transfer_cells(sdnet, SETTING, sdnet.images("test", LIMIT), GRID)
    assert lambdas_of(cells) == [(at, 0.1) for at in GRID]
    assert [cell.protocol for cell in cells] == ["matched", "transfer", "transfer"]
    assert [cell.is_white_box for cell in cells] == [True, False, False]


def test_matched_images_are_made_at_the_lambda_they_are_scored_at(sdnet: Workbench) -> None:
    cells = matched_cells(sdnet, SETTING, sdnet.images("test", LIMIT), GRID)
    assert lambdas_of(cells) == [(at, at) for at in GRID]
    assert {(cell.protocol, cell.is_white_box) for cell in cells} == {("matched", True)}


def test_an_ensemble_is_made_at_the_usable_lambdas(sdnet: Workbench) -> None:
    cells = protocol_cells(sdnet, SETTING, "ensemble", sdnet.images("test", LIMIT), GRID)
    usable = usable_lambdas(sdnet, LIMIT, GRID)
    assert lambdas_of(cells) == [(at, usable) for at in GRID]
    assert {(cell.protocol, cell.is_white_box) for cell in cells} == {("ensemble", False)}


def test_an_adaptive_attack_looks_through_the_choice_of_lambda(fitted: Workbench) -> None:
    (rule,) = adaptive_rules(fitted)
    cells = adaptive_cells(fitted, SETTING, fitted.images("test", LIMIT))
    assert [(cell.attack.through, cell.attack.crafted_at) for cell in cells if cell.attack] == [
        ("detached", None),
        ("attached", None),
    ]
    assert {(cell.inference.rule, cell.inference.lambda_) for cell in cells} == {(rule, None)}
    assert {cell.protocol for cell in cells} == {"adaptive"}
    assert all(cell.is_white_box for cell in cells)


def test_where_there_are_fits_robust_inference_is_scored_on_transferred_images_too(fitted: Workbench) -> None:
    (rule,) = adaptive_rules(fitted)
    *_, last = transfer_cells(fitted, SETTING, fitted.images("test", LIMIT), GRID)
    assert (last.inference.rule, last.inference.lambda_, last.protocol) == (rule, None, "transfer")
    assert last.attack
    assert last.attack.crafted_at == 0.1
    assert all(
        cell.inference.rule is None
        for cell in transfer_cells(fitted, SETTING, fitted.images("validation", LIMIT), GRID)
    )


def test_without_fits_there_is_no_adaptive_attack_and_a_hint_or_an_error(sdnet: Workbench, told: Any) -> None:
    assert adaptive_rules(sdnet) == {}
    records = run_attack(sdnet, SETTING, sdnet.images("test", LIMIT), ["transfer", "adaptive"], GRID)
    assert {record.cell.protocol for record in records} == {"transfer", "matched"}  # at lambda_0 both are one
    hint = "sdnet18-tiny has no fits; `sdnet-bench fit-lambda sdnet18-tiny --corruption all`"
    assert any(hint in note for note in told.notes)
    with pytest.raises(ModelError, match=r"no fit of lambda for gaussian noise .* fit-lambda sdnet18-tiny"):
        run_attack(sdnet, SETTING, sdnet.images("test", LIMIT), ["adaptive"], GRID)


@pytest.mark.parametrize(
    ("name", "protocols"), [("pgd", PROTOCOLS), ("apgd-ce", ("matched",)), ("autoattack", ("matched",))]
)
def test_other_attacks_than_pgd_are_matched_where_nothing_is_said(name: str, protocols: tuple[str, ...]) -> None:
    assert tuple(usual_protocols(name)) == protocols


def test_a_network_without_lambda_says_that_it_has_one_protocol(resnet: Workbench, told: Any) -> None:
    run_attack(resnet, SETTING, resnet.images("test", LIMIT), ["adaptive"])
    assert "resnet18-tiny has no lambda: matched is the only protocol" in told.notes


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("linf", 0.2), ("l2", 0.5)])
def test_balls_widen_to_the_range_of_a_pixel(norm: str, eps: float) -> None:
    radii = [threat.eps for threat in widening(Threat(norm, eps))]
    assert radii == sorted(set(radii))
    assert radii[0] == eps / 4
    assert radii[-1] == (min(1.0, 16 * eps) if norm == "linf" else 16 * eps)


@pytest.mark.parametrize(
    "change",
    [
        *({"defence": "blur"}, {"defence": "net:00"}, {"attack": None}),
        *({"attack": SETTING.model_copy(update=change)} for change in ({"smooth": True}, {"inference_steps": 4})),
    ],
    ids=["placebo", "net", "none", "smooth", "steps"],
)
def test_another_judge_or_surrogate_is_no_protocol(sdnet: Workbench, change: dict[str, Any]) -> None:
    (cell,) = matched_cells(sdnet, SETTING, sdnet.images("test", LIMIT), [0.5])
    if attack := change.get("attack"):
        change = {"attack": attack.model_copy(update={"crafted_at": 0.5})}
    changed = Cell.model_validate(cell.model_dump() | change)
    assert (changed.protocol, changed.is_white_box) == (None, False)


def test_a_lambda_that_a_rule_chose_for_the_set_is_transferred_to(sdnet: Workbench) -> None:
    (cell,) = matched_cells(sdnet, SETTING, sdnet.images("test", LIMIT), [0.5])
    assert cell.with_inference(cell.inference.by("algorithm-1", 0.5)).protocol == "transfer"


# measured


def test_all_protocols_are_measured(fitted: Workbench) -> None:
    records = run_attack(fitted, SETTING, fitted.images("test", LIMIT), PROTOCOLS, GRID)
    found = [(record.cell.protocol, record.inference.lambda_) for record in records]
    assert len({record.cell.key for record in records}) == len(records)
    by_rule: list[tuple[Protocol | None, float | None]] = [("transfer", None), ("adaptive", None), ("adaptive", None)]
    assert sorted(found, key=str) == sorted(
        [("transfer", at) for at in GRID[1:]]
        + [("matched", at) for at in GRID]
        + [("ensemble", at) for at in GRID]
        + by_rule,
        key=str,
    )
    assert {record.images.split for record in records} == {"test"}


def test_both_protocols_agree_at_lambda_0(sdnet: Workbench) -> None:
    transfer, matched = (
        run_attack(sdnet, SETTING, sdnet.images("test", LIMIT), [name], GRID) for name in ("transfer", "matched")
    )
    assert transfer[0] == matched[0]
    assert transfer[0].inference.lambda_ == 0.1


@pytest.mark.parametrize("protocol", ["transfer", "matched", "ensemble"])
def test_what_is_misclassified_clean_is_lost_to_nobody(sdnet: Workbench, protocol: Protocol) -> None:
    """An attack's records know clean accuracy at each lambda."""
    for record in run_attack(sdnet, SETTING, sdnet.images("test", LIMIT), [protocol], GRID):
        (clean,) = sdnet.measure(
            [sdnet.cell(sdnet.images("test", LIMIT), sdnet.inference(record.inference.lambda_))], "clean"
        )
        assert np.array_equal(~record.lost(CLEAN), clean.correct)
        assert not (record.correct & ~clean.correct).any()
        assert np.array_equal(~record.correct, record.lost(CLEAN) | record.lost("pgd"))
        assert not (record.lost(CLEAN) & record.lost("pgd")).any()


def test_an_outcome_does_not_depend_on_the_cells_measured_beside_it(fitted: Workbench, tmp_path: Path) -> None:
    cells = transfer_cells(fitted, SETTING, fitted.images("test", LIMIT), GRID)
    cells.append(cells[0].with_inference(fitted.inference(defence="median")))
    together = fitted.measure(cells, "together", adaptive_rules(fitted))
    for cell, record in zip(cells, together, strict=True):
        bench = replace(fitted, folder=tmp_path / cell.key)
        (alone,) = bench.measure([cell], "alone", adaptive_rules(fitted))
        assert (alone.outcomes, alone.lost_to) == (record.outcomes, record.lost_to)


def test_another_network_may_be_the_judge(sdnet: Workbench, resnet: Workbench) -> None:
    """Of clean images it says what it always says."""
    attack = SETTING.model_copy(update={"crafted_at": 0.1})
    cell = sdnet.cell(sdnet.images("test", LIMIT), sdnet.inference(defence=f"net:{resnet.model.weights}"), attack)
    sdnet.others[resnet.model.weights] = resnet.model.net
    (record,) = sdnet.measure([cell], "transfer to another network")
    (clean,) = resnet.measure([resnet.cell(resnet.images("test", LIMIT))], "clean")
    assert np.array_equal(~record.lost(CLEAN), clean.correct)
    (own,) = resnet.measure(matched_cells(resnet, SETTING, resnet.images("test", LIMIT), [None]), "own")
    assert own.accuracy <= record.accuracy < clean.accuracy


@pytest.mark.parametrize("protocols", [["matched"], ["transfer"], PROTOCOLS])
def test_a_network_without_lambda_has_one_protocol(resnet: Workbench, protocols: list[Protocol]) -> None:
    (record,) = run_attack(resnet, SETTING, resnet.images("test", LIMIT), protocols, GRID)
    assert (record.inference.lambda_, attack_of(record).crafted_at) == (None, None)
    assert record.cell.protocol == "matched"
    assert attacks(resnet.store, "validation") == []


def test_nothing_on_record_is_attacked_again(fitted: Workbench, open_bench: Open, told: Any) -> None:
    first = run_attack(fitted, SETTING, fitted.images("test", LIMIT), PROTOCOLS, GRID)
    told.images = 0
    assert run_attack(fitted, SETTING, fitted.images("test", LIMIT), PROTOCOLS, GRID) == first
    again = open_bench("sdnet18-tiny")
    assert run_attack(again, SETTING, again.images("test", LIMIT), PROTOCOLS, GRID) == first
    assert told.images == 0


@pytest.mark.parametrize("before", ["an attack", "clean images"])
def test_clean_images_that_were_classified_are_not_classified_again(
    sdnet: Workbench, tmp_path: Path, before: str
) -> None:
    images, fresh = sdnet.images("test", LIMIT), replace(sdnet, folder=tmp_path / "fresh")
    cells = matched_cells(sdnet, SETTING, images, GRID)
    stronger = SETTING.model_copy(update={"steps": 3})
    known = {
        "an attack": matched_cells(sdnet, stronger, images, GRID),
        "clean images": [sdnet.cell(images, sdnet.inference(at)) for at in GRID],
    }
    sdnet.measure(known[before], before)
    passes, found = [], []
    for bench in (fresh, sdnet):
        with counting(bench.model.net) as seen:
            found.append([(record.outcomes, record.lost_to) for record in bench.measure(cells, "attack")])
        passes.append(len(seen))
    assert found[0] == found[1]
    assert passes[0] - passes[1] == len(GRID)


@pytest.mark.parametrize(
    "change", [{"steps": 4}, {"eps": 0.05}, {"restarts": 2}, {"step_size": 0.01}, {"revision": REVISION - 1}]
)
def test_another_attack_is_another_record(resnet: Workbench, told: Any, change: dict[str, Any]) -> None:
    run_attack(resnet, SETTING, resnet.images("test", LIMIT))
    told.images = 0
    run_attack(resnet, SETTING.model_copy(update=change), resnet.images("test", LIMIT))
    assert told.images == LIMIT


def test_attacks_run_in_single_precision_whatever_the_runtime(resnet: Workbench) -> None:
    resnet.runtime = replace(resnet.runtime, precision="bfloat16")
    (record,) = run_attack(resnet, SETTING, resnet.images("test", LIMIT))
    assert (record.inference.precision, record.provenance["precision"]) == ("float32", "float32")


def test_attacked_images_are_those_of_the_limit(resnet: Workbench) -> None:
    (record,) = run_attack(resnet, SETTING, resnet.images("test", LIMIT))
    assert (record.n, record.images.limit) == (LIMIT, LIMIT)
    assert record.images.digest == resnet.split("test", LIMIT).digest


# lambda after tuning


def rig(monkeypatch: pytest.MonkeyPatch, stands: Callable[[Cell], float]) -> None:
    """Nothing is measured; of the images of a cell a share stands."""

    def rigged(bench: Workbench, cells: list[Cell], *_: Any, **__: Any) -> list[Record]:
        for cell in bench.missing(cells):
            bench.store.append(Record.of("m", cell, np.arange(LIMIT) < stands(cell) * LIMIT))
        return [bench.store[cell] for cell in cells]

    monkeypatch.setattr(Workbench, "measure", rigged)


def test_the_test_split_has_no_say_in_the_tuned_lambda(sdnet: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda stays where validation images put it when every test image stands at another one."""
    rig(monkeypatch, lambda cell: float(cell.inference.lambda_ == (0.5 if cell.images.split == "validation" else 1.0)))
    square = attack_setting(Threat("linf", 0.06), name="square")
    records = run_attack(sdnet, square, sdnet.images("test", LIMIT), ["matched"], GRID)
    assert [record.inference.lambda_ for record in records] == [0.1, 0.5]
    assert tune_lambda(sdnet, SETTING, LIMIT, GRID) == 0.5


def test_lambda_is_tuned_on_transferred_validation_images_alone(sdnet: Workbench, told: Any) -> None:
    tuned = tune_lambda(sdnet, SETTING, LIMIT, GRID)
    tuning = attacks(sdnet.store, "validation")
    assert [record.inference.lambda_ for record in tuning] == GRID
    assert {attack_of(record).crafted_at for record in tuning} == {0.1}
    assert {record.images.digest for record in tuning} == {sdnet.split("validation", LIMIT).digest}
    assert attacks(sdnet.store, "test") == []
    best = max(record.accuracy for record in tuning)
    assert tuned == min(float(record.inference.lambda_ or 0) for record in tuning if record.accuracy == best)
    assert told.notes[-1].startswith(f"lambda tuned on validation images: {tuned:g}")


@pytest.mark.parametrize(("best", "is_edge"), [(0.5, False), (1.0, True)])
def test_a_tuned_lambda_at_the_edge_is_told(
    sdnet: Workbench, told: Any, monkeypatch: pytest.MonkeyPatch, best: float, is_edge: bool
) -> None:
    rig(monkeypatch, lambda cell: float(cell.inference.lambda_ == best))
    assert tune_lambda(sdnet, SETTING, LIMIT, GRID) == best
    assert ("beyond it may be a better one" in told.notes[-1]) == is_edge


def test_on_images_from_elsewhere_lambda_is_tuned_on_those_of_the_model(sdnet: Workbench) -> None:
    dataset = replace(sdnet.dataset, name="elsewhere", open=only_test("elsewhere", lambda: sdnet.split("test")))
    bench = replace(sdnet, dataset=dataset)
    found = run_attack(bench, SETTING, bench.images("test", LIMIT), ["transfer", "ensemble"], GRID)
    assert {record.images.dataset for record in found} == {"elsewhere"}
    bench.store.refresh()
    assert {record.images.dataset for record in attacks(bench.store, "validation")} == {"digits"}


def test_usable_lambdas_keep_their_accuracy_on_clean_validation_images(
    sdnet: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Cell] = []

    def stands(cell: Cell) -> float:
        seen.append(cell)
        return {0.1: 2 / 3, 0.5: 2 / 3 * USABLE, 1.0: 2 / 3 * USABLE - 1 / LIMIT}[cell.inference.lambda_ or 0]

    rig(monkeypatch, stands)
    assert usable_lambdas(sdnet, LIMIT, GRID) == (0.1, 0.5)
    assert {(cell.images.split, cell.attack) for cell in seen} == {("validation", None)}


@pytest.mark.parametrize("name", sorted({*ATTACKS, *SUITES} - {"fmn"}))
def test_expensive_attacks_are_matched_at_lambda_0_and_the_tuned_lambda_alone(
    sdnet: Workbench, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Which is tuned against PGD, whatever the attack."""
    rig(monkeypatch, lambda cell: float(cell.inference.lambda_ == 0.5))
    setting = attack_setting(Threat("l2", 1.0), name=name)
    records = run_attack(sdnet, setting, sdnet.images("test", LIMIT), ["matched"], GRID)
    assert [record.inference.lambda_ for record in records] == (GRID if name == "pgd" else [0.1, 0.5])
    assert {attack_of(record).name for record in records} == {name}
    assert {attack_of(record).name for record in attacks(sdnet.store, "validation")} <= {"pgd"}


def score(lambda_: float, right: int) -> Record:
    cell = Cell(
        weights="w", images=Images(dataset="d", split="validation", digest="i"), inference=Inference(lambda_=lambda_)
    )
    return Record.of("m", cell, np.arange(10) < right)


def test_the_best_lambda_is_the_smallest_of_equals() -> None:
    assert best_lambda([score(0.1, 3), score(0.7, 6), score(0.5, 6), score(0.9, 5)]) == 0.5


# minimum-norm attacks


NEAREST = attack_setting(Threat("l2", 0.5), name="ddn")


def warnings_of(told: Any) -> list[str]:
    return [note.removeprefix("warning: ") for note in told.notes if note.startswith("warning: ")]


def test_one_run_of_a_minimum_norm_attack_says_accuracy_at_every_eps(sdnet: Workbench, register_part: Any) -> None:
    register_part(ATTACKS, "ddn", walking(4.0, 2.0, 1.0, 0.5, 0.25))
    records = sweep_eps(sdnet, NEAREST, sdnet.images("test", LIMIT), GRID)
    radii = [attack_of(record).eps for record in records if record.inference.lambda_ == 0.1]
    assert radii == [threat.eps for threat in widening(NEAREST.threat)]
    accuracy = [record.accuracy for record in records if record.inference.lambda_ == 0.1]
    assert accuracy == sorted(accuracy, reverse=True)
    assert len({*accuracy}) > 2
    made = [record for record in attacks(sdnet.store, "test") if record.inference.lambda_ == 0.1]
    assert sorted(attack_of(record).name for record in made) == ["ddn", "pgd"]
    assert [record for record in sdnet.store if record.distances and record.inference.lambda_ == 0.1]


def test_where_pgd_leaves_fewer_images_the_minimum_norm_attack_failed(
    resnet: Workbench, register_part: Any, told: Any
) -> None:
    """Whichever was asked for last, and for one that found all that PGD found there is no word."""
    images, strong = resnet.images("test", LIMIT), attack_setting(Threat("l2", 8.0), 10)
    register_part(ATTACKS, "ddn", walking(1e-6))
    (lame,) = run_attack(resnet, NEAREST, images)
    assert warnings_of(told) == []
    (pgd,) = run_attack(resnet, strong, images)
    left, fewer = int(lame.correct.sum()), int(pgd.correct.sum())
    line = f"ddn failed: {left} of {LIMIT} images stand at l2 8, {fewer} under pgd"
    assert warnings_of(told) == [line]
    run_attack(resnet, NEAREST, images)
    assert warnings_of(told) == [line, line]


def test_too_few_steps_of_ddn_are_told(resnet: Workbench, register_part: Any, told: Any) -> None:
    register_part(ATTACKS, "ddn", walking(1.0))
    run_attack(resnet, attack_setting(Threat("l2", 0.5), 20, name="ddn"), resnet.images("test", LIMIT))
    assert warnings_of(told) == ["ddn with 20 steps cannot look below a radius of 0.36: there all images look robust"]


def test_what_cannot_run_ends_before_lambda_is_tuned(sdnet: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    setting = attack_setting(Threat("l2", 0.5), name="ddn")
    with pytest.raises(UsageError, match="foolbox"):
        run_attack(sdnet, setting, sdnet.images("test", LIMIT), ["matched"], GRID)
    assert attacks(sdnet.store, "validation") == []


@pytest.mark.parametrize(("is_there", "names"), [(True, ["fmn", "ddn"]), (False, ["pgd", "pgd"])])
def test_curves_are_of_minimum_norm_attacks_where_foolbox_is(
    is_there: bool, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = ModuleType("foolbox")
    library.__spec__ = ModuleSpec("foolbox", None)
    monkeypatch.setitem(sys.modules, "foolbox", library if is_there else None)
    assert [attack_by_eps(norm) for norm in ("linf", "l2")] == names


# going on after a crash


class Killed(BaseException):
    """As Ctrl-C, or worse."""


def journals(bench: Workbench) -> list[Path]:
    return [path for path in bench.folder.glob("journal*") if path.is_dir()]


def content(records: Iterable[Record]) -> list[Any]:
    return [(record.cell, record.outcomes, record.lost_to, record.n) for record in records]


def test_a_killed_attack_goes_on_to_the_same_records(
    sdnet: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", 8)
    setting = attack_setting(Threat("linf", 0.06), steps=2, restarts=2)
    cells = transfer_cells(sdnet, setting, sdnet.images("test", LIMIT), GRID) + matched_cells(
        sdnet, setting, sdnet.images("test", LIMIT), GRID[1:]
    )
    expected = content(replace(sdnet, folder=tmp_path / "at once").measure(cells, "at once"))
    append, left = Journal.append, 0

    def mortal(journal: Journal, entry: Entry) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        append(journal, entry)

    monkeypatch.setattr(Journal, "append", mortal)
    for _ in range(100):
        left, bench = 6, replace(sdnet)
        try:
            records = bench.measure(cells, "again")
            break
        except Killed:
            for folder in journals(bench):
                with (folder / "0.jsonl").open("ab") as file:
                    file.write(b'{"stage": 1, "pla')
    assert content(records) == expected
    assert journals(sdnet) == []


def test_records_that_cannot_be_written_cost_no_attack(resnet: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when all is done."""
    append, calls = type(resnet.store).append, []

    def full(store: Any, record: Record) -> None:
        calls.append(record)
        if len(calls) == 1:
            raise RecordError("cannot write: no space left on device")
        append(store, record)

    monkeypatch.setattr(type(resnet.store), "append", full)
    cells = matched_cells(resnet, SETTING, resnet.images("test", LIMIT), [None])
    with pytest.raises(RecordError):
        resnet.measure(cells, "full")
    monkeypatch.setattr(loop, "craft", lambda *_, **__: pytest.fail("it was attacked again"))
    (record,) = resnet.measure(cells, "room again")
    assert content([record]) == content(calls[:1])
    assert journals(resnet) == []


# what a network hides from attacks


class Wrapped(nn.Module):
    """A network whose logits are changed."""

    def __init__(self, net: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.change = net, change

    def forward(self, images: Tensor) -> Tensor:
        return self.change(images, self.net(images))


def wrapped(bench: Workbench, change: Callable[[Tensor, Tensor], Tensor]) -> Workbench:
    return replace(bench, model=replace(bench.model, net=Wrapped(bench.model.net, change)))


def without_gradient_where_dark(images: Tensor, logits: Tensor) -> Tensor:
    dark = images.mean((1, 2, 3)) < 0.3
    return logits.detach().where(dark[:, None], logits)


def test_the_share_of_images_without_a_gradient_is_told(resnet: Workbench, told: Any) -> None:
    warn_of_masking(resnet, 40)
    assert told.notes == []
    (batch,) = resnet.split("test", 40).batches(40, torch.device("cpu"))
    dark = int(((batch.images / 255).mean((1, 2, 3)) < 0.3).sum())
    assert 0 < dark < 40
    warn_of_masking(wrapped(resnet, without_gradient_where_dark), 40)
    (note,) = told.notes
    assert note.startswith(f"warning: {100 * dark / 40:.1f} % of 40 test images have no gradient")


def test_gradients_are_looked_at_once_and_only_before_an_attack(resnet: Workbench, told: Any) -> None:
    seen: list[int] = []

    def change(images: Tensor, logits: Tensor) -> Tensor:
        seen.append(len(images))
        return without_gradient_where_dark(images, logits)

    setting, images = attack_setting(Threat("linf", 0.1), 1), resnet.images("test", 40)
    first = run_attack(wrapped(resnet, change), setting, images)
    assert sum("have no gradient" in note for note in told.notes) == 1
    told.notes.clear()
    seen.clear()
    assert run_attack(wrapped(resnet, change), setting, images) == first
    assert (told.notes, seen) == (["resnet18-tiny has no lambda: matched is the only protocol"], [])


def test_probabilities_in_the_place_of_logits_are_told(resnet: Workbench, told: Any) -> None:
    warn_of_masking(wrapped(resnet, lambda images, logits: logits.softmax(1)), 40)
    (note,) = told.notes
    assert note.startswith("warning: 100.0 % of 40 test images have probabilities for logits")
    warn_of_masking(wrapped(resnet, lambda images, logits: (1e4 * logits).softmax(1)), 40)
    assert any("have no gradient" in note for note in told.notes[1:])


def rooted(images: Tensor, logits: Tensor) -> Tensor:
    """The same logits, by the root of zero, which has no gradient."""
    return logits + 0 * torch.sqrt(images - images.amin((1, 2, 3), keepdim=True)).mean((1, 2, 3))[:, None]


@pytest.mark.parametrize(
    ("change", "what"),
    [(lambda images, logits: logits / 0, "logits"), (rooted, "gradients")],
    ids=["logits", "gradients"],
)
def test_what_is_not_finite_is_neither_zero_nor_a_probability(
    resnet: Workbench, change: Callable[[Tensor, Tensor], Tensor], what: str
) -> None:
    with pytest.raises(ModelError, match=f"^resnet18-tiny: {what} of 40 of 40 images are not finite"):
        warn_of_masking(wrapped(resnet, change), 40)


@pytest.mark.parametrize("run", [run_attack, sweep_eps])
def test_autoattack_on_few_classes_is_on_record_as_what_it_is(
    resnet: Workbench, told: Any, run: Callable[..., list[Record]]
) -> None:
    images = resnet.images("test", 4)
    bench, whole = wrapped(resnet, lambda images, logits: logits[:, :3]), resnet.split("test")
    assert isinstance(whole, TensorSplit)
    split = replace(whole, labels=whole.labels % 3)
    bench.dataset = replace(bench.dataset, num_classes=3, classes=(), open=lambda which: split)
    records = run(bench, attack_setting(Threat("linf", 0.3), 1, name="autoattack"), images)
    assert {attack_of(record).name for record in records} == {"autoattack-few"}
    assert "autoattack-few: apgd-t is not defined for 3 classes" in told.notes


def test_an_error_of_an_attack_says_which_network_and_attack(resnet: Workbench) -> None:
    bench = wrapped(resnet, lambda images, logits: logits * torch.nan)
    with pytest.raises(ModelError, match=r"^resnet18-tiny: logits of 15 of 15 im"):
        run_attack(bench, SETTING, bench.images("test", LIMIT), ["matched"])
