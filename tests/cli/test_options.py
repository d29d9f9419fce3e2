"""Options that are text: grids of lambdas, budgets."""

from __future__ import annotations

import pytest

from sdnet_bench.api.requests import threat_of
from sdnet_bench.cli import options
from sdnet_bench.cli.options import parse_eps, parse_fields, parse_lambdas
from sdnet_bench.config import LAMBDAS
from sdnet_bench.errors import UsageError


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


@pytest.mark.parametrize("text", ["0:1e9:0.1", "0:1:1e-12", "0:1001:1", "0:1e300:1", ",".join(map(str, range(1001)))])
def test_a_grid_that_nobody_waits_for_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^a grid of more than 1,000 lambdas, expected 0\.1:1\.5:0\.1"):
        parse_lambdas(text)
    assert len(parse_lambdas("0:999:1")) == 1000


@pytest.mark.parametrize("text", ["-0.1", "0.1,-0.1", "-0.5:0.5:0.5", "nan", "0.1,inf"])
def test_a_grid_holds_no_impossible_lambda(text: str) -> None:
    with pytest.raises(UsageError, match=r"lambda out of range, expected a finite number >= 0"):
        parse_lambdas(text)


def test_the_grid_that_is_shown_is_the_one_that_is_meant() -> None:
    assert parse_lambdas(options.LAMBDAS) == list(LAMBDAS)


@pytest.mark.parametrize(
    ("text", "norm", "eps"),
    [
        *(("8/255", "linf", 8 / 255), ("0.031", "linf", 0.031), (None, "linf", 8 / 255)),
        *(("1", "l2", 1.0), (" 1 / 4 ", "l2", 0.25), ("1e-3", "l2", 0.001), (None, "l2", 0.5)),
    ],
)
def test_a_budget_is_a_number_or_a_fraction(text: str | None, norm: str, eps: float) -> None:
    assert threat_of(norm, parse_eps(text)).eps == eps


@pytest.mark.parametrize("text", ["", "eight", "8/0", "8/x", "/255", "8/2/5"])
def test_a_budget_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="eps is no number, expected a number or a fraction, such as 8/255"):
        parse_eps(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0.05", 0.05), ("1e-3", 0.001), ("7", 7), ("true", True), ("[30, 60]", [30, 60])),
        *(('"a b"', "a b"), ("adam", "adam"), ("a=b", "a=b"), ("0,05", "0,05"), ("", "")),
    ],
)
def test_a_value_of_a_field_is_toml_or_text(text: str, value: object) -> None:
    assert parse_fields(["seed=1", f"optimizer.lr={text}"]) == {"seed": 1, "optimizer.lr": value}


def test_a_field_without_a_value_is_refused_with_an_example() -> None:
    with pytest.raises(UsageError, match=r"expected field=value, such as optimizer\.lr=0\.05, got lr$"):
        parse_fields(["lr"])
