"""Grids of lambdas, and accuracy as a function of them."""

from __future__ import annotations

from typing import Any

import pytest

from sdnet_bench.errors import UsageError
from sdnet_bench.studies.accuracy import measure_corrupted
from sdnet_bench.studies.lambda_sweep import parse_lambdas, sweep_lambda
from sdnet_bench.studies.workbench import Workbench


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("0.1:1.5:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]),
        ("0.1:1.5:0.2", [0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5]),
        ("0:1:0.5", [0.0, 0.5, 1.0]),
        ("0.3:0.3:0.1", [0.3]),
        ("0.1,0.3,1", [0.1, 0.3, 1.0]),
        (" 0.1, 0.3 ", [0.1, 0.3]),
        ("0.25", [0.25]),
        ("0", [0.0]),
        ("1:0.5:-0.25", [1.0, 0.75, 0.5]),
    ],
)
def test_a_grid_is_a_range_or_a_list(text: str, grid: list[float]) -> None:
    assert parse_lambdas(text) == grid


@pytest.mark.parametrize("text", ["0.1:0.29:0.1", "0.1:0.25:0.1", "0.1:0.35:0.1", "0.1:1.5:0.4"])
def test_a_range_ends_at_or_before_its_last_value(text: str) -> None:
    assert max(parse_lambdas(text)) <= float(text.split(":")[1])


def test_a_lambda_that_is_named_twice_counts_once() -> None:
    assert parse_lambdas("0.1,0.3,0.1") == [0.1, 0.3]


@pytest.mark.parametrize(
    "text",
    ["", "x", "0.1:1.5", "0.1:1.5:0", "0.1:1.5:x", "1:2:3:4", "0.1;0.2", "0.1,,0.2", "nan:1:0.1", "0:inf:1", "1:0:0.1"],
)
def test_what_is_no_grid_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"grid of lambdas, expected 0\.1:1\.5:0\.1 or 0\.1,0\.3,1, got"):
        parse_lambdas(text)


@pytest.mark.parametrize("text", ["-0.1", "0.1,-0.1", "-0.5:0.5:0.5", "nan", "0.1,inf"])
def test_a_grid_holds_no_impossible_lambda(text: str) -> None:
    with pytest.raises(UsageError, match=r"lambda out of range, expected a finite number >= 0"):
        parse_lambdas(text)


def test_a_sweep_has_a_record_per_severity_and_lambda(sdnet: Workbench, told: Any) -> None:
    records = sweep_lambda(sdnet, "shot", [1, 5], [0.1, 0.5], limit=30)
    cells = [(record.cell.corruption, record.cell.severity, record.cell.lambda_) for record in records]
    assert cells == [("shot", 1, 0.1), ("shot", 1, 0.5), ("shot", 5, 0.1), ("shot", 5, 0.5)]
    assert told.images == 4 * 30


def test_a_sweep_is_by_default_that_of_figure_2(sdnet: Workbench) -> None:
    records = sweep_lambda(sdnet, "gaussian", limit=10)
    assert len(records) == 5 * 15
    assert {record.cell.lambda_ for record in records} == {round(0.1 * step, 1) for step in range(1, 16)}


def test_a_sweep_shares_the_records_of_an_evaluation(sdnet: Workbench, told: Any) -> None:
    known = measure_corrupted(sdnet, ["gaussian"], [3], limit=30)
    told.images = 0
    swept = sweep_lambda(sdnet, "gaussian", [3], [0.1, 0.5], limit=30)
    assert told.images == 30
    assert swept[0] == known[0]


def test_a_sweep_with_a_lambda_twice_is_a_sweep_with_it_once(sdnet: Workbench, told: Any) -> None:
    first, second = sweep_lambda(sdnet, "gaussian", [1], [0.2, 0.2], limit=30)
    assert first == second
    assert told.images == 30


def test_a_network_without_csc_layers_cannot_be_swept(resnet: Workbench, told: Any) -> None:
    with pytest.raises(UsageError, match=r"this network has no CSC-layer, .* Take an SDNet, such as sdnet18-digits"):
        sweep_lambda(resnet, "gaussian")
    assert told.images == 0
    assert told.notes == []
