"""`sdnet-bench plugins`: what there is, and whether it keeps its contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sdnet_bench.api.screen import Screen
from sdnet_bench.cli.app import app
from sdnet_bench.data import CORRUPTIONS, Corruption
from sdnet_bench.errors import BenchError
from sdnet_bench.version import __version__


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["plugins", *words])


def test_the_list_is_a_table_or_json() -> None:
    parts = json.loads(run("--json").stdout)
    assert {part["kind"] for part in parts} == {"adaptation", "attack", "backbone", "corruption", "dataset"}
    (gaussian,) = [part for part in parts if part["name"] == "gaussian"]
    assert (gaussian["distribution"], gaussian["version"], gaussian["state"]) == ("sdnet-bench", __version__, "ok")
    head, *lines = run().stdout.splitlines()
    assert head.split() == ["name", "kind", "distribution", "version", "state"]
    assert len(lines) == len(parts)


def test_check_prints_a_line_for_each_check() -> None:
    result = run("check", "gaussian")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    says = "five levels, of finite numbers, for each family of archives"
    assert lines[0].split(maxsplit=3) == ["pass", "corruption", "severities", says]
    assert len(lines) == len(json.loads(run("check", "gaussian", "--json").stdout))


def test_check_fails_where_a_check_does(register_part: Any) -> None:
    register_part(CORRUPTIONS, "empty", Corruption("empty", lambda *_: None, {}))  # type: ignore[arg-type, return-value]
    result = run("check", "empty", "--json")
    assert [row["verdict"] for row in json.loads(result.stdout)] == ["fail", "pass"]
    assert isinstance(result.exception, BenchError)
    assert result.exception.exit_status == 1
    assert str(result.exception) == "empty failed 1 of 2 checks: severities"


def test_check_looks_for_data_where_it_is_told_to(tmp_path: Path) -> None:
    result = run("check", "imagefolder", "--data-dir", str(tmp_path))
    assert f"no image folder at {tmp_path}" in result.stdout
    assert isinstance(result.exception, BenchError)


def test_check_knows_somebody_elses_networks_and_shows_images_of_the_size_it_is_told() -> None:
    result = run("check", "torchvision:squeezenet1_1", "--size", "32")
    assert {line.split()[0] for line in result.stdout.splitlines()} == {"pass"}
    result = run("check", "torchvision:squeezenet1_1", "--size", "8")
    assert isinstance(result.exception, BenchError)
    assert "failed 1 of 3 checks: logits" in str(result.exception)


def test_other_processes_do_not_repeat_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sdnet_bench.api.screen.IS_FIRST", False)
    Screen().warn("attack 'x' of y is left out: z")
    assert capsys.readouterr().err == ""
