"""Numbers from records: intervals against known ones, and the right record for every question."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from found import there

from sdnet_bench.config import Backbone, ModelConfig
from sdnet_bench.data import SEVERITIES
from sdnet_bench.errors import BenchError, UnknownNameError
from sdnet_bench.paper.results import Results, find_results
from sdnet_bench.paper.tables import build_tables
from sdnet_bench.records import NOISES, REVISION, AttackSetting, Cell, Images, Inference, Record, RecordStore, Threat
from sdnet_bench.records.lambda_fit import LambdaFit, Point, fit_line, pool, save_fit
from sdnet_bench.records.record import wilson
from sdnet_bench.records.statistics import Value, mcnemar, percent, share, sign_p, standing

EPS = 8 / 255
LINF = Threat("linf", EPS)
Fits = Sequence[LambdaFit]


def record(right: int, of: int = 100, **cell: Any) -> Record:
    """`right` of `of` images are classified correctly; by default clean test images at lambda 0.1."""
    content = {"weights": "w", "dataset": "digits", "split": "test", "images": "i", "lambda_": 0.1} | cell
    return Record.of("mine", Cell.model_validate(content), np.arange(of) < right)


def training(lambda_: float | None = 0.1) -> Record:
    cell = Cell(
        kind="training",
        weights="w",
        images=Images(dataset="digits", split="train", digest="t"),
        inference=Inference(lambda_=lambda_),
    )
    metrics = {"parameters": 11_173_962, "peak_memory": 2e9, "images_per_second": 750.0}
    return Record(model="mine", cell=cell, n=1237, metrics=metrics)


def attacked(right: int, made_at: float | None, scored_at: float | None, of: int = 100, **rest: Any) -> Record:
    """PGD at 8/255; `rest` goes to the attack where it has such a field, else to the cell."""
    attack: dict[str, Any] = {"norm": "linf", "eps": EPS, "step_size": 0.01, "steps": 10}
    attack |= {"crafted_at": made_at, "revision": REVISION}
    attack |= {name: rest.pop(name) for name in list(rest) if name in AttackSetting.model_fields}
    return record(right, of, lambda_=scored_at, attack=AttackSetting(**attack), **rest)


def results(*records: Record, backbone: str = "sdnet18", lambda_: float | None = 0.1, fits: Fits = ()) -> Results:
    config = ModelConfig(backbone=Backbone(name=backbone), num_classes=10, dataset="digits", weights_sha256="w")
    return Results("mine", config, (training(lambda_), *records), {fit.name: fit for fit in fits})


def line(corruption: str = "gaussian", slope: float = 0.5, **rest: Any) -> LambdaFit:
    """A fit of two points."""
    points = [Point(0.1, r, slope * r, 0.5) for r in (1.0, 2.0)]
    return fit_line(corruption, "w", points, **rest)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 25.5, 36.6), (0, 20, 0.0, 16.1), (1, 29, 0.6, 17.2), (50, 100, 40.4, 59.6), (100, 100, 96.3, 100)],
)
def test_intervals_are_those_of_wilson(right: int, n: int, low: float, high: float) -> None:
    """The first and the last but two are Newcombe's (1998) examples."""
    value = there(percent([record(right, n)]))
    assert value[:4] == pytest.approx((100 * right / n, low, high, n), abs=0.06)


def test_a_mean_counts_each_image_once() -> None:
    """Five severities of one set of images: the mean of the accuracies, on as many images as there are."""
    mean, plain = there(percent([record(right) for right in (90, 80, 70, 60, 50)])), there(percent([record(70)]))
    assert mean[:4] == plain[:4]
    assert [len(value.records) for value in (mean, plain)] == [5, 1]


@pytest.mark.parametrize("right", [(7, 7, 7, 7, 5), (10, 10, 10, 10, 9), (0, 0, 0, 0, 1)])
def test_the_interval_of_a_mean_is_that_of_the_mean_itself(right: tuple[int, ...]) -> None:
    """Wilson's bounds are the shares from which the mean is as far as chance takes it; no image is rounded away."""
    value = there(percent([record(each, 10) for each in right]))
    mean, n = sum(right) / 50, 10
    for bound in (there(value.low) / 100, there(value.high) / 100):
        assert abs(mean - bound) == pytest.approx(1.959963984540054 * math.sqrt(bound * (1 - bound) / n))


