"""The line of Algorithm 1: its points, least squares, lambda from residuals, and the file that it is kept in."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from together import run_together

from sdnet_bench.data import Batch, stream_of
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.records import NOISES, UNKNOWN, Cell, Images, Inference, Record, RecordStore
from sdnet_bench.records.lambda_fit import (
    FILE,
    LambdaFit,
    Point,
    find_points,
    fit_line,
    known_types_rule,
    pool,
    present_rules,
    read_fits,
    save_fit,
    saved_fits,
)
from sdnet_bench.studies.algorithm1 import PerImage, PerImageOfType

Block = tuple[int, int]


def record(level: float, lambda_: float, right: int, residual: float, block: Block | None = None) -> Record:
    """Ten training images, or those of a block, `right` of them classified correctly."""
    cell = Cell(
        weights="w",
        images=Images(dataset="d", split="train", digest="i", block=block, corruption="shot", level=level),
        inference=Inference(lambda_=lambda_),
    )
    n = block[1] - block[0] if block else 10
    metrics = {"residual": residual, "residual_squared": 2 * residual**2}
    return Record.of("m", cell, np.arange(n) < right, metrics=metrics)


def at(residual: float, lambda_: float) -> Point:
    return Point(0.1, residual, lambda_, 0.5)


def test_a_point_has_the_residual_at_lambda_0_and_the_best_lambda() -> None:
    records = [record(0.04, 0.1, 5, 3.0), record(0.04, 0.2, 8, 4.0), record(0.04, 0.3, 7, 5.0)]
    records += [record(0.08, 0.1, 2, 6.0), record(0.08, 0.2, 3, 7.0), record(0.08, 0.3, 4, 8.0)]
    assert find_points(records, lambda_0=0.1) == [Point(0.04, 3.0, 0.2, 0.8), Point(0.08, 6.0, 0.3, 0.4)]
    assert [point.residual for point in find_points(records, lambda_0=0.2)] == [4.0, 7.0]


def test_of_equally_good_lambdas_the_smallest_is_taken() -> None:
    records = [record(0.04, 0.1, 5, 3.0), record(0.04, 0.3, 8, 5.0), record(0.04, 0.2, 8, 4.0)]
    assert find_points(records, lambda_0=0.1)[0].lambda_ == 0.2


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
    fit = LambdaFit(
        corruption="shot", weights="w", slope=0.5, intercept=-1.0, r_squared=1, points=(at(2.0, 0.0), at(3.0, 0.5))
    )
    assert fit(3.0) == 0.5
    assert fit(1.0) == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"points": (at(1.0, 0.1), at(2.0, 0.4))},
        {"weights": "v"},
        {"corruption": "gaussian"},
        {"residual": "squared"},
        {"steps": 4},
    ],
)
def test_each_fit_is_a_rule_of_its_own(change: dict[str, Any]) -> None:
    fit = LambdaFit(
        corruption="shot", weights="w", slope=0.5, intercept=-1.0, r_squared=1, points=(at(2.0, 0.0), at(3.0, 0.5))
    )
    other = fit.model_copy(update=change)
    assert other.rule != fit.rule
    assert PerImage(other).rule not in (other.rule, PerImage(fit).rule)


POINTS = [(38.847551, 0.2), (41.322499, 0.6), (45.434426, 1.1), (50.459899, 1.5)]


@given(st.permutations(POINTS))
def test_the_line_is_exact_whatever_the_order(points: list[tuple[float, float]]) -> None:
    """Sums of floats would depend on it in their last bits."""
    fit, same = (fit_line("gaussian", "w", [at(*point) for point in order]) for order in (points, POINTS))
    assert (fit.slope, fit.intercept, fit.r_squared) == (same.slope, same.intercept, same.r_squared)


def old_rule(fit: LambdaFit, slope: float, intercept: float) -> str:
    """As earlier versions named a rule."""
    content = f"{slope!r} {intercept!r} {fit.residual} {fit.steps} {fit.weights}"
    return f"algorithm-1/{fit.corruption}/{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def test_rules_of_earlier_versions_are_known_by_their_last_bits() -> None:
    fits = {name: line(name, slope) for name, slope in zip(NOISES, (0.5, 0.7, 0.4, 0.9), strict=True)}
    shot, pooled = fits["shot"], pool([*fits.values()])
    of_shot = old_rule(shot, shot.slope, shot.intercept)
    of_all = old_rule(
        pooled, pooled.slope - 3 * math.ulp(pooled.slope), pooled.intercept + 7 * math.ulp(pooled.intercept)
    )
    of_another = old_rule(pooled, pooled.slope + 1e-6, pooled.intercept)
    known = hashlib.sha256(" ".join(old_rule(fit, fit.slope, fit.intercept) for fit in fits.values()).encode())
    of_types = f"algorithm-1/known/{known.hexdigest()[:16]}/image"
    old = [of_shot, of_all, f"{of_all}/image", of_types]
    assert present_rules([*old, of_another, pooled.rule], fits) == dict(
        zip(old, [shot.rule, pooled.rule, pooled.per_image_rule, known_types_rule(fits.values())], strict=True)
    )


def test_records_of_earlier_versions_are_found_by_the_rules_of_today(tmp_path: Path) -> None:
    fit = line("shot")
    save_fit(tmp_path, fit)
    now = record(0.1, 0.5, 5, 3.0)
    old = now.inference.by(old_rule(fit, fit.slope, fit.intercept), 0.5)
    RecordStore(tmp_path).append(now.model_copy(update={"cell": now.cell.with_inference(old)}))
    (found,) = RecordStore.of_model(tmp_path, tmp_path)
    assert found.cell == now.cell.with_inference(now.inference.by(fit.rule, 0.5))


FIRST, SECOND = (0, 10), (10, 40)


def test_blocks_of_a_level_are_one_set_of_images() -> None:
    records = [record(0.1, 0.1, 5, 3.0, FIRST), record(0.1, 0.1, 15, 7.0, SECOND)]
    records += [record(0.1, 0.5, 4, 9.0, FIRST), record(0.1, 0.5, 20, 9.0, SECOND)]
    assert find_points(records[::-1], 0.1) == [Point(0.1, (10 * 3 + 30 * 7) / 40, 0.5, 24 / 40)]


def test_a_lambda_that_dropped_out_of_a_race_does_not_win() -> None:
    records = [record(0.1, 0.1, 5, 3.0, FIRST), record(0.1, 0.1, 15, 7.0, SECOND), record(0.1, 0.9, 10, 9.0, FIRST)]
    assert find_points(records, 0.1)[0][2:] == (0.1, 20 / 40)


def test_the_squared_residual_is_that_of_the_records() -> None:
    records = [record(0.1, 0.1, 5, 3.0, FIRST), record(0.1, 0.1, 15, 7.0, SECOND)]
    assert find_points(records, 0.1, "squared")[0].residual == pytest.approx((10 * 18 + 30 * 98) / 40)


def test_a_level_without_lambda_0_gives_no_point() -> None:
    assert [point.level for point in find_points([record(0.1, 0.5, 5, 3.0), record(0.2, 0.1, 5, 3.0)], 0.1)] == [0.2]


def test_one_residual_makes_no_line() -> None:
    with pytest.raises(UsageError, match="no line through the points of shot, expected two residuals or more, got 2"):
        fit_line("shot", "w", [at(1.0, 0.1), at(1.0, 0.5)])


def line(corruption: str = "shot", slope: float = 0.5, **rest: Any) -> LambdaFit:
    return fit_line(corruption, "w", [at(r, max(0, slope * r - 1)) for r in (1.0, 3.0, 4.0)], **rest)


def test_pooled_fits_are_the_line_of_least_squares_through_all_points() -> None:
    fits = [line(name, slope) for name, slope in zip(NOISES, (0.5, 0.7, 0.4, 0.9), strict=True)]
    pooled = pool(fits)
    points = [point for fit in fits for point in fit.points]
    matrix = np.array([[point.residual, 1] for point in points])
    expected, *_ = np.linalg.lstsq(matrix, np.array([point.lambda_ for point in points]), rcond=None)
    assert (pooled.slope, pooled.intercept) == pytest.approx(tuple(expected))
    assert (pooled.corruption, pooled.weights, pooled.points) == (UNKNOWN, "w", tuple(points))


def test_pooled_fits_keep_residual_and_steps_and_have_to_agree_in_them() -> None:
    pooled = pool([line("shot", residual="squared", steps=4), line("impulse", residual="squared", steps=4)])
    assert (pooled.residual, pooled.steps) == ("squared", 4)
    with pytest.raises(UsageError):
        pool([line("shot"), line("impulse", residual="squared")])


def test_a_fit_covers_what_lies_between_its_points() -> None:
    assert [line().covers(r) for r in (0.99, 1.0, 2.0, 4.0, 4.01)] == [False, True, True, True, False]


@pytest.mark.parametrize(("steps", "name"), [(None, "shot"), (4, "shot, 4 steps")])
def test_fits_of_other_iterations_have_another_name(steps: int | None, name: str) -> None:
    assert line(steps=steps).name == name


RESIDUALS = torch.tensor([0.0, 1.0, 2.5, 10.0])


def batch(*index: int) -> Batch:
    at = torch.tensor(index)
    return Batch(at, torch.zeros(len(index), 3, 1, 1, dtype=torch.uint8), at)


@pytest.mark.parametrize("residual", ["norm", "squared"])
def test_per_image_every_lambda_is_on_the_line_and_never_negative(residual: Any) -> None:
    fit = line(residual=residual)
    found = PerImage(fit)(RESIDUALS, batch(0, 1, 2, 3))
    used = RESIDUALS.numpy().astype(float) ** (2 if residual == "squared" else 1)
    assert found.tolist() == pytest.approx(np.maximum(0, fit.slope * used + fit.intercept).tolist(), rel=1e-5)
    assert found[0] == 0
    assert found[-1] > 1


def test_per_image_of_known_type_each_has_the_fit_of_its_type() -> None:
    stream = stream_of(UNKNOWN, "mixed", "imagenet", 3)
    fits = tuple(line(name, slope) for name, slope in zip(NOISES, (0.5, 0.7, 0.4, 0.9), strict=True))
    index = torch.randperm(200)[:60]
    residuals = torch.rand(60) * 10
    found = PerImageOfType(fits, stream)(residuals, batch(*index.tolist()))
    for lambda_, residual, at_ in zip(found, residuals, index.tolist(), strict=True):
        fit = fits[NOISES.index(stream.draw(at_)[0])]
        assert float(lambda_) == pytest.approx(max(0, fit.slope * float(residual) + fit.intercept), rel=1e-5)
    assert {stream.draw(at_)[0] for at_ in index.tolist()} == set(NOISES)


def test_the_rule_of_known_types_is_that_of_its_fits_in_their_order() -> None:
    stream, fits = stream_of(UNKNOWN, "mixed", "imagenet", 3), [line("shot"), line("impulse")]
    rule = PerImageOfType(tuple(fits), stream).rule
    assert rule == known_types_rule(fits)
    assert len({rule, known_types_rule(fits[::-1]), known_types_rule(fits[:1])}) == 3


def test_fits_are_read_back_as_they_were_saved(tmp_path: Path) -> None:
    fits = [line(), line("gaussian", residual="squared"), line(steps=4)]
    for fit in fits:
        save_fit(tmp_path, fit)
    assert read_fits([tmp_path], "w") == {fit.name: fit for fit in fits}
    save_fit(tmp_path, line(slope=0.7))
    assert read_fits([tmp_path], "w")["shot"] == line(slope=0.7)
    assert read_fits([tmp_path / "nowhere"], "w") == {}


def test_fits_of_a_later_folder_count(tmp_path: Path) -> None:
    for folder, fits in {"a": [line(), line("impulse")], "b": [line(slope=0.7)]}.items():
        (tmp_path / folder).mkdir()
        for fit in fits:
            save_fit(tmp_path / folder, fit)
    found = read_fits([tmp_path / "a", tmp_path / "b"], "w")
    assert found == {"shot": line(slope=0.7), "impulse": line("impulse")}


def test_fits_of_another_model_are_refused_and_make_room(tmp_path: Path) -> None:
    save_fit(tmp_path, line())
    with pytest.raises(ModelError, match=rf"{FILE} belongs to another model\. Remove it, or fit anew with fit-lambda"):
        read_fits([tmp_path], "v")
    other = line("impulse").model_copy(update={"weights": "v"})
    save_fit(tmp_path, other)
    assert read_fits([tmp_path], "v") == {"impulse": other}


def test_a_fit_of_an_older_version_is_one_of_norms_and_of_the_steps_of_training(tmp_path: Path) -> None:
    content = line().model_dump(exclude={"residual", "steps"})
    (tmp_path / FILE).write_text(json.dumps({"shot": content}), encoding="utf-8")
    assert read_fits([tmp_path], "w") == {"shot": line()}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"gaussian": 3}', '{"gaussian": {"slope": 1}}'])
def test_a_damaged_fit_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"cannot read .*{FILE}") as caught:
        read_fits([tmp_path], "w")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("slope", float("nan"), "finite number"),
        ("intercept", float("inf"), "finite number"),
        ("points", [], "at least 2 items"),
        ("points", [[0.1, float("nan"), 0.3, 0.5], [0.2, 2.0, 0.3, 0.5]], "finite number"),
        ("corruption", "gaussian", "'gaussian' is called 'shot'"),
    ],
)
def test_a_fit_of_no_line_is_refused_also_where_it_has_no_checksum(
    tmp_path: Path, field: str, value: Any, complaint: str
) -> None:
    (tmp_path / FILE).write_text(json.dumps({"shot": line().model_dump() | {field: value}}), encoding="utf-8")
    with pytest.raises(ModelError, match=rf"cannot read .*{FILE}: .*{complaint}.*Remove it, and fit anew"):
        read_fits([tmp_path], "w")


def test_fits_to_a_part_of_the_classes_and_to_all_are_told_apart(tmp_path: Path) -> None:
    part = "3 of 1000: ab"
    whole, few = line(), line(classes=part)
    for fit in (whole, few):
        save_fit(tmp_path, fit)
    assert read_fits([tmp_path], "w") == {"shot": whole}
    assert read_fits([tmp_path], "w", part) == {"shot": few}
    assert [*saved_fits([tmp_path])] == ["shot", "shot, 3 of 1000: ab"]
    assert whole.rule != few.rule
    assert "classes" not in whole.model_dump(mode="json")
    assert pool([few, few]).classes == part
    with pytest.raises(UsageError, match="cannot be pooled"):
        pool([whole, few])


def test_a_changed_digit_of_a_saved_fit_is_refused(tmp_path: Path) -> None:
    save_fit(tmp_path, fit_line("shot", "w", [at(1.0, 0.5), at(3.0, 1.5)], "squared", found="on 10 images"))
    saved = (tmp_path / FILE).read_text(encoding="utf-8")
    for place in (place for place, char in enumerate(saved) if char.isdigit()):
        changed = f"{saved[:place]}{(int(saved[place]) + 1) % 10}{saved[place + 1 :]}"
        (tmp_path / FILE).write_text(changed, encoding="utf-8")
        with pytest.raises(ModelError, match=FILE):
            read_fits([tmp_path], "w")


SAVER = """
import sys
from pathlib import Path
from sdnet_bench.records.lambda_fit import Point, fit_line, save_fit

print("ready", flush=True)
sys.stdin.readline()
for steps in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    save_fit(Path(sys.argv[1]), fit_line("shot", "w", [Point(0.1, r, r, 0.5) for r in (1.0, 2.0)], steps=steps))
"""


def test_fits_that_are_saved_at_once_are_all_there(tmp_path: Path) -> None:
    run_together(SAVER, tmp_path, 100, 200)
    assert {fit.steps for fit in read_fits([tmp_path], "w").values()} == {*range(100, 120), *range(200, 220)}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("lambda_", [0.1, 0.3, 0.7])
def test_a_constant_lambda_has_no_r_squared(lambda_: float) -> None:
    """Whatever the rounding of seven times 0.1 leaves over."""
    fit = fit_line("impulse", "w", [Point(at, 30.0 + at, lambda_, 0.5) for at in range(7)])
    assert fit.r_squared is None
    assert (fit.slope, fit.intercept) == (0, lambda_)
    assert fit(100.0) == lambda_
