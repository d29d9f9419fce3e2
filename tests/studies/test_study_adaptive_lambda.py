"""Algorithm 1: training images only, the argmax, the line of least squares, and lambda from the residual."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdnet_bench.data import CORRUPTIONS
from sdnet_bench.errors import ModelError, UnknownNameError, UsageError
from sdnet_bench.records import Cell, Record
from sdnet_bench.studies.adaptive_lambda import (
    FILE,
    LambdaFit,
    Point,
    fit_lambda,
    fit_line,
    load_fits,
    measure_adaptive,
    points,
    require_fits,
)
from sdnet_bench.studies.workbench import Workbench

Open = Callable[[str], Workbench]
GRID = [0.1, 0.5, 1.0]
LIMIT = 40


def record(level: float, lambda_: float, right: int, residual: float) -> Record:
    """Ten training images, `right` of them classified correctly."""
    cell = Cell(
        weights="w", dataset="d", split="train", images="i", lambda_=lambda_, corruption="gaussian", level=level
    )
    return Record.of("m", cell, np.arange(10) < right, metrics={"residual": residual})


def at(residual: float, lambda_: float) -> Point:
    return Point(0.1, residual, lambda_, 0.5)


def test_a_point_has_the_residual_at_lambda_0_and_the_best_lambda() -> None:
    records = [record(0.04, 0.1, 5, 3.0), record(0.04, 0.2, 8, 4.0), record(0.04, 0.3, 7, 5.0)]
    records += [record(0.08, 0.1, 2, 6.0), record(0.08, 0.2, 3, 7.0), record(0.08, 0.3, 4, 8.0)]
    assert points(records, lambda_0=0.1) == [Point(0.04, 3.0, 0.2, 0.8), Point(0.08, 6.0, 0.3, 0.4)]
    assert [point.residual for point in points(records, lambda_0=0.2)] == [4.0, 7.0]


def test_of_equally_good_lambdas_the_smallest_is_taken() -> None:
    records = [record(0.04, 0.1, 5, 3.0), record(0.04, 0.3, 8, 5.0), record(0.04, 0.2, 8, 4.0)]
    assert points(records, lambda_0=0.1)[0].lambda_ == 0.2


def test_a_line_through_points_on_a_line_is_that_line() -> None:
    fit = fit_line("gaussian", "w", [at(r, 0.25 * r - 0.5) for r in (3.0, 5.0, 4.0)])
    assert (fit.slope, fit.intercept, fit.r_squared) == pytest.approx((0.25, -0.5, 1.0))


def test_the_line_is_that_of_least_squares() -> None:
    """By the normal equations: slope = cov(r, lambda) / var(r)."""
    residuals, lambdas = np.array([1.0, 2.0, 4.0, 7.0]), np.array([0.1, 0.5, 0.4, 1.2])
    fit = fit_line("gaussian", "w", [at(r, wanted) for r, wanted in zip(residuals, lambdas, strict=True)])
    slope = ((residuals - 3.5) * (lambdas - 0.55)).sum() / ((residuals - 3.5) ** 2).sum()
    assert fit.slope == pytest.approx(slope)
    assert fit.intercept == pytest.approx(0.55 - slope * 3.5)
    assert fit.r_squared == pytest.approx(np.corrcoef(residuals, lambdas)[0, 1] ** 2)


@given(st.lists(st.floats(0, 2), min_size=4, max_size=4))
def test_no_other_line_is_closer(lambdas: list[float]) -> None:
    residuals = [1.0, 2.0, 4.0, 7.0]
    fit = fit_line("gaussian", "w", [at(r, wanted) for r, wanted in zip(residuals, lambdas, strict=True)])

    def missed(slope: float, intercept: float) -> float:
        return sum((wanted - slope * r - intercept) ** 2 for r, wanted in zip(residuals, lambdas, strict=True))

    best = missed(fit.slope, fit.intercept)
    for change in (-0.01, 0.01):
        assert best <= missed(fit.slope + change, fit.intercept) + 1e-12
        assert best <= missed(fit.slope, fit.intercept + change) + 1e-12


def test_a_level_line_fits_points_of_one_lambda() -> None:
    fit = fit_line("gaussian", "w", [at(1.0, 0.3), at(2.0, 0.3), at(3.0, 0.3)])
    assert (fit.slope, fit.intercept) == pytest.approx((0, 0.3), abs=1e-12)
    assert fit(17.0) == 0.3


def test_lambda_is_on_the_line_and_never_negative() -> None:
    fit = LambdaFit(corruption="shot", weights="w", slope=0.5, intercept=-1.0, r_squared=1, points=())
    assert fit(3.0) == 0.5
    assert fit(1.0) == 0.0


@pytest.mark.parametrize("change", [{"slope": 0.6}, {"intercept": -1.1}, {"weights": "v"}, {"corruption": "gaussian"}])
def test_each_fit_is_a_rule_of_its_own(change: dict[str, Any]) -> None:
    fit = LambdaFit(corruption="shot", weights="w", slope=0.5, intercept=-1.0, r_squared=1, points=())
    assert fit.model_copy(update=change).rule != fit.rule


def test_algorithm_1_looks_at_training_images_only(sdnet: Workbench) -> None:
    before = list(sdnet.store)
    fit_lambda(sdnet, "gaussian", GRID, limit=LIMIT)
    made = [record for record in sdnet.store if record not in before]
    assert made
    assert {record.cell.split for record in made} == {"train"}
    assert {record.cell.images for record in made} == {sdnet.split("train", LIMIT).digest}


def test_algorithm_1_goes_over_all_levels_and_all_lambdas(sdnet: Workbench, told: Any) -> None:
    levels = CORRUPTIONS["gaussian"].fit_levels["imagenet"]
    fit = fit_lambda(sdnet, "gaussian", [0.5, 1.0], limit=LIMIT)
    assert told.images == len(levels) * 3 * LIMIT  # lambda_0 is always of the party
    assert tuple(point.level for point in fit.points) == levels
    assert {point.lambda_ for point in fit.points} <= {0.1, 0.5, 1.0}


def test_a_fit_is_a_function_of_the_records(sdnet: Workbench) -> None:
    fit = fit_lambda(sdnet, "gaussian", GRID, limit=LIMIT)
    records = [record for record in sdnet.store if record.cell.split == "train" and record.cell.kind == "accuracy"]
    for point in fit.points:
        here = {record.cell.lambda_: record for record in records if record.cell.level == point.level}
        assert point.residual == here[0.1].metrics["residual"]
        assert point.accuracy == max(record.accuracy for record in here.values())
        assert here[point.lambda_].accuracy == point.accuracy
    slope, intercept = np.polyfit([p.residual for p in fit.points], [p.lambda_ for p in fit.points], 1)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept))


def test_residuals_grow_with_the_noise(sdnet: Workbench) -> None:
    found = [point.residual for point in fit_lambda(sdnet, "gaussian", GRID, limit=LIMIT).points]
    assert found == sorted(found)


def test_fits_are_kept_beside_the_records_and_read_back(open_bench: Open, told: Any) -> None:
    bench = open_bench("sdnet18-tiny")
    fits = {name: fit_lambda(bench, name, GRID, limit=LIMIT) for name in ("gaussian", "shot")}
    again = open_bench("sdnet18-tiny")
    assert load_fits(again) == fits
    assert require_fits(again, ["shot"]) == [fits["shot"]]
    told.images = 0
    assert fit_lambda(again, "shot", GRID, limit=LIMIT) == fits["shot"]
    assert told.images == 0


def test_each_test_set_is_classified_with_the_lambda_of_its_own_residual(sdnet: Workbench) -> None:
    fit = fit_lambda(sdnet, "gaussian", GRID, limit=LIMIT)
    records = measure_adaptive(sdnet, [fit], limit=60)
    assert [record.cell.severity for record in records] == [1, 2, 3, 4, 5]
    for record in records:
        given = record.cell.model_copy(update={"lambda_": 0.1, "rule": None})
        assert sdnet.store[given].cell.split == "test"
        assert record.cell.lambda_ == fit(sdnet.store[given].metrics["residual"])
        assert record.cell.rule == fit.rule


def test_an_adaptive_record_is_that_of_its_lambda(sdnet: Workbench) -> None:
    """The rule is in the key, and changes nothing of the outcome."""
    (record,) = measure_adaptive(sdnet, [fit_lambda(sdnet, "shot", GRID, limit=LIMIT)], [5], limit=60)
    (plain,) = sdnet.measure([record.cell.model_copy(update={"rule": None})], "by hand")
    assert plain.correct.tolist() == record.correct.tolist()


def test_a_fit_of_other_weights_is_refused(open_bench: Open) -> None:
    bench = open_bench("sdnet18-tiny")
    fit = fit_lambda(bench, "gaussian", GRID, limit=LIMIT)
    foreign = fit.model_copy(update={"weights": "0" * 64})
    (bench.folder / FILE).write_text(json.dumps({"gaussian": foreign.model_dump()}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"belongs to another model\. Fit anew with `sdnet-bench fit-lambda sdnet18-"):
        load_fits(bench)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"gaussian": 3}', '{"gaussian": {"slope": 1}}'])
def test_a_damaged_fit_is_one_line(sdnet: Workbench, content: str) -> None:
    (sdnet.folder / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"cannot read .*{FILE}") as caught:
        load_fits(sdnet)
    assert "\n" not in str(caught.value)


def test_a_missing_fit_is_answered_with_the_command_that_makes_it(sdnet: Workbench) -> None:
    command = "Fit it with `sdnet-bench fit-lambda sdnet18-tiny --corruption shot`"
    with pytest.raises(ModelError, match=f"no fit of lambda for shot noise on sdnet18-tiny. {command}"):
        require_fits(sdnet, ["shot"])


def test_an_unknown_corruption_has_no_fit(sdnet: Workbench) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gaussian'"):
        fit_lambda(sdnet, "gausian")


@pytest.mark.parametrize("act", [fit_lambda, lambda bench, name: require_fits(bench, [name])])
def test_a_network_without_csc_layers_has_no_fit(resnet: Workbench, act: Any) -> None:
    with pytest.raises(UsageError, match="no CSC-layer"):
        act(resnet, "gaussian")
