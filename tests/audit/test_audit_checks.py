"""The audit: each verdict on both sides of its threshold, and networks that only seem robust are found out."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from audits import an_audit, changed
from found import there
from torch import Tensor, nn

from sdnet_bench.adaptations import setting_of
from sdnet_bench.audit import CHECKS, FEWEST, QUICK, Audit, CheckResult, run_audit
from sdnet_bench.audit.adaptive import (
    STATISTICS,
    MeasuredResiduals,
    check_statistics,
    judge_batches,
    judge_pipeline,
    judge_statistics,
    mean_residuals,
)
from sdnet_bench.audit.determinism import Behaviour, check_state, judge_state
from sdnet_bench.audit.evidence import exceeds, on_same_network
from sdnet_bench.audit.gradients import (
    accuracy_of_surrogate,
    check_health,
    check_surrogates,
    judge_health,
    judge_surrogates,
)
from sdnet_bench.audit.power import Runs, judge_power
from sdnet_bench.audit.run import ask, measure_accuracies
from sdnet_bench.audit.scope import Scope
from sdnet_bench.audit.transfer import (
    check_placebos,
    check_union,
    judge_cost,
    judge_ensemble,
    judge_matched,
    judge_oracle,
    judge_placebos,
    judge_union,
)
from sdnet_bench.config import Recipe
from sdnet_bench.errors import UsageError
from sdnet_bench.records import CLEAN, NOISES, AttackSetting, Cell, Images, Inference, Record, Threat
from sdnet_bench.records.lambda_fit import Point, fit_line, save_fit
from sdnet_bench.records.statistics import paired_p, unbroken
from sdnet_bench.studies.probing import Health, probe
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.checkpoint import write_model

N = 1000
IMAGES = Images(dataset="d", split="test", digest="i")
TINY = QUICK.model_copy(update={"images": 6, "tuning": 6, "apgd_steps": 2, "queries": 10})
THREAT = Threat("linf", 0.06)


def kept(points: float, lambda_: float | None = 1.0, made_at: Any = 0.1, clean: float = 90, **setting: Any) -> Record:
    """A record of an attack: of a thousand images those with the smallest numbers stand."""
    attack = AttackSetting(**{"norm": "linf", "eps": 0.1, "steps": 10, "crafted_at": made_at} | setting)
    cell = Cell(weights="w", images=IMAGES, inference=Inference(lambda_=lambda_), attack=attack)
    place = np.arange(N)
    lost = {CLEAN: place >= 10 * clean, "pgd": (place >= 10 * points) & (place < 10 * clean)}
    return Record.of_attack("m", cell, lost)


def only(places: Any) -> Record:
    """A record in which these images stand."""
    cell = Cell(weights="w", images=IMAGES, attack=attack_setting(Threat("linf", 0.1)))
    return Record.of_attack("m", cell, {"pgd": ~np.isin(np.arange(N), list(places))})


@pytest.mark.parametrize(
    ("points", "n", "counts"),
    [(2.1, 1000, True), (2.0, 1000, False), (1.0, 100, False), (2.0, 100, True), (-5.0, 100, False)],
)
def test_a_difference_counts_above_its_threshold_and_from_two_images_on(points: float, n: int, counts: bool) -> None:
    assert exceeds(points, 2.0 if n > 100 else 0.5, n) is counts


@pytest.mark.parametrize(("matched", "verdict"), [(37.9, "fail"), (38.0, "pass"), (45.0, "pass")])
def test_c1_fails_where_knowing_lambda_pays(matched: float, verdict: str) -> None:
    transfer, own = kept(40), kept(matched, made_at=1.0)
    check = judge_matched(transfer, own)
    assert (check.id, check.verdict) == ("C1", verdict)
    assert check.figures["gap"] == pytest.approx(40 - matched)
    assert check.figures["p"] == pytest.approx(paired_p(transfer.correct, own.correct), rel=1e-5)
    assert f"40.0 % when the attack looks at lambda 0.1 and {matched:.1f} %" in check.says


def test_c1_wants_more_than_chance() -> None:
    """Many images fall to either attack alone: 2.1 points between them are chance."""
    transfer, matched = only(range(400)), only([*range(200, 400), *range(600, 779)])
    check = judge_matched(transfer, matched)
    assert check.figures["gap"] == pytest.approx(2.1)
    assert check.figures["p"] > 0.05
    assert check.verdict == "pass"


def test_c1_says_so_where_the_tuned_lambda_is_that_of_training() -> None:
    check = judge_matched(kept(40, 0.1), kept(40, 0.1))
    assert check.verdict == "pass"
    assert "transfer and matched attack are one" in check.says


@pytest.mark.parametrize(("first", "verdict"), [(21, "warn"), (20, "pass")])
def test_c2_counts_images_that_survive_everything(first: int, verdict: str) -> None:
    pgd, square = only(range(300)), only(range(first, 1000))
    check = judge_union(pgd, {"pgd": pgd, "square": square})
    assert check.verdict == verdict
    assert check.figures["union"] == pytest.approx((300 - first) / 10)
    assert check.figures["low"] < check.figures["union"] < check.figures["high"]


@pytest.mark.parametrize(("ensemble", "verdict"), [(37.9, "fail"), (38.0, "pass")])
def test_c3_fails_where_the_attack_has_to_look_at_one_lambda(ensemble: float, verdict: str) -> None:
    seen = (0.1, 0.5)
    records = [kept(points, at, made_at=seen) for at, points in ((0.1, 3.0), (1.0, ensemble), (1.5, 50.0))]
    check = judge_ensemble(kept(40), records)
    assert check.verdict == verdict
    assert (check.figures["worst lambda"], check.figures["best lambda"]) == (0.1, 1.5)
    assert (check.figures["at the worst"], check.figures["at the best"]) == (3, 50)
    assert "looks at 2 lambdas from 0.1 to 0.5 at once (lambda 1 is not" in check.says


@pytest.mark.parametrize(
    ("detached", "attached", "verdict"), [(37.9, 39, "fail"), (39, 37.9, "fail"), (38, 38, "pass")]
)
def test_c4_takes_the_stronger_of_two_attacks_on_the_rule(detached: float, attached: float, verdict: str) -> None:
    check = judge_pipeline(kept(40, None), kept(detached, None), kept(attached, None))
    assert check.verdict == verdict
    assert check.figures["gap"] == pytest.approx(40 - min(detached, attached))


@pytest.mark.parametrize(("oracle", "verdict"), [(41.1, "warn"), (41.0, "pass")])
def test_c5_warns_where_the_test_labels_choose_better(oracle: float, verdict: str) -> None:
    check = judge_oracle(1.0, [kept(10, 0.1), kept(40), kept(oracle, 1.2)])
    assert check.verdict == verdict
    assert check.figures["oracle lambda"] == 1.2


@pytest.mark.parametrize(("batched", "verdict"), [(42.1, "warn"), (42.0, "pass"), (37.9, "warn")])
def test_c6_warns_where_company_matters(batched: float, verdict: str) -> None:
    accuracies = {"alone": 40.0, "all at once": batched}
    check = judge_batches(accuracies, {"alone": 0.3, "all at once": 0.4}, N)
    assert check.verdict == verdict
    assert "40.0 % alone (lambda 0.3)" in check.says


def test_c6_averages_residuals_over_the_company() -> None:
    measured = MeasuredResiduals([], clean=torch.zeros(64), adversarial=torch.arange(64.0))
    alone, batches, everyone, mixed = mean_residuals(measured).values()
    assert torch.equal(alone, torch.arange(64.0))
    assert batches.tolist() == [15.5] * 32 + [47.5] * 32
    assert everyone.tolist() == [31.5] * 64
    assert mixed.tolist() == [15.75] * 64


def health(zero: float, lambda_: float | None = 0.1) -> Health:
    return Health(lambda_, zero, None if lambda_ is None else 50.0, 8.0)


@pytest.mark.parametrize(
    ("zero", "dlr", "verdict"),
    [(1, 40, "pass"), (1.1, 40, "warn"), (10.1, 40, "fail"), (0, 39, "pass"), (0, 38.9, "warn")],
)
@pytest.mark.parametrize("lambda_", [0.1, None])
def test_c7_wants_gradients(zero: float, dlr: float, verdict: str, lambda_: float | None) -> None:
    check = judge_health([health(zero, lambda_)], {lambda_}, kept(40), kept(dlr))
    assert check.verdict == verdict


def test_c7_judges_the_lambdas_that_attacks_look_at() -> None:
    found = [health(0), health(90, 1.5)]
    assert judge_health(found, {0.1}, kept(40), None).verdict == "pass"
    assert judge_health(found, {0.1, 1.5}, kept(40), None).verdict == "fail"
    assert judge_health(found, {0.1}, kept(40), None).figures["zero gradients at lambda 1.5"] == 90


@pytest.mark.parametrize(("steps", "smooth", "verdict"), [(39.5, 60, "pass"), (39.4, 60, "fail"), (60, 39.4, "fail")])
def test_c8_fails_where_a_detour_is_better(steps: float, smooth: float, verdict: str) -> None:
    surrogates = {"8 FISTA iterations": kept(steps), "a smooth threshold": kept(smooth)}
    clean = dict.fromkeys(surrogates, 80.0)
    assert judge_surrogates({"pgd": kept(40, made_at=1.0)}, surrogates, clean).verdict == verdict


def test_c8_compares_with_the_strongest_of_the_straight_attacks() -> None:
    """A detour that beats a weak PGD alone says nothing of the network."""
    straight = {"pgd": kept(40, made_at=1.0), "apgd-ce": kept(38, made_at=1.0)}
    check = judge_surrogates(straight, {"a smooth threshold": kept(38)}, {"a smooth threshold": 80.0})
    assert check.verdict == "pass"
    assert "pgd, apgd-ce leave 38.0 %" in check.says


def test_c8_says_what_the_best_detour_is_worth_itself() -> None:
    surrogates = {"8 FISTA iterations": kept(50), "a smooth threshold": kept(60)}
    check = judge_surrogates({"pgd": kept(40)}, surrogates, {"8 FISTA iterations": 45.0, "a smooth threshold": 85.0})
    assert "that detour's own network gets 45.0 % right, this one 90.0 %." in check.says
    assert (check.figures["8 FISTA iterations, clean"], check.figures["a smooth threshold, clean"]) == (45, 85)
    assert check.figures["clean"] == 90


@pytest.mark.parametrize(("placebo", "verdict"), [(38.0, "fail"), (37.9, "warn"), (25.0, "warn"), (24.9, "pass")])
def test_c9_compares_what_a_placebo_gains(placebo: float, verdict: str) -> None:
    """Undefended 10 %, at the tuned lambda 40 %: a gain of 30 points."""
    check = judge_placebos(kept(10, 0.1), kept(40), {"blur": kept(placebo, 0.1, clean=60), "jpeg": kept(12, 0.1)})
    assert check.verdict == verdict
    assert check.figures["blur, clean"] == 60
    assert f"blur {placebo:.1f} % (clean 60.0), jpeg 12.0 % (clean 90.0)" in check.says


@pytest.mark.parametrize("tuned", [None, kept(40)])
@pytest.mark.parametrize(("networks", "named"), [((), "none"), (("one", "two"), "one, two")])
def test_c9_names_the_other_networks(tuned: Record | None, networks: tuple[str, ...], named: str) -> None:
    check = judge_placebos(kept(10, 0.1), tuned, {"blur": kept(25, 0.1)}, networks)
    assert check.says.endswith(f"Other networks that scored them: {named}.")


@pytest.mark.parametrize(
    ("undefended", "tuned"), [(kept(10, 0.1), kept(11.9)), (kept(10, None, made_at=None), None)], ids=["gain", "lambda"]
)
def test_c9_without_a_gain_or_a_lambda_judges_nothing_and_gives_the_figures(
    undefended: Record, tuned: Record | None
) -> None:
    check = judge_placebos(undefended, tuned, {"blur": kept(30, None)})
    assert (check.verdict, check.figures["blur"], check.figures["undefended"]) == ("not applicable", 30, 10)


def runs(**changes: Any) -> Runs:
    """An attack that does all that it should."""
    usual = {
        "pgd": kept(10),
        "harder": {"2 x the steps": kept(9.8), "5 restarts": kept(9.6)},
        "radii": {0.05: kept(30), 0.1: kept(10), 0.2: kept(0)},
        "white_box": [kept(10), kept(9)],
        "square": kept(30),
        "noise": kept(80),
    }
    return Runs(**usual | changes)


def test_c10_is_content_with_a_strong_attack() -> None:
    check = judge_power(runs(), 10)
    assert check.verdict == "pass"
    assert not check.masking
    assert check.figures["eps 0.05"] == 30


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"radii": {0.1: kept(10), 0.2: kept(11.1), 0.4: kept(0)}}, "Accuracy does not fall"),
        ({"radii": {0.1: kept(20), 0.2: kept(13)}}, "Accuracy does not fall to chance"),
        ({"square": only([*range(87), *range(500, 1000)])}, "A random search finds"),
        ({"noise": kept(9.4)}, "Noise is stronger than PGD"),
    ],
)
def test_c10_names_what_is_wrong(changes: dict[str, Any], fault: str) -> None:
    check = judge_power(runs(**changes), 10)
    assert check.verdict == "fail"
    assert check.says.startswith(fault)
    assert check.masking


SLOW = {"2 x the steps": kept(9.4)}


def test_c10_warns_of_a_weak_attack_and_fails_where_that_is_not_all() -> None:
    weak, worse = judge_power(runs(harder=SLOW), 10), judge_power(runs(harder=SLOW, noise=kept(9.4)), 10)
    assert (weak.verdict, weak.masking, worse.verdict, worse.masking) == ("warn", False, "fail", True)
    assert weak.says.startswith("PGD has not converged, so quote a stronger attack (AutoAttack)")
    assert worse.says.startswith("PGD has not converged")
    assert "Noise is stronger than PGD" in worse.says


@pytest.mark.parametrize(
    "changes",
    [
        {"harder": {"2 x the steps": kept(9.5)}},
        {"radii": {0.1: kept(10), 0.2: kept(11), 0.4: kept(0)}},
        {"radii": {0.1: kept(20), 0.2: kept(11)}},  # within the interval of chance
        {"square": only([*range(88), *range(500, 1000)])},
        {"noise": kept(9.5)},
    ],
)
def test_c10_lets_small_things_pass(changes: dict[str, Any]) -> None:
    assert judge_power(runs(**changes), 10).verdict == "pass"


def test_c10_counts_what_square_finds_after_the_rest_of_autoattack() -> None:
    """PGD breaks all but the first 90 images; AutoAttack's gradients 80 of these, its Square five more."""
    place = np.arange(N)
    by_gradients, by_search = place >= 10, (place >= 5) & (place < 10)
    suite = Record.of_attack("m", kept(10).cell, {"apgd-t": by_gradients, "square": by_search})
    check = judge_power(runs(autoattack=suite), 10)
    assert check.verdict == "fail"
    assert check.figures["Square alone"] == 0.5
    overruled = runs(autoattack=suite, white_box=[only(range(6))])
    assert judge_power(overruled, 10).figures["Square alone"] == 0.1
    assert judge_power(runs(square=only([]), autoattack=suite), 10).figures["Square alone"] == 1


