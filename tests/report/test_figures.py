"""Figures 2 and 3: which are drawn, what their curves are, and that the files are pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sdnet_bench.config import Backbone, ModelConfig
from sdnet_bench.records import Cell, Record
from sdnet_bench.report.figures import write_figures
from sdnet_bench.report.results import Results
from sdnet_bench.studies.lambda_fit import LambdaFit, find_points, fit_line

LAMBDAS = (0.1, 0.5, 0.9)


def record(right: int, n: int = 10, **cell: object) -> Record:
    whole = Cell(weights="w", dataset="digits", split="test", images="i", corruption="gaussian")
    metrics = {"residual": 10.0 + float(cell.get("level") or 0)}  # type: ignore[arg-type]
    return Record.of("net", whole.model_copy(update=cell), np.arange(n) < right, metrics=metrics)


def results(*records: Record, fits: Sequence[LambdaFit] = ()) -> Results:
    training = Record(
        model="net", cell=Cell(kind="training", weights="w", dataset="d", split="train", images="i", lambda_=0.1), n=1
    )
    config = ModelConfig(backbone=Backbone(name="sdnet18"), num_classes=10, dataset="digits", weights_sha256="w")
    return Results("net", config, (training, *records), {fit.name: fit for fit in fits})


def swept(severity: int = 1, n: int = 10) -> list[Record]:
    return [
        record(right, n, severity=severity, lambda_=lambda_) for right, lambda_ in zip((5, 9, 2), LAMBDAS, strict=True)
    ]


def fitted() -> LambdaFit:
    """The best lambda is 0.1 at level 1, 0.5 at level 2 and 0.9 at level 3."""
    records = [
        record(9 if place == best else 3, split="train", level=float(best + 1), lambda_=lambda_)
        for best in range(3)
        for place, lambda_ in enumerate(LAMBDAS)
    ]
    return fit_line("gaussian", "w", find_points(records, 0.1))


def test_a_curve_is_accuracy_in_percent_against_lambda() -> None:
    (curve,) = results(*swept(severity=3)).sweep("gaussian")
    assert (curve.severity, curve.n, curve.points) == (3, 10, [(0.1, 50.0), (0.5, 90.0), (0.9, 20.0)])


def test_a_point_measured_on_more_images_does_not_join_the_curve_of_fewer() -> None:
    (curve,) = results(*swept(), record(20, n=20, severity=1, lambda_=0.1)).sweep("gaussian")
    assert curve.points[0] == (0.1, 50.0)


def test_adaptive_records_are_no_part_of_a_sweep() -> None:
    (curve,) = results(*swept(), record(10, severity=1, lambda_=0.7, rule="algorithm-1/x")).sweep("gaussian")
    assert [lambda_ for lambda_, _ in curve.points] == list(LAMBDAS)


def test_the_line_of_figure_3_is_that_of_algorithm_1() -> None:
    fit = results(fits=[fitted()]).fit("gaussian")
    assert fit is not None
    assert (fit.slope, fit.intercept) == pytest.approx((0.4, 0.1 - 0.4 * 11))
    assert fit.r_squared == pytest.approx(1)


def test_figures_are_drawn_as_png_and_svg(tmp_path: Path) -> None:
    written = write_figures([results(*swept(), fits=[fitted()])], tmp_path)
    assert [path.name for path in written] == [
        f"net-figure{number}.{kind}" for number in (2, 3) for kind in ("png", "svg")
    ]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in written[1].read_text(encoding="utf-8")


def test_the_same_records_give_the_same_svg(tmp_path: Path) -> None:
    first, second = (write_figures([results(*swept())], tmp_path / name) for name in "ab")
    assert first[1].read_bytes() == second[1].read_bytes()


def test_the_lambda_that_algorithm_1_chose_has_a_ring(tmp_path: Path) -> None:
    fit = fitted()
    chosen = record(8, severity=1, lambda_=0.3, rule=fit.rule)
    plain, ringed = results(*swept(), fits=[fit]), results(*swept(), chosen, fits=[fit])
    assert [mine.sweep("gaussian")[0].chosen for mine in (plain, ringed)] == [None, 0.3]
    without, with_ring = (
        write_figures([mine], tmp_path / n)[1].read_text() for n, mine in (("a", plain), ("b", ringed))
    )
    assert with_ring != without


def test_a_model_without_a_sweep_has_no_figure(tmp_path: Path) -> None:
    assert write_figures([results()], tmp_path) == []
