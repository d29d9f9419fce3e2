"""Figures: which are drawn, what their curves are, and that the files are pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from found import there
from matplotlib.axes import Axes

from sdnet_bench.adaptations import setting_of
from sdnet_bench.config import MODELS, Backbone, ModelConfig
from sdnet_bench.errors import RecordError
from sdnet_bench.paper.results import Results
from sdnet_bench.records import AttackSetting, Cell, Record
from sdnet_bench.records.lambda_fit import LambdaFit, find_points, fit_line
from sdnet_bench.report.figures import LINES, batch_curves, drawings, write_figures

LAMBDAS = (0.1, 0.5, 0.9)


def record(right: int, n: int = 10, **cell: object) -> Record:
    content = {"weights": "w", "dataset": "digits", "split": "test", "images": "i", "corruption": "gaussian"} | cell
    metrics = {"residual": 10.0 + float(cell.get("level") or 0)}  # type: ignore[arg-type]
    return Record.of("net", Cell.model_validate(content), np.arange(n) < right, metrics=metrics)


def results(*records: Record, fits: Sequence[LambdaFit] = (), lambda_: float | None = 0.1) -> Results:
    cell = record(0, kind="training", split="train", corruption=None, lambda_=lambda_).cell
    training = Record(model="net", cell=cell, n=1)
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
    fit = there(results(fits=[fitted()]).fit("gaussian"))
    assert (fit.slope, fit.intercept) == pytest.approx((0.4, 0.1 - 0.4 * 11))
    assert fit.r_squared == pytest.approx(1)


def test_figures_are_drawn_as_png_and_svg(tmp_path: Path) -> None:
    written = write_figures([results(*swept(), fits=[fitted()])], tmp_path)
    assert [path.name for path in written] == [
        f"net-figure{number}.{kind}" for number in (2, 3) for kind in ("png", "svg")
    ]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in written[1].read_text(encoding="utf-8")


NAME = "sdnet18_all-cifar10-small"
DRAW = f"""
import sys
from pathlib import Path
from sdnet_bench.config import MODELS
from sdnet_bench.paper.results import Results
from sdnet_bench.report.figures import write_figures
write_figures([Results.read(MODELS / "{NAME}", Path("nowhere"))], Path(sys.argv[1]))
"""
"""In a process without torch, where figures are drawn side by side."""


def test_several_processes_draw_what_one_draws_and_say_what_cannot_be_drawn(tmp_path: Path) -> None:
    others, one = tmp_path / "others", tmp_path / "one"
    subprocess.run([sys.executable, "-c", DRAW, others], check=True)
    written = write_figures([Results.read(MODELS / NAME, Path("nowhere"))], one)
    assert [(others / path.name).read_bytes() for path in written] == [path.read_bytes() for path in written]
    for path in written:
        (others / path.name).unlink()
        (others / path.name).mkdir()
    failed = subprocess.run([sys.executable, "-c", DRAW, others], capture_output=True, text=True)
    assert f"RecordError: cannot write {others / NAME}" in failed.stderr
    shutil.rmtree(one)
    (one / written[-1].name).mkdir(parents=True)
    with pytest.raises(RecordError, match="cannot write"):
        write_figures([Results.read(MODELS / NAME, Path("nowhere"))], one)


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


def attacked(
    right: int, made_at: float | None, scored_at: float | None, eps: float = 8 / 255, **cell: object
) -> Record:
    attack = AttackSetting(norm="linf", eps=eps, steps=10, step_size=eps / 4, crafted_at=made_at)
    return record(right, corruption=None, lambda_=scored_at, attack=attack, **cell)


def besieged() -> list[Record]:
    """Transferred and matched PGD at three lambdas; lambda is tuned to 0.5."""
    by_lambda = list(zip(LAMBDAS, (1, 6, 4), strict=True))
    return [
        *(attacked(right, 0.1, lambda_, split="validation") for lambda_, right in by_lambda),
        *(attacked(right, 0.1, lambda_) for lambda_, right in by_lambda),
        *(attacked(2, lambda_, lambda_) for lambda_ in LAMBDAS[1:]),
    ]


def widened() -> list[Record]:
    """Two more radii at lambda_0 and at the tuned lambda."""
    return [attacked(1, at, at, eps / 255) for at in LAMBDAS[:2] for eps in (4, 16)]


def drawn(folder: Path, *records: Record, without_lambda: bool = False) -> list[Axes]:
    """The panels of the last figure that is written to `folder`."""
    found = results(*records, lambda_=None if without_lambda else 0.1)
    write_figures([found], folder)
    return list(drawings(found))[-1].figure().axes


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Points by label, rounded."""
    return {
        str(line.get_label()): [(round(float(x), 6), round(float(y), 6)) for x, y in line.get_xydata()]
        for line in axes.get_lines()
    }