GOOD = Behaviour(same_logits=True, same_state=True, same_generator=True, batch_difference=1e-6, same_attack=True)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "pass"),
        ({"same_logits": False}, "fail"),
        ({"same_state": False}, "fail"),
        ({"same_generator": False}, "fail"),
        ({"batch_difference": 1.1e-2}, "fail"),
        ({"batch_difference": 1.1e-4}, "warn"),
        ({"batch_difference": 1e-4}, "pass"),
        ({"batch_difference": float("nan")}, "fail"),
        ({"same_attack": False}, "warn"),
    ],
)
def test_c11_wants_a_function(change: dict[str, Any], verdict: str) -> None:
    assert judge_state(replace(GOOD, **change)).verdict == verdict


@pytest.mark.parametrize(("clean", "verdict"), [(88.9, "warn"), (89.0, "pass")])
def test_c12_reads_clean_accuracy_off_the_attacks(clean: float, verdict: str) -> None:
    check = judge_cost(kept(10, 0.1, clean=90), kept(40, clean=clean))
    assert check.verdict == verdict
    assert check.figures["cost"] == pytest.approx(90 - clean)


def test_the_lowest_figure_is_of_the_same_network_and_no_larger_ball() -> None:
    wanted = kept(40).cell
    others = [
        kept(1, eps=0.2),
        kept(2, norm="l2"),
        kept(6, name="noise"),
        kept(3, 0.5),
        *(
            kept(4).model_copy(update={"cell": Cell.model_validate(wanted.model_dump() | change)})
            for change in ({"weights": "v"}, {"images": "j"}, {"defence": "blur"}, {"rule": "r"}, {"steps": 4})
        ),
        kept(5).model_copy(update={"cell": wanted.model_copy(update={"attack": None})}),
    ]
    same = [kept(40), kept(30, eps=0.05), kept(35, smooth=True), kept(33, made_at=1.0)]
    assert on_same_network([*others, *same], wanted) == same
    assert unbroken(same).sum() == 300