def test_a_mean_of_what_is_missing_is_missing() -> None:
    assert percent([record(1), None]) is None
    assert percent([]) is None


@pytest.mark.parametrize("lambda_", [0.3, None])
def test_lambda_0_is_that_of_training(lambda_: float | None) -> None:
    assert results(lambda_=lambda_).trained_lambda == lambda_


def test_clean_accuracy_is_that_at_lambda_0() -> None:
    found = there(results(record(60, lambda_=0.5), record(90), record(10, corruption="shot", severity=1)).clean())
    assert found.value == 90


def test_more_images_count_more_than_later_ones() -> None:
    found = there(results(record(90, 100), record(8, 10, limit=10)).clean())
    assert (found.value, found.n) == (90, 100)


def test_training_images_and_attacked_images_are_no_clean_test_images() -> None:
    others = record(1, 500, split="train"), record(2, 500, split="validation"), attacked(3, 0.1, 0.1)
    found = there(results(record(90), *others).clean())
    assert found.value == 90


def noisy(right: int, severity: int, lambda_: float = 0.1, rule: str | None = None, name: str = "gaussian") -> Record:
    return record(right, corruption=name, severity=severity, level=0.1 * severity, lambda_=lambda_, rule=rule)


def test_corrupted_accuracy_at_lambda_0_and_at_the_chosen_lambda() -> None:
    fit = line()
    mine = results(
        noisy(50, 2), noisy(60, 2, lambda_=0.4), noisy(70, 2, lambda_=0.6, rule=fit.rule), noisy(9, 3), fits=[fit]
    )
    fixed, chosen = there(mine.given("gaussian", 2)), there(mine.adaptive("gaussian", 2))
    assert (fixed.accuracy, chosen.accuracy, chosen.inference.lambda_) == (0.5, 0.7, 0.6)
    assert mine.chosen(fit.rule, "gaussian", 2) == chosen
    assert mine.given("shot", 2) is None
    assert mine.adaptive("shot", 2) is None


def test_algorithm_1_may_choose_lambda_0() -> None:
    mine = results(noisy(70, 2, rule=line().rule), fits=[line()])
    assert mine.given("gaussian", 2) is None
    assert mine.adaptive("gaussian", 2) is not None


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_fits_the_one_that_is_kept_counts(order: int) -> None:
    old, kept = line(slope=0.4), line()
    records = [noisy(60, 2, 0.5, kept.rule), noisy(70, 2, 0.6, old.rule)]
    found = there(results(*records[::order], fits=[kept]).adaptive("gaussian", 2))
    assert found.inference.rule == kept.rule


def test_numbers_of_more_iterations_are_kept_apart() -> None:
    two, four = line(), line(slope=0.4, steps=4)
    more = record(80, corruption="gaussian", severity=2, level=0.2, lambda_=0.6, rule=four.rule, steps=4)
    mine = results(noisy(70, 2, 0.6, two.rule), more, record(90), record(95, steps=4), fits=[two, four])
    assert [mine.adaptive("gaussian", 2, steps).accuracy for steps in (None, 4)] == [0.7, 0.8]  # type: ignore[union-attr]
    assert [mine.clean(steps).value for steps in (None, 4)] == [90, 95]  # type: ignore[union-attr]
    assert mine.adaptive("gaussian", 2, 8) is None
    assert mine.clean(8) is None


def test_a_mean_over_severities_needs_all_five() -> None:
    four = [noisy(right, severity) for severity, right in enumerate((90, 80, 70, 60), start=1)]
    assert results(*four).mean("gaussian") is None
    found = there(results(*four, noisy(50, 5)).mean("gaussian"))
    assert found.value == pytest.approx(70)


def test_robustness_is_found_under_the_papers_threats() -> None:
    mine = results(attacked(33, 0.1, 0.1), attacked(44, 0.1, 0.1, eps=0.5))
    assert list(mine.robustness) == [LINF]
    found = there(mine.robustness[LINF].value("transfer", "trained"))
    assert found.value == 33