def test_robust_accuracy_is_drawn_against_lambda(tmp_path: Path) -> None:
    (axes,) = drawn(tmp_path, *besieged())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net-robust-lambda.png", "net-robust-lambda.svg"]
    assert axes.get_title() == "linf 8/255"
    assert lines(axes) == {
        "clean": [(0.1, 100), (0.5, 100), (0.9, 100)],
        "transfer": [(0.1, 10), (0.5, 60), (0.9, 40)],
        "matched": [(0.1, 10), (0.5, 20), (0.9, 20)],
        "union": [(0.1, 10), (0.5, 20), (0.9, 20)],
        "tuned: 0.5": [(0.5, 0), (0.5, 1)],
    }


def test_no_two_curves_look_alike_without_colour() -> None:
    looks = [(style["ls"], style.get("marker")) for style in LINES.values()]
    assert len(set(looks)) == len(looks)
    assert LINES["transfer"]["ls"] != LINES["matched"]["ls"]


def test_robust_accuracy_is_drawn_against_eps(tmp_path: Path) -> None:
    (axes,) = drawn(tmp_path, *besieged(), *widened())
    assert [path.name for path in sorted(tmp_path.glob("*-eps.*"))] == ["net-robust-eps.png", "net-robust-eps.svg"]
    assert axes.get_title() == "linf"
    found = lines(axes)
    assert found.pop("chance: 10") == [(0, 10), (1, 10)]
    assert found == {
        "lambda 0.1, trained": [(0, 100), (4, 10), (8, 10), (16, 10)],
        "lambda 0.5, tuned": [(0, 100), (4, 10), (8, 20), (16, 10)],
    }


def test_a_network_without_lambda_has_one_line_against_eps(tmp_path: Path) -> None:
    plain = [attacked(right, None, None, eps / 255) for right, eps in ((5, 4), (3, 8), (0, 16))]
    (axes,) = drawn(tmp_path, *plain, without_lambda=True)
    assert {path.stem for path in tmp_path.iterdir()} == {"net-robust-eps"}
    assert set(lines(axes)) == {"matched", "chance: 10"}


def test_chance_is_that_among_the_classes_compared(tmp_path: Path) -> None:
    few = [attacked(1, None, None, eps / 255, classes="4 of 10: ab") for eps in (4, 8, 16)]
    (axes,) = drawn(tmp_path, *few, without_lambda=True)
    assert set(lines(axes)) == {"matched", "chance: 25"}
    assert lines(axes)["matched"] == [(0, 100), (4, 10), (8, 10), (16, 10)]


def test_two_radii_are_no_curve(tmp_path: Path) -> None:
    two = [record for record in widened() if record.cell.attack and record.cell.attack.eps < 8 / 255]
    names = {path.stem for path in write_figures([results(*besieged(), *two)], tmp_path)}
    assert names == {"net-robust-lambda"}


def test_accuracy_is_drawn_against_the_batch(tmp_path: Path) -> None:
    """Sorted streams, fits, and records of other images are no points."""

    def under(right: int, adaptation: str, size: int = 200, order: Any = "shuffled", **rest: Any) -> Record:
        return record(
            right, **{"severity": 3, "lambda_": 0.1, "adaptation": setting_of(adaptation, size, order)} | rest
        )

    made = [
        record(4, severity=3, lambda_=0.1),
        record(1, n=50, images="more", severity=3, lambda_=0.1),
        *(under(right, "bn", size) for size, right in ((200, 9), (1, 2), (8, 6))),
        under(7, "tent", 64),
        under(5, "median"),
        under(1, "bn", 64, "sorted"),
        under(1, "bn", 32, split="train"),
        under(1, "bn", 16, severity=2),
        under(1, "bn", 4, lambda_=0.5),
    ]
    curves = there(batch_curves(results(*made), "gaussian", 3))
    found = {name.partition(":")[0]: [(x, y.value) for x, y in points] for name, points in curves.items()}
    assert found["bn"] == [(1, 20), (8, 60), (200, 90)]
    assert found["tent"] == [(64, 70)]
    assert {y for _, y in found["as trained"]} == {40}
    assert {y for _, y in found["median"]} == {50}
    assert {x for x, _ in found["median"]} >= {1, 8, 64, 200}
    assert batch_curves(results(made[0], made[2]), "gaussian", 3) is None
    assert batch_curves(results(made[0]), "gaussian", 3) is None
    assert [path.name for path in write_figures([results(*made)], tmp_path)] == [
        "net-adaptation.png",
        "net-adaptation.svg",
    ]
