"""What `doctor` finds on this machine, and what it finds wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import sdnet_bench
from sdnet_bench.api.doctor import Diagnosis
from sdnet_bench.cli.app import app
from sdnet_bench.conformance import Finding
from sdnet_bench.csc import solvers
from sdnet_bench.errors import BenchError
from sdnet_bench.version import __version__


def found(diagnosis: Diagnosis) -> dict[str, Finding]:
    return {f"{finding.kind} {finding.check}": finding for finding in diagnosis}


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    diagnosis = sdnet_bench.doctor(data_dir=tmp_path / "data", runs_dir=tmp_path)
    assert (diagnosis.failed, list(tmp_path.iterdir())) == ([], [])
    assert torch.equal(torch.random.get_rng_state(), before)
    each = found(diagnosis)
    assert each["version sdnet-bench"].says.startswith(__version__)
    assert "codes within 0e+00 of float64" in each["device cpu float32"].says
    assert each["device cpu tf32"].verdict == "not applicable"
    assert each["data digits"].says == "360 test images of 10 classes"
    assert each["data cifar10"] == Finding(
        kind="data", check="cifar10", verdict="not applicable", says=f"not in {tmp_path / 'data'}"
    )
    assert {name for name in each if name.startswith("self-test")} == {
        f"self-test {check}" for check in ("CSC-layer", "corruptions", "model")
    }
    assert str(diagnosis).splitlines()[0].split() == ["kind", "check", "verdict", "says"]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


def test_a_layer_that_computes_something_else_fails_with_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descend = solvers.Lasso.descend
    monkeypatch.setattr(solvers.Lasso, "descend", lambda problem, point: descend(problem, point) + 2**-19)
    result = run("--data-dir", str(tmp_path), "--runs-dir", str(tmp_path), "--json")
    failed = [row for row in json.loads(result.stdout) if row["verdict"] == "fail"]
    assert [row["check"] for row in failed] == ["CSC-layer"]
    expected, _, got = failed[0]["says"].partition(", got ")
    assert expected == "expected 524288 codes, 442352 zeros, sum 1323113344"
    assert got.startswith("524288 codes, 0 zeros, sum ")
    assert isinstance(result.exception, BenchError)
    assert result.exception.exit_status == 1
    assert str(result.exception).startswith("this machine failed 1 of ")


def test_folders_are_those_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_BENCH_DATA", str(tmp_path / "images"))
    monkeypatch.setenv("SDNET_BENCH_RUNS", str(tmp_path / "measured"))
    says = [finding.says for finding in sdnet_bench.doctor() if finding.kind == "disk"]
    assert [line.split(":")[0] for line in says] == [str(tmp_path / "images"), str(tmp_path / "measured")]


def test_damaged_data_and_a_locked_folder_fail_in_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"no pickle")
    (tmp_path / "CIFAR-10-C").mkdir()
    (tmp_path / "CIFAR-10-C" / "gaussian_noise.npy").touch()
    result = run("--data-dir", str(tmp_path), "--runs-dir", "/proc/runs")
    lines = {line.split()[2]: " ".join(line.split()) for line in result.stdout.splitlines()}
    assert lines["cifar10"].startswith("fail data cifar10 DataError: ")
    assert "1 of 20 files; `sdnet-bench data verify CIFAR-10-C` reads them" in lines["CIFAR-10-C"]
    assert lines["runs"].startswith("fail disk runs /proc is not writable: ")
    assert str(result.exception).endswith(": cifar10, runs")