def test_robust_inference_is_by_the_pooled_line() -> None:
    fits = [line(name, slope) for name, slope in zip(NOISY, (0.1, 0.2, 0.3, 0.4), strict=True)]
    by_rule = attacked(21, 0.1, None, rule=pool(fits).per_image_rule)
    for known, value in ((fits, 21), (fits[:3], None)):
        (robustness,) = results(attacked(33, 0.1, 0.1), by_rule, fits=known).robustness.values()
        found = robustness.value("transfer", "adaptive")
        assert (found and found.value) == value


def test_what_older_attacks_measured_is_not_read(runs: Path) -> None:
    """A stronger attack on more images, by the code of an earlier revision."""
    folder = runs / "sdnet18-tiny"
    weights, store = ModelConfig.read(folder).weights_sha256, RecordStore(folder)
    stale = attacked(5, 0.1, 0.1, of=500, weights=weights, steps=50, revision=REVISION - 1)
    for each in (attacked(33, 0.1, 0.1, weights=weights), stale):
        store.append(each)
    mine = Results.read(folder, runs)
    assert stale not in mine.records
    found = there(mine.robustness[LINF].value("transfer", "trained"))
    assert (found.value, found.n) == (33, 100)


NOISY = ("gaussian", "shot", "speckle", "impulse")


def test_noise_of_unknown_type_has_the_pooled_line_of_all_four() -> None:
    fits = [line(name, slope) for name, slope in zip(NOISY, (0.1, 0.2, 0.3, 0.4), strict=True)]
    assert results(fits=fits).pooled == pool(fits)
    assert results(fits=fits[:3]).pooled is None


def test_results_read_the_fits_of_the_run(runs: Path) -> None:
    folder = runs / "sdnet18-tiny"
    weights = ModelConfig.read(folder).weights_sha256
    fits = [line().model_copy(update={"weights": weights, "steps": steps}) for steps in (None, 4)]
    for fit in fits:
        save_fit(folder, fit)
    mine = Results.read(folder, runs)
    assert [mine.fit("gaussian"), mine.fit("gaussian", 4), mine.fit("shot")] == [*fits, None]


def test_errors_need_every_corruption() -> None:
    mine = results(*(noisy(right, severity) for severity, right in enumerate((90, 80, 70, 60, 50), start=1)))
    error, accuracy = there(mine.error(["gaussian"])), there(mine.mean("gaussian"))
    assert error[:4] == pytest.approx((30, 100 - accuracy.high, 100 - accuracy.low, 100))
    assert mine.error(["gaussian", "fog"]) is None


def value(*bits: str, **cell: Any) -> Value:
    """The mean over severities 1, 2, ... of images that are classified correctly where a bit is 1."""
    content = {"weights": "w", "dataset": "digits", "split": "test", "images": "i", "corruption": "shot"}
    records = [
        Record.of("mine", Cell.model_validate(content | {"severity": severity} | cell), np.array(list(each)) == "1")
        for severity, each in enumerate(bits, start=1)
    ]
    return there(percent(records))


def by_enumeration(signs: list[int]) -> float:
    """p of the exact sign test: the share of all assignments of signs that are as lopsided as this one, or more."""
    pairs = [sign for sign in signs if sign]
    sums = [abs(sum(each)) for each in product((-1, 1), repeat=len(pairs))]
    return sum(each >= abs(sum(pairs)) for each in sums) / len(sums)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1111111100", "0000000011"), ("1110000000", "0000000000"), ("1010101010", "0110010111"), ("1" * 10, "0" * 10)],
)
def test_p_is_that_of_an_exact_test_on_the_images_that_disagree(one: str, other: str) -> None:
    expected = by_enumeration([int(first) - int(second) for first, second in zip(one, other, strict=True)])
    assert mcnemar(value(one), value(other)) == pytest.approx(expected)
    assert mcnemar(value(other), value(one)) == pytest.approx(expected)


