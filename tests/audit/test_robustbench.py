"""The export for RobustBench: its keys and spelling, and no transfer figure where a robust accuracy belongs."""

from __future__ import annotations

import pytest
from audits import an_audit, changed

from sdnet_bench.audit import Audit, CheckResult
from sdnet_bench.audit.robustbench import model_info

REQUIRED = {
    *("link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture"),
    *("eps", "clean_acc", "autoattack_acc", "external", "footnote", "unreliable"),
}
SDNET = an_audit(architecture="sdnet18, width 16")


def failed(*names: str) -> Audit:
    checks = [CheckResult(id=name, title="t", verdict="fail", says="s", threshold="t") for name in names]
    return SDNET.model_copy(update={"checks": tuple(checks)})


def test_all_keys_are_those_of_robustbench() -> None:
    info = model_info(SDNET)
    assert set(info) == REQUIRED
    assert (info["additional_data"], info["number_forward_passes"], info["unreliable"]) == (False, 1, False)


def test_accuracies_are_text_with_two_decimals() -> None:
    info = model_info(SDNET)
    figures = {name: info[name] for name in ("clean_acc", "autoattack_acc", "external")}
    assert figures == {"clean_acc": "49.20", "autoattack_acc": "0.80", "external": "0.80"}


def test_the_transfer_figure_stands_in_the_footnote_alone() -> None:
    info = model_info(SDNET)
    assert "35.40" not in [value for name, value in info.items() if name != "footnote"]
    assert "leaves 35.40 %: a transfer figure, no robust accuracy" in info["footnote"]
    assert "at lambda 1.2, tuned on validation images" in info["footnote"]
    assert "500 test images" in info["footnote"]


def test_without_autoattack_there_is_no_such_figure() -> None:
    info = model_info(changed(SDNET, autoattack=None))
    assert set(info) == REQUIRED - {"autoattack_acc"}
    assert info["unreliable"] is True
    assert "AutoAttack was not run." in info["footnote"]


@pytest.mark.parametrize(
    ("audit", "unreliable"),
    [
        (failed("C1", "C9"), False),
        (failed("C7"), True),
        (failed("C11"), True),
        (changed(SDNET, lowest=0.2), True),
        (changed(SDNET, lowest=0.6), False),
        (SDNET.model_copy(update={"images": 99}), True),
    ],
)
def test_unreliable_is_what_the_audit_says(audit: Audit, unreliable: bool) -> None:
    info = model_info(audit)
    assert info["unreliable"] is unreliable
    assert all(name in info["footnote"] for name in audit.failed)


def test_weights_are_our_own_and_an_sdnet_names_the_paper_of_its_architecture() -> None:
    info = model_info(SDNET)
    assert (info["link"], info["name"], info["authors"], info["venue"]) == ("", "sdnet18-x", "", "N/A")
    assert "Architecture of Dai et al., NeurIPS 2022, https://arxiv.org/abs/2210.12945;" in info["footnote"]
    bare = {"trained_lambda": None, "tuned_lambda": None, "usable_lambdas": (), "architecture": "resnet18"}
    info = model_info(changed(SDNET, transfer=None).model_copy(update={**bare, "model": "resnet18-x"}))
    assert (info["link"], info["name"], info["authors"], info["venue"]) == ("", "resnet18-x", "", "N/A")
    assert "lambda" not in info["footnote"]
    assert "Dai et al." not in info["footnote"]


@pytest.mark.parametrize(("norm", "eps", "said"), [("linf", 8 / 255, "Linf, eps 8/255."), ("l2", 0.5, "L2, eps 0.5.")])
def test_the_footnote_names_the_threat(norm: str, eps: float, said: str) -> None:
    assert f"Threat model: {said}" in model_info(SDNET.model_copy(update={"norm": norm, "eps": eps}))["footnote"]


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        ("sdnet18, width 16", "SDNet-18, width 16"),
        ("resnet34", "ResNet-34"),
        ("sdnet18_all", "SDNet-18_all"),
        ("mine, depth 3", "mine, depth 3"),
        ("MyNet", "MyNet"),
    ],
)
def test_architectures_are_spelt_as_papers_do(architecture: str, text: str) -> None:
    assert model_info(SDNET.model_copy(update={"architecture": architecture}))["architecture"] == text