def audit_of(*checks: CheckResult, autoattack: float | None = 10.0, lowest: float = 10.0, images: int = N) -> Audit:
    return changed(an_audit(*checks, images=images), autoattack=autoattack, lowest=lowest)


@pytest.mark.parametrize(
    ("checks", "failed", "unreliable"),
    [
        ([judge_power(runs(), 10), judge_state(GOOD)], [], False),
        ([judge_state(replace(GOOD, same_state=False))], ["C11"], True),
        ([judge_power(runs(noise=kept(5)), 10)], ["C10"], True),
        ([judge_health([health(20)], {0.1}, kept(10), None)], ["C7"], True),
        ([judge_matched(kept(40), kept(10, made_at=1.0)), judge_power(runs(harder=SLOW), 10)], ["C1"], False),
    ],
)
def test_an_audit_is_unreliable_where_attacks_do_not_work(
    checks: list[CheckResult], failed: list[str], unreliable: bool
) -> None:
    """A transfer gap or slow convergence alone does not shake the white-box figure."""
    audit = audit_of(*checks)
    assert (audit.failed, audit.unreliable) == (failed, unreliable)


def test_an_audit_has_the_name_of_its_norm_and_says_where_it_was_quick() -> None:
    full = audit_of()
    assert full.name == "linf"
    assert full.model_copy(update={"budget": QUICK}).name == "linf-quick"