def test_intervals_and_p_are_those_of_scipy() -> None:
    from scipy.stats import binomtest

    rng = np.random.default_rng(0)
    large = [(int(rng.binomial(n, rng.uniform(0.4, 0.6))), n) for n in map(int, rng.integers(60, 10_000, 500))]
    small = [(hits, n) for n in range(1, 40) for hits in range(n + 1)]
    for hits, n in small + large:
        known = binomtest(hits, n)
        assert sign_p(hits, n - hits) == pytest.approx(known.pvalue, rel=1e-12)
        low, high = known.proportion_ci(0.95, method="wilson")
        assert wilson(hits, n) == pytest.approx((100 * low, 100 * high), rel=1e-12)


def test_equal_outcomes_are_no_difference() -> None:
    assert mcnemar(value("1100"), value("1100")) == 1


def test_p_of_a_mean_over_severities_asks_each_image_once() -> None:
    """Seven images speak for the first, one for the second, two for neither."""
    one, other = value("1111111010", "1111111001"), value("1000000110", "0000000101")
    signs = [1] * 7 + [-1, 0, 0]
    assert mcnemar(one, other) == pytest.approx(by_enumeration(signs))


@pytest.mark.parametrize(
    "change", [{"images": "j"}, {"seed": 1}, {"corruption": "gaussian"}, {"severity": 5}, {"level": 0.3}], ids=str
)
def test_other_pixels_have_no_p(change: dict[str, Any]) -> None:
    assert mcnemar(value("1100"), value("1110", **change)) is None


def test_numbers_without_images_have_no_p() -> None:
    assert mcnemar(Value(11.2), Value(11.2)) is None


def test_what_stands_stands_in_every_record() -> None:
    """Each image on its own: no record is as bad as all of them."""
    found = there(standing([*value("110100").records, *value("011100").records]))
    assert found[:4] == value("010100")[:4]
    assert found.hits == (0, 1, 0, 1, 0, 0)
    assert standing([]) is None


def test_p_of_what_stands_in_several_records_is_that_of_its_images() -> None:
    one, several = value("1111111100"), standing([*value("1111100000").records, *value("0111111100").records])
    assert several is not None
    assert mcnemar(one, several) == mcnemar(one, value("0111100000"))
    assert mcnemar(several, value("1100", images="j")) is None


def test_a_share_has_the_interval_of_its_images() -> None:
    outcomes = np.arange(263) < 81
    found = share(outcomes, [record(200, 263)])
    assert found[:4] == pytest.approx((100 * 81 / 263, 25.5, 36.6, 263), abs=0.06)


@pytest.mark.parametrize("change", [{"images": "j"}, {"seed": 1}, {"precision": "bfloat16"}, {"rule": "x"}], ids=str)
def test_a_mean_over_records_of_different_conditions_is_missing(change: dict[str, Any]) -> None:
    assert percent([record(90), record(80)]) is not None
    assert percent([record(90), record(80, **change)]) is None


def test_results_read_what_the_run_has_added(trained_runs: Path) -> None:
    mine = Results.read(trained_runs / "sdnet18-tiny", trained_runs)
    assert mine.name == "sdnet18-tiny"
    assert mine.trained_lambda == 0.1
    parameters = there(mine.training("parameters"))
    assert parameters.value == 44_622
    assert mine.clean() is not None


def test_records_of_other_weights_are_left_out(runs: Path) -> None:
    records = runs / "sdnet18-tiny" / "records.jsonl"
    records.write_bytes((runs / "resnet18-tiny" / "records.jsonl").read_bytes())
    assert Results.read(runs / "sdnet18-tiny", runs).records == ()


def test_without_a_name_all_runs_are_reported(trained_runs: Path) -> None:
    assert [found.name for found in find_results([], trained_runs, [])] == ["resnet18-tiny", "sdnet18-tiny"]
    assert [found.name for found in find_results(["sdnet18-tiny"], trained_runs, [])] == ["sdnet18-tiny"]


