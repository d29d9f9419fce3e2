"""Algorithm 1: training images only, lambda from the residual, for a test set or for each image of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from found import there

from sdnet_bench.data import CORRUPTIONS, stream_of
from sdnet_bench.engine.evaluate import evaluate
from sdnet_bench.errors import ModelError, UnknownNameError, UsageError
from sdnet_bench.records import MIXED, NOISES, UNKNOWN, Record
from sdnet_bench.records.lambda_fit import LambdaFit, Point, fit_line, pool, read_fits, save_fit
from sdnet_bench.studies.accuracy import corrupted_images, measure_corrupted
from sdnet_bench.studies.algorithm1 import (
    PerImage,
    PerImageOfType,
    choose_and_measure,
    fit_lambda,
    level_cells,
    measure_adaptive,
    measure_known_types,
    require_fits,
)
from sdnet_bench.studies.workbench import Workbench

Open = Callable[[str], Workbench]
GRID = [0.1, 0.5, 1.0]
LIMIT = 40


def made_up(bench: Workbench, corruption: str = "gaussian", slope: float = 0.1, **rest: Any) -> LambdaFit:
    """A line that reaches over all residuals of the small network."""
    points = [Point(0.1, r, slope * r, 0.5) for r in (0.0, 100.0)]
    return fit_line(corruption, bench.model.weights, points, **rest)


def test_algorithm_1_looks_at_training_images_only(sdnet: Workbench) -> None:
    before = list(sdnet.store)
    fit_lambda(sdnet, sdnet.images("train", LIMIT), "gaussian", GRID)
    made = [record for record in sdnet.store if record not in before]
    assert made
    assert {record.images.split for record in made} == {"train"}
    assert {record.images.digest for record in made} == {sdnet.split("train", LIMIT).digest}


def test_algorithm_1_goes_over_all_levels_and_all_lambdas(sdnet: Workbench, told: Any) -> None:
    levels = CORRUPTIONS["gaussian"].fit_levels["imagenet"]
    fit = fit_lambda(sdnet, sdnet.images("train", LIMIT), "gaussian", [0.5, 1.0])
    assert told.images == len(levels) * 3 * LIMIT  # lambda_0 is always of the party
    assert tuple(point.level for point in fit.points) == levels
    assert {point.lambda_ for point in fit.points} <= {0.1, 0.5, 1.0}


def test_a_fit_is_a_function_of_the_records(sdnet: Workbench) -> None:
    fit = fit_lambda(sdnet, sdnet.images("train", LIMIT), "gaussian", GRID)
    records = [record for record in sdnet.store if record.images.split == "train" and record.cell.kind == "accuracy"]
    for point in fit.points:
        here = {record.inference.lambda_: record for record in records if record.images.level == point.level}
        assert point.residual == here[0.1].metrics["residual"]
        assert point.accuracy == max(record.accuracy for record in here.values())
        assert here[point.lambda_].accuracy == point.accuracy
    slope, intercept = np.polyfit([p.residual for p in fit.points], [p.lambda_ for p in fit.points], 1)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept))


def test_residuals_grow_with_the_noise(sdnet: Workbench) -> None:
    found = [point.residual for point in fit_lambda(sdnet, sdnet.images("train", LIMIT), "gaussian", GRID).points]
    assert found[0] < min(found[len(found) // 2 :])


def test_fits_are_kept_beside_the_records_and_read_back(open_bench: Open, told: Any) -> None:
    bench = open_bench("sdnet18-tiny")
    fits = {name: fit_lambda(bench, bench.images("train", LIMIT), name, GRID) for name in ("gaussian", "shot")}
    again = open_bench("sdnet18-tiny")
    assert read_fits([again.folder], again.model.weights) == fits
    assert require_fits(again, ["shot"]) == [fits["shot"]]
    told.images = 0
    assert fit_lambda(again, again.images("train", LIMIT), "shot", GRID) == fits["shot"]
    assert told.images == 0


def test_a_fit_in_the_place_of_another_is_told(sdnet: Workbench, told: Any) -> None:
    for limit in (LIMIT, LIMIT, 20):
        before = len([note for note in told.notes if "in the place of" in note])
        fit_lambda(sdnet, sdnet.images("train", limit), "gaussian", GRID)
        new = [note for note in told.notes if "in the place of" in note][before:]
        assert [f"fit of gaussian by a grid on {LIMIT} training images, seed 0" in note for note in new] == (
            [True] if limit == 20 else []
        )


def test_each_test_set_is_classified_with_the_lambda_of_its_own_residual(sdnet: Workbench) -> None:
    fit = fit_lambda(sdnet, sdnet.images("train", LIMIT), "gaussian", GRID)
    records = measure_adaptive(sdnet, sdnet.images("test", 60), [fit])
    assert [record.images.severity for record in records] == [1, 2, 3, 4, 5]
    for record in records:
        given = record.cell.with_inference(sdnet.inference())
        assert sdnet.store[given].images.split == "test"
        assert record.inference.lambda_ == fit(sdnet.store[given].metrics["residual"])
        assert record.inference.rule == fit.rule


def test_an_adaptive_record_is_that_of_its_lambda(sdnet: Workbench) -> None:
    """The rule is in the key, and changes nothing of the outcome."""
    (record,) = measure_adaptive(
        sdnet, sdnet.images("test", 60), [fit_lambda(sdnet, sdnet.images("train", LIMIT), "shot", GRID)], [5]
    )
    (plain,) = sdnet.measure([record.cell.with_inference(sdnet.inference(record.inference.lambda_))], "by hand")
    assert plain.correct.tolist() == record.correct.tolist()


def test_a_fit_of_other_weights_is_refused(sdnet: Workbench) -> None:
    save_fit(sdnet.folder, made_up(sdnet).model_copy(update={"weights": "0" * 64}))
    with pytest.raises(ModelError, match="belongs to another model"):
        require_fits(sdnet, ["gaussian"])


def test_an_unknown_corruption_has_no_fit(sdnet: Workbench) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gaussian'"):
        fit_lambda(sdnet, sdnet.images("train"), "gausian")


@pytest.mark.parametrize(
    "act",
    [
        lambda bench, name: fit_lambda(bench, bench.images("train"), name),
        lambda bench, name: require_fits(bench, [name]),
    ],
)
def test_a_network_without_csc_layers_has_no_fit(resnet: Workbench, act: Any) -> None:
    with pytest.raises(UsageError, match="no CSC-layer"):
        act(resnet, "gaussian")


def test_a_missing_fit_is_answered_with_the_command_that_makes_it(sdnet: Workbench) -> None:
    command = "Fit it with `sdnet-bench fit-lambda sdnet18-tiny --corruption shot`"
    with pytest.raises(ModelError, match=f"no fit of lambda for shot noise on sdnet18-tiny. {command}"):
        require_fits(sdnet, ["shot"])
    save_fit(sdnet.folder, made_up(sdnet, "shot"))
    command = "fit-lambda sdnet18-tiny --corruption shot --inference-steps 4`"
    with pytest.raises(ModelError, match=f"no fit of lambda for shot, 4 steps noise on sdnet18-tiny.*{command}"):
        require_fits(sdnet, ["shot"], sdnet.inference(steps=4))


def test_unknown_noise_needs_the_fits_of_all_four(sdnet: Workbench) -> None:
    fits = [made_up(sdnet, name, slope) for name, slope in zip(NOISES, (0.1, 0.2, 0.05, 0.3), strict=True)]
    for fit in fits[:-1]:
        save_fit(sdnet.folder, fit)
    with pytest.raises(ModelError, match="no fit of lambda for impulse noise"):
        require_fits(sdnet, [UNKNOWN])
    save_fit(sdnet.folder, fits[-1])
    assert require_fits(sdnet, ["shot", UNKNOWN]) == [fits[1], pool(fits)]


def test_fits_of_other_iterations_are_kept_apart(sdnet: Workbench) -> None:
    images, levels = sdnet.images("train", 20), [0.1, 0.4]
    two, four = (
        fit_lambda(sdnet, images, "gaussian", GRID, levels=levels, inference=sdnet.inference(steps=steps))
        for steps in (2, 4)
    )
    assert (two.steps, four.steps) == (None, 4)
    assert two.points != four.points
    required = [require_fits(sdnet, ["gaussian"], sdnet.inference(steps=steps)) for steps in (None, 2, 4)]
    assert required == [[two], [two], [four]]
    (record,) = measure_adaptive(sdnet, sdnet.images("test", 20), [four], [3])
    assert record.inference.steps == 4
    own = record.cell.with_inference(sdnet.inference(steps=4))
    assert record.inference.lambda_ == four(sdnet.store[own].metrics["residual"])


def test_levels_are_those_that_are_asked_for(sdnet: Workbench) -> None:
    fit = fit_lambda(sdnet, sdnet.images("train", 20), "gaussian", GRID, levels=[0.4, 0.1, 0.2])
    assert [point.level for point in fit.points] == [0.1, 0.2, 0.4]


def test_a_line_of_squared_residuals_is_fitted_to_them_and_asked_with_them(sdnet: Workbench) -> None:
    fit = fit_lambda(sdnet, sdnet.images("train", 20), "gaussian", GRID, levels=[0.1, 0.2, 0.4], residual="squared")
    plain = fit_lambda(sdnet, sdnet.images("train", 20), "gaussian", GRID, levels=[0.1, 0.2, 0.4])
    assert all(one.residual > other.residual**2 for one, other in zip(fit.points, plain.points, strict=True))
    (given,) = measure_corrupted(sdnet, sdnet.images("test", 60), ["gaussian"], [3])
    (chosen,) = measure_adaptive(sdnet, sdnet.images("test", 60), [fit], [3])
    assert chosen.inference.lambda_ == fit(given.metrics["residual_squared"])


def test_per_image_a_record_has_no_lambda_but_a_rule_and_what_it_chose(sdnet: Workbench) -> None:
    fit = made_up(sdnet)
    (by_set,) = measure_adaptive(sdnet, sdnet.images("test", 60), [fit], [5])
    (by_image,) = measure_adaptive(sdnet, sdnet.images("test", 60), [fit], [5], per="image")
    assert by_set.inference.lambda_ is not None
    assert "lambda_mean" not in by_set.metrics
    assert (by_image.inference.lambda_, by_image.inference.rule) == (None, PerImage(fit).rule)
    (given,) = measure_corrupted(sdnet, sdnet.images("test", 60), ["gaussian"], [5])
    assert by_image.metrics["lambda_mean"] == pytest.approx(0.1 * given.metrics["residual"], rel=1e-4)
    variance = given.metrics["residual_squared"] - given.metrics["residual"] ** 2
    assert by_image.metrics["lambda_std"] == pytest.approx(0.1 * np.sqrt(variance), rel=1e-2)


def test_per_image_a_record_is_what_an_evaluation_by_its_rule_gives(sdnet: Workbench) -> None:
    rule = PerImage(made_up(sdnet, UNKNOWN))
    (record,) = measure_adaptive(sdnet, sdnet.images("test", 60), [rule.fit], [MIXED], per="image")
    view = stream_of(UNKNOWN, MIXED, sdnet.dataset.family, 0)
    found = evaluate(sdnet.model.net, sdnet.split("test", 60), sdnet.runtime, lambdas=[rule], transform=view)[rule]
    assert record.correct.tolist() == found.correct.tolist()


@pytest.mark.parametrize("slope", [-0.1, 0.0, 0.1])
def test_per_image_a_residual_that_is_not_finite_has_no_lambda(sdnet: Workbench, slope: float) -> None:
    (batch,) = sdnet.split("test", 3).batches(3, torch.device("cpu"))
    lambdas = PerImage(made_up(sdnet, slope=slope))(torch.tensor([1.0, torch.inf, torch.nan]), batch)
    assert lambdas.isnan().tolist() == [False, True, True]


def test_known_types_are_told_apart_image_by_image(sdnet: Workbench) -> None:
    fits = [made_up(sdnet, name, slope) for name, slope in zip(NOISES, (0.0, 0.1, 0.2, 0.3), strict=True)]
    stream = stream_of(UNKNOWN, MIXED, sdnet.dataset.family, 0)
    record = measure_known_types(sdnet, sdnet.images("test", 60), fits)
    rule = PerImageOfType(tuple(fits), stream)
    assert (record.inference.rule, record.images.severity, record.images.corruption) == (rule.rule, MIXED, UNKNOWN)
    (images,) = corrupted_images(sdnet, sdnet.images("test", 60), UNKNOWN, [MIXED])
    own = evaluate(sdnet.model.net, sdnet.split("test", 60), sdnet.runtime, transform=stream)[None]
    index = sdnet.split("test", 60).index  # type: ignore[attr-defined]
    slopes = [0.1 * NOISES.index(stream.draw(int(at))[0]) for at in index]
    assert record.metrics["lambda_mean"] == pytest.approx((slopes * there(own.residual)).mean(), rel=1e-4)
    assert images == record.images


@pytest.mark.parametrize(("low", "high", "is_warned"), [(0.0, 100.0, False), (0.0, 0.001, True), (99.0, 100.0, True)])
def test_a_residual_that_the_line_was_not_fitted_to_is_told(
    sdnet: Workbench, told: Any, low: float, high: float, is_warned: bool
) -> None:
    points = [Point(0.1, r, 0.1 + r / 1000, 0.5) for r in (low, high)]
    fit = fit_line("shot", sdnet.model.weights, points)
    records = measure_adaptive(sdnet, sdnet.images("test", 20), [fit], [2])
    warnings = [note for note in told.notes if note.startswith("warning")]
    assert len(records) == 1
    if not is_warned:
        assert warnings == []
        return
    (note,) = warnings
    (given,) = measure_corrupted(sdnet, sdnet.images("test", 20), ["shot"], [2])
    residual = given.metrics["residual"]
    assert note.startswith(f"warning: the residual of shot 2, {residual:.6g}, lies outside {low:.6g} to {high:.6g}, ")
    assert note.endswith("where lambda(r) was fitted to shot noise")


def test_clean_images_may_be_asked_for_by_a_fit(sdnet: Workbench, told: Any) -> None:
    fit = fit_line("shot", sdnet.model.weights, [Point(0.1, r, 0.3, 0.5) for r in (99.0, 100.0)])
    (record,) = choose_and_measure(sdnet, fit, [sdnet.cell(sdnet.images("test", 20))])
    assert (record.images.corruption, record.inference.lambda_, record.inference.rule) == (None, 0.3, fit.rule)
    assert any(note.startswith("warning: the residual of clean, ") for note in told.notes)


@pytest.mark.parametrize("falls", [True, False])
def test_a_lambda_that_falls_with_the_noise_is_told(sdnet: Workbench, told: Any, falls: bool) -> None:
    """The records say that the best lambda is 0.5 at one level and 0.1 at the other."""
    images = sdnet.images("train", 20)
    cells = level_cells(sdnet, images, "gaussian", [0.1, 0.2])
    for residual, cell in enumerate(cells, start=1):
        for lambda_ in (0.1, 0.5):
            is_best = (lambda_ == 0.5) == ((residual == 1) == falls)
            found = np.full(20, is_best)
            at = cell.with_inference(cell.inference.at(lambda_))
            sdnet.store.append(Record.of("m", at, found, {"residual": residual, "residual_squared": residual**2}))
    fit = fit_lambda(sdnet, images, "gaussian", [0.1, 0.5], levels=[0.1, 0.2])
    assert fit.slope == pytest.approx(-0.4 if falls else 0.4)
    warned = [note for note in told.notes if "warning: lambda falls as the residual of gaussian grows, by 0.4" in note]
    assert len(warned) == falls