@pytest.mark.parametrize(
    ("facts", "unreliable"),
    [
        ({"autoattack": 9.7, "lowest": 9.7}, False),
        ({"autoattack": 9.7, "lowest": 9.5}, False),
        ({"autoattack": 9.7, "lowest": 9.4}, True),
        ({"autoattack": None}, True),
        ({"images": FEWEST - 1}, True),
        ({"images": FEWEST}, False),
    ],
)
def test_an_audit_is_unreliable_where_others_leave_less_without_autoattack_or_with_few_images(
    facts: dict[str, Any], unreliable: bool
) -> None:
    assert audit_of(**facts).unreliable is unreliable


def ids(audit: Audit, verdict: str) -> set[str]:
    return {check.id for check in audit.checks if check.verdict == verdict}


def with_lines(bench: Workbench) -> None:
    """Lines lambda(r) as Algorithm 1 might have found them."""
    for corruption in NOISES:
        points = [Point(0.1, r, 0.1 * r, 0.5) for r in (0.0, 10.0)]
        save_fit(bench.folder, fit_line(corruption, bench.model.weights, points))


def test_an_audit_rests_on_records(sdnet: Workbench, told: Any) -> None:
    with_lines(sdnet)
    audit = run_audit(sdnet, THREAT, TINY)
    check = {check.id: check for check in audit.checks}
    assert list(check) == [f"C{number}" for number in range(1, 14)]
    assert ids(audit, "not applicable") <= {"C9", "C13"}
    assert Audit.model_validate_json(audit.model_dump_json()) == audit

    setting = attack_setting(THREAT).model_copy(update={"crafted_at": audit.tuned_lambda})
    record = sdnet.store[sdnet.cell(sdnet.images("test", TINY.images), sdnet.inference(audit.tuned_lambda), setting)]
    assert audit.accuracies.pgd == pytest.approx(100 * record.accuracy, abs=1e-3)
    assert check["C1"].figures["matched"] == pytest.approx(100 * record.accuracy, abs=1e-3)
    assert audit.accuracies.lowest <= check["C2"].figures["union"] + 1e-3
    assert "the network resnet18-tiny" in check["C9"].figures

    told.images = 0
    again = run_audit(sdnet, THREAT, TINY)
    assert told.images == 0
    assert again.checks == audit.checks
    assert again.accuracies == audit.accuracies


