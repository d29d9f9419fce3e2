"""Audits as Markdown and JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import RecordError
from ..files import reading, replacing
from ..records import DEFAULT_EPS, show_eps
from ..records.attack import BUDGETS
from ..records.record import wilson
from ..records.statistics import Value, show
from . import FEWEST, Audit
from .robustbench import model_info

HEAD = ["check", "verdict", "what was found"]
ACCURACIES = {
    "no attack": "clean",
    "PGD that looks at the lambda of training (transfer)": "transfer",
    "PGD that looks at the network itself": "pgd",
    "AutoAttack": "autoattack",
    "all attacks on record": "lowest",
}
"""Descriptions of the fields of `Accuracies`."""


def to_markdown(audit: Audit) -> str:
    """The report of an audit: threat model, accuracies, a line per check, and thresholds."""
    parts = [
        f"# Audit of {audit.model}, {audit.threat}",
        "\n".join(f"- {line}" for line in _threat_model(audit)),
        _table(["accuracy under", "%"], [[name, show(value)] for name, value in _accuracies(audit).items()]),
        f"**{_sum(audit)}** {_warrant(audit)}",
        _table(HEAD, [[f"{each.id} {each.title}", each.verdict, each.says] for each in audit.checks]),
        "## Thresholds",
        "\n".join(f"- {check.id} {check.title}: {check.threshold}" for check in audit.checks),
        "A difference that one image makes counts as none. Intervals are Wilson's at 95 %, p is McNemar's.",
    ]
    return "\n\n".join(parts) + "\n"


def overview(audits: Sequence[Audit]) -> str:
    """A table of audits of one network under several threats: accuracies (%), then the verdict of each check."""
    accuracies = [{name: show(value) for name, value in _accuracies(audit).items()} for audit in audits]
    verdicts = [{check.id: check.verdict for check in audit.checks} for audit in audits]
    titles = {check.id: f"{check.id} {check.title}" for audit in audits for check in audit.checks}
    known = {name: name for name in ACCURACIES if any(name in column for column in accuracies)}
    head = ["", *(f"{audit.threat}, n = {audit.images:,}" for audit in audits)]
    return _table(head, [*_side_by_side(known, accuracies), *_side_by_side(titles, verdicts)])


def _side_by_side(names: Mapping[str, str], columns: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """A line for each key of `names`: the name, and the value of each column, or a dash where it has none."""
    return [[name, *(column.get(key, "—") for column in columns)] for key, name in names.items()]


def read_audits(folder: Path) -> list[Audit]:
    """The full audits in a model's folder, Linf before L2."""
    return [read_audit(path) for norm in DEFAULT_EPS if (path := folder / f"audit-{norm}.json").exists()]


def write_audit(folder: Path, audit: Audit) -> list[Path]:
    """Writes `audit-<name>.json`, `audit-<name>.md` and `robustbench-<name>.json`, and returns their paths."""
    texts = {
        f"audit-{audit.name}.json": audit.model_dump_json(indent=1) + "\n",
        f"audit-{audit.name}.md": to_markdown(audit),
        f"robustbench-{audit.name}.json": json.dumps(model_info(audit), indent=2) + "\n",
    }
    for name, text in texts.items():
        with replacing(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def read_audit(path: Path) -> Audit:
    """Reads an audit from JSON; a `RecordError` where it is not valid."""
    with reading(path, RecordError, hint="Run the audit again, or remove it."):
        return Audit.model_validate_json(path.read_bytes())


def _threat_model(audit: Audit) -> Iterator[str]:
    budget, many = audit.budget, f"{audit.images} images, spread evenly over the test split of {audit.dataset}"
    moved = "every pixel moves by" if audit.norm == "linf" else "an image moves by a Euclidean distance of"
    yield f"Threat: {moved} at most {show_eps(audit.eps)} and stays in [0, 1]; {many}, seed {audit.seed}."
    yield "The attacker knows the weights and, unless an attack is called transfer, the lambda that it is scored at."
    if audit.tuned_lambda is not None:
        usable = ", ".join(f"{lambda_:g}" for lambda_ in audit.usable_lambdas)
        yield (
            f"Lambda was {audit.trained_lambda:g} in training. {audit.tuned_lambda:g} stood best against transferred "
            f"PGD on {audit.budget.tuning:,} validation images; usable (90 % of clean accuracy) are {usable}."
        )
    yield (
        f"Attacks: PGD with {BUDGETS['pgd'][0]} steps, APGD with {budget.apgd_steps}, Square with {budget.queries:,} "
        f"queries{', AutoAttack (standard)' if audit.accuracies.autoattack is not None else ''}; float32."
    )


def _accuracies(audit: Audit) -> dict[str, Value]:
    """The measured accuracies with their intervals, by field of `Accuracies`."""
    values, n = {name: getattr(audit.accuracies, field) for name, field in ACCURACIES.items()}, audit.images
    known = {name: value for name, value in values.items() if value is not None}
    return {name: Value(value, *wilson(round(value * n / 100), n), n) for name, value in known.items()}


def _sum(audit: Audit) -> str:
    warned = [check.id for check in audit.checks if check.verdict == "warn"]
    failed = f"Failed: {', '.join(audit.failed)}." if audit.failed else "No check failed."
    return f"{failed} Warnings: {', '.join(warned)}." if warned else failed


def _warrant(audit: Audit) -> str:
    """Sentences on the reliability of the robust accuracy and of the paper's figure."""
    transfer, worth = audit.accuracies.transfer, _worth(audit)
    misleads = transfer is not None and not {"C1", "C3"}.isdisjoint(audit.failed)
    return f"{worth} The transfer figure, {transfer:.2f} %, is no robust accuracy." if misleads else worth


def _worth(audit: Audit) -> str:
    known = audit.accuracies
    if audit.images < FEWEST:
        return f"{audit.images} are too few images to say what its robust accuracy is: {FEWEST} are the least."
    if known.autoattack is None:
        return (
            f"AutoAttack was not run: the {known.pgd:.2f} % under PGD that looks at the network itself are an upper "
            "bound, and not to be relied on."
        )
    figure = f"The robust accuracy under AutoAttack that looks at the network itself, {known.autoattack:.2f} %,"
    if audit.unreliable:
        return f"{figure} is not to be relied on: other attacks are stronger, or attacks do not work as they should."
    return f"{figure} stands up to the checks."


def _table(head: Sequence[str], lines: Sequence[list[str]]) -> str:
    """A pipe table of text, aligned to the left."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])
