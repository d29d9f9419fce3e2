"""The wording of messages and the exit statuses."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from sdnet_bench import errors
from sdnet_bench.cli.app import app
from sdnet_bench.errors import BenchError, UnknownNameError


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "lambda out of range"),
        ({"expected": "a number"}, "lambda out of range, expected a number"),
        ({"got": -1}, "lambda out of range, got -1"),
        ({"got": 0}, "lambda out of range, got 0"),
        ({"expected": "a number", "got": -1}, "lambda out of range, expected a number, got -1"),
        ({"hint": "Try 0.1."}, "lambda out of range. Try 0.1."),
        (
            {"expected": "a number", "got": "x", "hint": "Try 0.1."},
            "lambda out of range, expected a number, got x. Try 0.1.",
        ),
    ],
)
def test_a_message_says_what_expected_got_and_what_next(parts: dict[str, Any], message: str) -> None:
    assert str(BenchError("lambda out of range", **parts)) == message


MANY = ["mdeq", "resnet18", "resnet34", "scn", "sdnet18", "sdnet18_all", "sdnet34", *(f"other{at}" for at in range(30))]


@pytest.mark.parametrize(
    ("kind", "name", "known", "message"),
    [
        ("norm", "linff", ["l2", "linf"], "unknown norm 'linff'. Did you mean 'linf'?"),
        (
            "backbone",
            "sdnet81",
            ["sdnet18", "resnet18"],
            "unknown backbone 'sdnet81'. Did you mean 'sdnet18' or 'resnet18'?",
        ),
        (
            "backbone",
            "sdnet81",
            MANY,
            "unknown backbone 'sdnet81'. Did you mean 'sdnet18', 'sdnet34' or 'sdnet18_all'? "
            "`sdnet-bench plugins` lists all.",
        ),
        (
            "corruption",
            "jpeg",
            ["jpeg_compression"],
            "unknown corruption 'jpeg'. Did you mean 'jpeg_compression'?",
        ),
        ("attack", "PGD", ["pgd"], "unknown attack 'PGD'. Did you mean 'pgd'?"),
        ("norm", 2, ["l2", "linf"], "unknown norm 2. Did you mean 'l2'?"),
        ("backbone", "vgg", ["sdnet18", "resnet18"], "unknown backbone 'vgg'. Known: resnet18, sdnet18."),
        ("backbone", "vgg", MANY, "unknown backbone 'vgg'. `sdnet-bench plugins` lists all."),
        ("model", "vgg", MANY, "unknown model 'vgg'. `sdnet-bench models list` lists all."),
        ("backbone", "vgg", [], "unknown backbone 'vgg'. Known: none."),
    ],
)
def test_an_unknown_name_gets_the_nearest_and_the_command_that_lists_all(
    kind: str, name: object, known: list[str], message: str
) -> None:
    assert str(UnknownNameError(kind, name, known)) == message


def test_the_commands_that_list_names_exist() -> None:
    for command in set(errors.LISTS.values()):
        assert CliRunner().invoke(app, [*command.split()[1:], "--help"]).exit_code == 0


def test_a_message_never_has_forty_names() -> None:
    assert str(UnknownNameError("tag", "x", MANY)).count(",") <= errors.MOST_LISTED


def test_a_hint_follows_the_suggestion() -> None:
    error = UnknownNameError("recipe", "sdnet", ["sdnet18"], hint="Or give a file.")
    assert str(error) == "unknown recipe 'sdnet'. Did you mean 'sdnet18'? Or give a file."


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *((name, 1) for name in ("BenchError", "DataError", "ModelError", "RecordError", "TrainingError")),
        *((name, 2) for name in ("UsageError", "UnknownNameError")),
    ],
)
def test_a_wrong_request_exits_with_two_and_a_failed_job_with_one(name: str, status: int) -> None:
    assert getattr(errors, name).exit_status == status


OURS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == errors.__name__
]


def test_every_error_is_drawn_in_the_tree_at_the_top() -> None:
    assert OURS
    assert [error.__name__ for error in OURS if error.__name__ not in (errors.__doc__ or "")] == []


def test_one_except_catches_them_all() -> None:
    assert all(issubclass(error, BenchError) for error in OURS if not issubclass(error, Warning))


def test_control_characters_do_not_reach_the_screen() -> None:
    assert str(BenchError("a\x1b[2Jb\u202ec", got="\x07")) == r"a\x1b[2Jb\u202ec, got \x07"


def test_a_long_input_is_cut() -> None:
    assert len(str(BenchError("too long", got="9" * 1_000_000))) < 2_100