def test_without_fits_an_audit_names_the_command(sdnet: Workbench) -> None:
    scope = Scope.open(sdnet, THREAT, TINY)
    for question, check in CHECKS:
        if question.needs == "fits":
            answer = ask(scope, question, check)
            assert answer.verdict == "not applicable"
            assert "sdnet-bench fit-lambda sdnet18-tiny --corruption all" in answer.says


def test_a_network_without_lambda_is_asked_what_applies(resnet: Workbench) -> None:
    audit = run_audit(resnet, THREAT, TINY)
    assert ids(audit, "not applicable") == {"C1", "C3", "C4", "C5", "C6", "C8", "C9", "C12", "C13"}
    assert (audit.tuned_lambda, audit.accuracies.transfer) == (None, None)
    assert "the network sdnet18-tiny" in next(check for check in audit.checks if check.id == "C9").figures


def test_c13_asks_for_the_company_of_adaptations_on_record(resnet: Workbench) -> None:
    images = resnet.images("test", TINY.images)
    for name in ("bn", "median"):  # a filter minds no company
        resnet.measure([resnet.cell(images, resnet.inference(adaptation=setting_of(name, 8)))], "adapted")
    check = ask(Scope.open(resnet, THREAT, TINY), STATISTICS, check_statistics)
    alone, mixed = (
        check.figures[f"bn:prior=0 {company}"] for company in ("in batches of 32", "among as many clean ones")
    )
    assert check.figures["spread"] == pytest.approx(abs(alone - mixed), abs=1e-3)
    assert "no defence" in check.says
    assert "median" not in check.says


