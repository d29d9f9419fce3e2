"""An audit on paper: everything that it found, and nothing that it did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from audits import an_audit, changed

from sdnet_bench.audit import QUICK, Accuracies, CheckResult
from sdnet_bench.audit.render import overview, read_audit, read_audits, to_markdown, write_audit
from sdnet_bench.errors import RecordError
from sdnet_bench.paper.results import Results
from sdnet_bench.report.card import audited, card
from sdnet_bench.studies.workbench import Workbench

CHECKS = (
    CheckResult(
        id="C1", title="One", verdict="fail", says="Too much.", figures={"gap": 34.0}, threshold="Fails above 2."
    ),
    CheckResult(id="C2", title="Two", verdict="warn", says="Not much.", threshold="Warns above 1."),
    CheckResult(id="C11", title="Three", verdict="not applicable", says="It has none.", threshold="Fails below 3."),
)
AUDIT = an_audit(*CHECKS)
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
    assert "on 1,000 validation images; usable (90 % of clean accuracy) are 0.1, 0.2." in head
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
    text = to_markdown(changed(AUDIT, lowest=0.2))
    assert "0.80 %, is not to be relied on" in text
    assert "stands up" not in text


def test_without_autoattack_nothing_stands_up() -> None:
    text = to_markdown(changed(AUDIT, autoattack=None))
    assert "AutoAttack was not run: the 1.40 % under PGD that looks at the network itself are an upper bound" in text
    assert "stands up" not in text


def test_few_images_say_nothing() -> None:
    text = to_markdown(AUDIT.model_copy(update={"images": 99}))
    assert "99 are too few images to say what its robust accuracy is: 100 are the least." in text
    assert "stands up" not in text
    assert "stands up" in to_markdown(AUDIT.model_copy(update={"images": 100}))


def test_accuracies_have_their_intervals() -> None:
    """Four of five hundred images; the interval is Wilson's, by hand."""
    z, n, share = 1.959964, 500, 0.008
    middle, half = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = (100 * (middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    assert f"| AutoAttack | 0.8 [{low:.1f}, {high:.1f}] |" in to_markdown(AUDIT)
    assert f"| AutoAttack | 0.8 [{low:.1f}, {high:.1f}] |" in overview([AUDIT])


def test_a_network_without_lambda_hears_nothing_of_it() -> None:
    text = to_markdown(RESNET)
    assert "**No check failed.**" in text
    assert "in training" not in text
    assert "| AutoAttack" not in text
    assert "The transfer figure" not in text
    assert "AutoAttack was not run: the 0.00 % under PGD" in text


def test_files_are_named_by_the_norm_and_read_back(tmp_path: Path) -> None:
    written = write_audit(tmp_path / "run", AUDIT)
    assert [path.name for path in written] == ["audit-linf.json", "audit-linf.md", "robustbench-linf.json"]
    assert read_audit(written[0]) == AUDIT
    assert written[1].read_text(encoding="utf-8") == to_markdown(AUDIT)
    assert json.loads(written[2].read_text(encoding="utf-8"))["autoattack_acc"] == "0.80"


QUICK_ONE = changed(AUDIT, autoattack=None).model_copy(update={"budget": QUICK, "images": 100})
L2 = AUDIT.model_copy(update={"norm": "l2", "eps": 0.5, "images": 1000})


def test_a_quick_audit_leaves_a_full_one_alone(tmp_path: Path) -> None:
    for audit in (L2, AUDIT, QUICK_ONE):
        written = write_audit(tmp_path, audit)
    names = ["audit-linf-quick.json", "audit-linf-quick.md", "robustbench-linf-quick.json"]
    assert [path.name for path in written] == names
    assert read_audit(written[0]) == QUICK_ONE
    assert read_audits(tmp_path) == [AUDIT, L2]


def test_quick_audits_alone_are_none(tmp_path: Path) -> None:
    write_audit(tmp_path, QUICK_ONE)
    assert read_audits(tmp_path) == []


def lines(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


def test_an_overview_counts_images_and_joins_checks_by_id() -> None:
    fewer = L2.model_copy(update={"checks": (CHECKS[2], CHECKS[0].model_copy(update={"verdict": "pass"}))})
    head, _, *found = lines(overview([AUDIT, fewer]))
    assert head == ["", "linf 8/255, n = 500", "l2 0.5, n = 1,000"]
    assert found[-3:] == [
        ["C1 One", "fail", "pass"],
        ["C2 Two", "warn", "—"],
        ["C11 Three", "not applicable", "not applicable"],
    ]


def test_an_overview_keeps_the_order_of_accuracies() -> None:
    rows = [line[0] for line in lines(overview([RESNET, AUDIT]))[2:7]]
    assert rows == [line[0] for line in lines(overview([AUDIT]))[2:7]]
    assert lines(overview([RESNET, AUDIT]))[5][:2] == ["AutoAttack", "—"]
    assert "AutoAttack" not in overview([RESNET])


def test_a_card_shows_audits_of_its_weights_alone(sdnet: Workbench) -> None:
    folder = sdnet.folder
    write_audit(folder, AUDIT)
    foreign = card(folder, Results.read(folder, folder.parent))
    assert "## Audit" not in foreign
    ours = L2.model_copy(update={"weights": sdnet.model.weights})
    write_audit(folder, ours)
    text = card(folder, Results.read(folder, folder.parent))
    assert audited([ours]).rstrip() in text
    assert "[audit-l2.md](audit-l2.md)" in text
    assert "audit-linf" not in text


def test_what_is_no_audit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "audit-l2.json").write_text('{"model": "m"}', encoding="utf-8")
    with pytest.raises(RecordError, match=r"audit-l2\.json: architecture: field required"):
        read_audit(tmp_path / "audit-l2.json")
    with pytest.raises(RecordError, match="cannot read"):
        read_audit(tmp_path / "audit-linf.json")


def test_a_changed_digit_of_an_audit_is_refused(tmp_path: Path) -> None:
    path = write_audit(tmp_path, AUDIT)[0]
    whole = path.read_text(encoding="utf-8")
    for place in (place for place, char in enumerate(whole) if char.isdigit()):
        path.write_text(f"{whole[:place]}{(int(whole[place]) + 1) % 10}{whole[place + 1 :]}", encoding="utf-8")
        with pytest.raises(RecordError, match=r"audit-linf\.json: .*Run the audit again, or remove it"):
            read_audit(path)


@pytest.mark.parametrize(
    "change",
    [
        *({"accuracies": {"clean": 80, "pgd": 0, "lowest": 0, "attacks": 1} | {"pgd": pgd}} for pgd in (-1, 101)),
        *({name: value} for name, value in {"norm": "l9", "eps": 0, "images": 0}.items()),
    ],
)
def test_an_audit_of_earlier_versions_is_refused_out_of_range(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "audit-linf.json"
    path.write_text(json.dumps(AUDIT.model_dump() | change), encoding="utf-8")
    with pytest.raises(RecordError, match=r"audit-linf\.json"):
        read_audit(path)