def test_a_misspelt_model_is_answered_with_the_nearest(trained_runs: Path) -> None:
    left_out: list[BenchError] = []
    assert find_results(["sdnet18-tinny"], trained_runs, left_out) == []
    assert isinstance(left_out[0], UnknownNameError)
    assert "Did you mean 'sdnet18-tiny'" in str(left_out[0])


def test_a_mean_takes_the_widest_set_of_images_that_all_were_measured_on() -> None:
    """Severity 2 of fog was measured on 100 images alone, gaussian on 1,000 too."""
    fog = [record(60, 100, corruption="fog", severity=s, level=0.1) for s in SEVERITIES]
    few = [record(50, 100, corruption="gaussian", severity=s, level=0.1) for s in SEVERITIES]
    many = [record(900, 1000, corruption="gaussian", severity=s, level=0.1, images="more") for s in SEVERITIES]
    mine = results(*few, *fog, *many)
    mean, error = there(mine.mean("gaussian")), there(mine.error(["gaussian", "fog"]))
    assert (mean.value, mean.n) == (90, 1000)
    assert (error.value, error.n) == (pytest.approx(45), 100)


def test_a_sweep_of_the_stem_is_no_sweep_of_all_layers() -> None:
    """At lambda_0 they share a cell."""
    noise: dict[str, Any] = {"corruption": "gaussian", "severity": 3, "level": 0.1}
    home = record(50, **noise)
    everywhere, stem = record(20, lambda_=0.3, **noise), record(60, lambda_=0.3, layers="stem", **noise)
    found = results(home, everywhere, stem, backbone="sdnet18_all")
    assert [curve.points for curve in found.sweep("gaussian")] == [[(0.1, 50.0), (0.3, 20.0)]]
    assert [curve.points for curve in found.sweep("gaussian", "stem")] == [[(0.1, 50.0), (0.3, 60.0)]]
    assert results(home, everywhere).sweep("gaussian", "stem") == []


def test_one_broken_run_does_not_keep_the_others_from_a_report(runs: Path) -> None:
    (runs / "resnet18-tiny" / "config.json").write_text("{", encoding="utf-8")
    left_out: list[BenchError] = []
    assert [found.name for found in find_results([], runs, left_out)] == ["sdnet18-tiny"]
    names = ["x" * 300, "sdnet18-tiny", "resnet18-tiny"]
    assert [found.name for found in find_results(names, runs, left_out)] == ["sdnet18-tiny"]
    broken = f"cannot read {runs / 'resnet18-tiny' / 'config.json'}: "
    assert [str(error).startswith(broken) for error in left_out] == [True, False, True]
    assert "x" * 300 in str(left_out[1])


def test_a_report_is_of_the_runs_and_not_of_folders_of_their_names(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs.parent / "sdnet18-tiny").mkdir()
    (runs.parent / "sdnet18-tiny" / "config.json").write_text("{", encoding="utf-8")
    monkeypatch.chdir(runs.parent)
    assert [found.name for found in find_results([], runs, [])] == ["resnet18-tiny", "sdnet18-tiny"]


def test_a_line_that_a_crash_left_incomplete_is_told(runs: Path, told: Any) -> None:
    path = runs / "sdnet18-tiny" / RecordStore.FILE
    before = len(RecordStore(path.parent))
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    (found,) = find_results(["sdnet18-tiny"], runs, [], told)
    assert len(found.records) == before
    assert any(f"{path} is incomplete, as a crash leaves it: its 100 bytes are not read" in note for note in told.notes)


def test_a_training_without_metrics_has_no_numbers() -> None:
    bare = replace(results(), records=(training().model_copy(update={"metrics": {}}),))
    assert (bare.training("parameters"), bare.trained_lambda) == (None, 0.1)


def test_tables_of_five_thousand_records_take_seconds() -> None:
    """A pass over all records for every question would take about ten times as long."""
    places = [*product(NOISES, SEVERITIES)]
    records = [
        record(70, corruption=noise, severity=severity, level=0.1, lambda_=number / 1000)
        for number in range(5000 // len(places))
        for noise, severity in places
    ]
    started = time.process_time()
    tables = build_tables([results(*records)])
    assert time.process_time() - started < 3
    assert any(entry.ours for table in tables for entry in table.entries)