@pytest.mark.parametrize(("mixed", "verdict"), [(40.0, "warn"), (30.0, "pass")])
def test_c13_warns_where_company_matters(mixed: float, verdict: str) -> None:
    assert judge_statistics({"bn": {"in batches": 30.0, "mixed": mixed}}, 1000).verdict == verdict


def test_autoattack_is_run_where_the_budget_allows_it_and_used_where_it_is_known(resnet: Workbench) -> None:
    wide = Scope(resnet, Threat("linf", 0.3), TINY.model_copy(update={"images": 8}))
    assert measure_accuracies(wide).autoattack is None
    full = replace(wide, budget=wide.budget.model_copy(update={"autoattack": True}))
    found = measure_accuracies(full)
    assert there(found.autoattack) <= found.clean
    assert found.lowest <= min(there(found.autoattack), found.pgd)
    assert found.attacks == 2
    assert measure_accuracies(wide) == found


def test_another_network_must_know_the_same_images(sdnet: Workbench) -> None:
    with pytest.raises(UsageError, match="expected a network of digits, got cifar10"):
        Scope.open(sdnet, THREAT, TINY, others=["resnet18-cifar10-small"])
    with pytest.raises(UsageError, match="sdnet18-tiny is the network under audit"):
        Scope.open(sdnet, THREAT, TINY, others=["sdnet18-tiny"])


def test_other_networks_are_all_lent_and_namesakes_told_apart(sdnet: Workbench, resnet: Workbench) -> None:
    other_seed = sdnet.folder.parent / "seed1" / "sdnet18-tiny"
    net = deepcopy(sdnet.model.net)
    with torch.no_grad():
        next(net.parameters()).mul_(0.5)
    recipe = Recipe.read(sdnet.model.folder / "recipe.toml")
    weights = write_model(other_seed, recipe, sdnet.model.config, net).weights
    scope = Scope.open(resnet, THREAT, TINY, others=["sdnet18-tiny", str(other_seed), "sdnet18-tiny"])
    assert scope.others == {
        f"sdnet18-tiny ({sdnet.model.weights[:8]})": sdnet.model.weights,
        f"sdnet18-tiny ({weights[:8]})": weights,
    }
    assert set(resnet.others) == {sdnet.model.weights, weights}
    check = check_placebos(scope)
    assert all(f"the network {name}" in check.figures for name in scope.others)
    assert check.says.endswith(f"Other networks that scored them: {', '.join(scope.others)}.")


