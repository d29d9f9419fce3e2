"""`sdnet-bench audit` from end to end on the small networks: what it prints, writes and returns.

Its JSON, `--eps` and `--seed` are those of tests/api/test_two_doors.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from audits import an_audit
from typer.testing import CliRunner, Result

from sdnet_bench.api import bench as door
from sdnet_bench.audit import Audit, Budget, CheckResult
from sdnet_bench.audit.render import read_audit, to_markdown
from sdnet_bench.cli.app import app
from sdnet_bench.config import Verdict
from sdnet_bench.errors import BenchError
from sdnet_bench.records import Threat
from sdnet_bench.studies.workbench import Workbench

SMALL = ["--quick", "--limit", "6", "--device", "cpu"]


@pytest.fixture
def at(at: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs beside which commands run, and budgets for networks of seconds."""
    few = {"tuning": 6, "apgd_steps": 2, "queries": 10}
    monkeypatch.setattr(door, "QUICK", door.QUICK.model_copy(update=few))
    return at / "runs"


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["audit", *words])


def test_an_audit_is_printed_and_leaves_its_files(at: Path) -> None:
    result = call("resnet18-tiny", "--norm", "l2", *SMALL)
    folder = at / "resnet18-tiny"
    audit = read_audit(folder / "audit-l2-quick.json")
    assert result.stdout == to_markdown(audit) == (folder / "audit-l2-quick.md").read_text(encoding="utf-8")
    assert (audit.norm, audit.eps, audit.images, len(audit.checks)) == ("l2", 0.5, 6, 13)
    assert json.loads((folder / "robustbench-l2-quick.json").read_text(encoding="utf-8"))["dataset"] == "digits"
    assert bool(result.exception) is bool(audit.failed)
    assert (folder / "results.json").exists()  # published, like all that is measured


def given(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> dict[str, Any]:
    """An audit that comes to this verdict; what it was asked for is found in the answer."""
    asked: dict[str, Any] = {}

    def run(bench: Workbench, threat: Threat, budget: Budget, others: Sequence[str] = ()) -> Audit:
        asked.update(threat=threat, budget=budget, others=others)
        check = CheckResult(id="C12", title="t", verdict=verdict, says="s", threshold="t")
        known = {"model": bench.model.name, "weights": bench.model.weights, "budget": budget}
        return an_audit(check, norm=threat.norm, eps=threat.eps, **known)

    monkeypatch.setattr(door, "run_audit", run)
    return asked


@pytest.mark.parametrize("verdict", ["pass", "warn", "not applicable"])
def test_without_a_failure_the_exit_status_is_0(at: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    given(monkeypatch, verdict)
    result = call("resnet18-tiny", *SMALL)
    assert (result.exit_code, result.exception) == (0, None)


def test_a_failure_is_printed_written_and_raised(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, "fail")
    result = call("resnet18-tiny", *SMALL)
    assert isinstance(result.exception, BenchError)
    assert result.exception.exit_status == 1
    assert str(result.exception) == "the audit of resnet18-tiny failed C12"
    assert "**Failed: C12.**" in result.stdout
    assert read_audit(at / "resnet18-tiny" / "audit-linf-quick.json").failed == ["C12"]


@pytest.mark.parametrize(
    ("words", "images", "autoattack"), [([], 500, True), (["--quick"], 100, False), (["--limit", "7"], 7, True)]
)
def test_budgets_go_by_name(
    at: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], images: int, autoattack: bool
) -> None:
    asked = given(monkeypatch, "pass")
    call("resnet18-tiny", "--norm", "l2", "--device", "cpu", *words)
    assert (asked["budget"].images, asked["budget"].autoattack) == (images, autoattack)
    assert (asked["threat"], asked["others"]) == (Threat("l2", 0.5), [])


def test_other_networks_may_be_several(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = given(monkeypatch, "pass")
    call("resnet18-tiny", "--other", "sdnet18-tiny", "--other", "sdnet18-digits", *SMALL)
    assert asked["others"] == ["sdnet18-tiny", "sdnet18-digits"]
