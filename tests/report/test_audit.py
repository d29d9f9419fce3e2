"""An audit on paper: everything that it found, and nothing that it did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdnet_bench.errors import RecordError
from sdnet_bench.report.audit import read_audit, to_markdown, write_audit
from sdnet_bench.studies.audit import FULL, Accuracies, Audit, Check

CHECKS = (
    Check(id="C1", title="One", verdict="fail", says="Too much.", figures={"gap": 34.0}, threshold="Fails above 2."),
    Check(id="C2", title="Two", verdict="warn", says="Not much.", threshold="Warns above 1."),
    Check(id="C11", title="Three", verdict="not applicable", says="It has none.", threshold="Fails below 3."),
)
AUDIT = Audit(
    model="sdnet18-x",
    architecture="sdnet18",
    weights="0123456789abcdef",
    dataset="cifar10",
    norm="linf",
    eps=8 / 255,
    images=500,
    seed=3,
    trained_lambda=0.1,
    tuned_lambda=1.2,
    usable_lambdas=(0.1, 0.2),
    budget=FULL,
    accuracies=Accuracies(clean=49.2, transfer=35.4, pgd=1.4, autoattack=0.8, lowest=0.8, attacks=17),
    checks=CHECKS,
    provenance={"device": "cpu"},
)
RESNET = AUDIT.model_copy(
    update={
        "trained_lambda": None,
        "tuned_lambda": None,
        "usable_lambdas": (),
        "accuracies": Accuracies(clean=80, transfer=None, pgd=0, autoattack=None, lowest=0, attacks=9),
        "checks": CHECKS[2:],
    }
)


def test_the_threat_model_comes_first() -> None:
    head = to_markdown(AUDIT).split("\n|")[0]
    assert head.startswith("# Audit of sdnet18-x, linf 8/255\n")
    for said in ("at most 8/255", "500 images", "test split of cifar10", "seed 3", "The attacker knows the weights"):
        assert said in head
    assert "Lambda was 0.1 in training. 1.2 stood best" in head
    assert "on 500 validation images; usable (90 % of clean accuracy) are 0.1, 0.2." in head
    assert "Square with 1,000 queries, AutoAttack (standard)" in head


def test_every_check_is_a_line_and_has_its_threshold() -> None:
    text = to_markdown(AUDIT)
    for check in CHECKS:
        assert f"| {check.id} {check.title} | {check.verdict} | {check.says} |" in text
        assert f"- {check.id} {check.title}: {check.threshold}" in text


def test_failures_and_warnings_are_named_and_the_transfer_figure_is_called_what_it_is() -> None:
    text = to_markdown(AUDIT)
    assert "**Failed: C1. Warnings: C2.**" in text
    assert "AutoAttack that looks at the network itself, 0.80 %, stands up to the checks." in text
    assert "The transfer figure, 35.40 %, is no robust accuracy." in text


def test_an_unreliable_figure_is_not_praised() -> None:
    lower = AUDIT.accuracies.model_copy(update={"lowest": 0.2})
    text = to_markdown(AUDIT.model_copy(update={"accuracies": lower}))
    assert "0.80 %, is not to be relied on" in text
    assert "stands up" not in text


def test_a_network_without_lambda_hears_nothing_of_it() -> None:
    text = to_markdown(RESNET)
    assert "**No check failed.**" in text
    assert "in training" not in text
    assert "| AutoAttack" not in text
    assert "The transfer figure" not in text
    assert "PGD that looks at the network itself, 0.00 %, stands up" in text


def test_files_are_named_by_the_norm_and_read_back(tmp_path: Path) -> None:
    written = write_audit(tmp_path / "run", AUDIT)
    assert [path.name for path in written] == ["audit-linf.json", "audit-linf.md", "robustbench-linf.json"]
    assert read_audit(written[0]) == AUDIT
    assert written[1].read_text(encoding="utf-8") == to_markdown(AUDIT)
    assert json.loads(written[2].read_text(encoding="utf-8"))["autoattack_acc"] == "0.80"


def test_what_is_no_audit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "audit-l2.json").write_text('{"model": "m"}', encoding="utf-8")
    with pytest.raises(RecordError, match=r"audit-l2\.json: architecture: field required"):
        read_audit(tmp_path / "audit-l2.json")
    with pytest.raises(RecordError, match="cannot read"):
        read_audit(tmp_path / "audit-linf.json")