def test_a_surrogate_is_scored_at_the_tuned_lambda_and_leaves_the_network_as_it_was(sdnet: Workbench) -> None:
    scope = replace(Scope(sdnet, THREAT, TINY), tuned=0.5)
    (clean,) = sdnet.measure([sdnet.cell(sdnet.images("test", TINY.images), sdnet.inference(0.5))], "clean")
    assert accuracy_of_surrogate(scope, scope.pgd) == pytest.approx(100 * clean.accuracy)
    blind = replace(scope, tuned=1e6)
    assert accuracy_of_surrogate(blind, scope.pgd) < 50
    assert sdnet.trained_lambda == 0.1
    figures = check_surrogates(scope).figures
    for name, change in {"8 FISTA iterations": {"inference_steps": 8}, "a smooth threshold": {"smooth": True}}.items():
        found = accuracy_of_surrogate(scope, scope.pgd.model_copy(update=change))
        assert figures[f"{name}, clean"] == pytest.approx(found, abs=1e-3)


class Front(nn.Module):
    """A network with something in front of it, or behind it."""

    def __init__(
        self,
        net: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.net(self.before(images)))


def broken(bench: Workbench, net: nn.Module) -> Scope:
    """The bench with another network on it, which has records of its own."""
    bench.model = replace(bench.model, net=net.eval(), weights=f"broken {random.random()}")
    return Scope(bench, THREAT, TINY)


def quantised(bench: Workbench) -> Scope:
    return broken(bench, Front(bench.model.net, before=lambda images: (images * 8).round() / 8))


def test_saturated_logits_are_found_out(resnet: Workbench) -> None:
    scope = broken(resnet, Front(resnet.model.net, after=lambda logits: 1e6 * logits))
    check = check_health(scope)
    assert check.verdict == "fail"
    assert check.figures["zero gradients"] > 50
    assert check.figures["logit scale"] > 1e5


def test_a_quantised_front_end_is_found_out(resnet: Workbench) -> None:
    check = check_health(quantised(resnet))
    assert check.verdict == "fail"
    assert check.figures["zero gradients"] == 100
    assert "100.0 % of the images" in check.says


def test_masked_gradients_do_not_look_strong(resnet: Workbench) -> None:
    """PGD without a gradient stays where it started, and a wide ball holds images that noise does not find."""
    from sdnet_bench.audit.power import check_power

    scope = replace(quantised(resnet), budget=TINY.model_copy(update={"images": 16, "apgd_steps": 2, "queries": 30}))
    check = check_power(scope)
    assert check.verdict == "fail"
    assert check.masking


def test_an_honest_network_has_gradients(sdnet: Workbench) -> None:
    found = probe(sdnet, Scope(sdnet, THREAT, TINY).images, 0.1)
    assert found.zero_gradients == 0
    assert 0 < there(found.zero_codes) < 100
    wide = probe(sdnet, Scope(sdnet, THREAT, TINY).images, 1e6)
    assert (wide.zero_gradients, wide.zero_codes) == (100, 100)


class Stateful(nn.Module):
    """Counts its forwards, and lets nobody see it in the logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.net(images)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda net: Front(net, lambda images: images + 0.01 * torch.randn_like(images)), "other logits"),
        (lambda net: Front(net, lambda images: images + 0.01 * torch.randn_like(images)), "draws random numbers"),
        (Stateful, "A forward changes weights or buffers."),
        (lambda net: Front(net, after=lambda logits: logits - logits.mean(0)), "rest of the batch"),
    ],
)
def test_a_forward_that_is_no_function_of_its_image_is_found_out(
    resnet: Workbench, wrap: Callable[[nn.Module], nn.Module], said: str
) -> None:
    check = check_state(broken(resnet, wrap(resnet.model.net)))
    assert check.verdict == "fail"
    assert said in check.says


def test_an_honest_network_is_a_function_and_keeps_its_lambda(sdnet: Workbench) -> None:
    scope = replace(Scope(sdnet, THREAT, TINY), tuned=0.7)
    assert check_state(scope).verdict == "pass"
    assert sdnet.trained_lambda == 0.1


def test_the_union_is_of_the_tuned_lambda(sdnet: Workbench) -> None:
    scope = replace(Scope(sdnet, THREAT, TINY), grid=(0.1, 0.5), tuned=0.5)
    check = check_union(scope)
    attacked = [record for record in sdnet.store if record.cell.attack and record.inference.lambda_ == 0.5]
    assert check.figures["union"] == pytest.approx(100 * unbroken(attacked).mean(), abs=1e-3)
    names = {record.cell.attack.name for record in attacked if record.cell.attack}
    assert names == {"pgd", "apgd-ce", "apgd-dlr", "square"}
