"""An audit on paper: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from ..attacks import show_eps
from ..config import first_fault
from ..errors import RecordError
from ..files import replacing
from ..studies.adversarial import BUDGETS
from ..studies.audit import Audit
from .robustbench import model_info

HEAD = ["check", "verdict", "what was found"]


def to_markdown(audit: Audit) -> str:
    """The threat model, accuracies, a line for every check, and the thresholds."""
    parts = [
        f"# Audit of {audit.model}, {audit.norm} {show_eps(audit.eps)}",
        "\n".join(f"- {line}" for line in _threat_model(audit)),
        _table(["accuracy under", "%"], _accuracies(audit)),
        f"**{_sum(audit)}** {_warrant(audit)}",
        _table(HEAD, [[f"{each.id} {each.title}", each.verdict, each.says] for each in audit.checks]),
        "## Thresholds",
        "\n".join(f"- {check.id} {check.title}: {check.threshold}" for check in audit.checks),
        "A difference that one image makes counts as none. Intervals are Wilson's at 95 %, p is McNemar's.",
    ]
    return "\n\n".join(parts) + "\n"


def overview(audits: Sequence[Audit]) -> str:
    """Audits of one network under several threats, side by side: accuracies (%), then a verdict for each check."""
    found = [dict(_accuracies(audit)) for audit in audits]
    names = dict.fromkeys(name for values in found for name in values)
    lines = [[name, *(values.get(name, "—") for values in found)] for name in names]
    for checks in zip(*(audit.checks for audit in audits), strict=True):
        lines.append([f"{checks[0].id} {checks[0].title}", *(check.verdict for check in checks)])
    return _table(["", *(f"{audit.norm} {show_eps(audit.eps)}" for audit in audits)], lines)


def read_audits(folder: Path) -> list[Audit]:
    """Those that lie in a model's folder, Linf before L2."""
    return [read_audit(path) for path in sorted(folder.glob("audit-*.json"), reverse=True)]


def write_audit(folder: Path, audit: Audit) -> list[Path]:
    """`audit-<norm>.json`, `audit-<norm>.md` and `robustbench-<norm>.json` in a folder."""
    texts = {
        f"audit-{audit.norm}.json": audit.model_dump_json(indent=1) + "\n",
        f"audit-{audit.norm}.md": to_markdown(audit),
        f"robustbench-{audit.norm}.json": json.dumps(model_info(audit), indent=2) + "\n",
    }
    for name, text in texts.items():
        with replacing(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def read_audit(path: Path) -> Audit:
    """An audit from its JSON; a `RecordError` where it is none."""
    try:
        return Audit.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordError(f"{path}: {first_fault(error)}") from None
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error}") from None


def _threat_model(audit: Audit) -> Iterator[str]:
    budget, many = audit.budget, f"{audit.images} images, spread evenly over the test split of {audit.dataset}"
    ball = (
        "every pixel moves by at most" if audit.norm == "linf" else "an image moves by a Euclidean distance of at most"
    )
    yield f"Threat: {ball} {show_eps(audit.eps)} and stays in [0, 1]; {many}, seed {audit.seed}."
    yield "The attacker knows the weights and, unless an attack is called transfer, the lambda that it is scored at."
    if audit.tuned_lambda is not None:
        usable = ", ".join(f"{lambda_:g}" for lambda_ in audit.usable_lambdas)
        yield (
            f"Lambda was {audit.trained_lambda:g} in training. {audit.tuned_lambda:g} stood best against transferred "
            f"PGD on {audit.budget.images} validation images; usable (90 % of clean accuracy) are {usable}."
        )
    yield (
        f"Attacks: PGD with {BUDGETS['pgd'][0]} steps, APGD with {budget.apgd_steps}, Square with {budget.queries:,} "
        f"queries{', AutoAttack (standard)' if audit.accuracies.autoattack is not None else ''}; float32."
    )


def _accuracies(audit: Audit) -> Iterator[list[str]]:
    known = audit.accuracies
    values = {
        "no attack": known.clean,
        "PGD that looks at the lambda of training (transfer)": known.transfer,
        "PGD that looks at the network itself": known.pgd,
        "AutoAttack": known.autoattack,
        "all attacks on record": known.lowest,
    }
    yield from ([name, f"{value:.2f}"] for name, value in values.items() if value is not None)


def _sum(audit: Audit) -> str:
    warned = [check.id for check in audit.checks if check.verdict == "warn"]
    failed = f"Failed: {', '.join(audit.failed)}." if audit.failed else "No check failed."
    return f"{failed} Warnings: {', '.join(warned)}." if warned else failed


def _warrant(audit: Audit) -> str:
    """What the figure is worth that one would quote, and the one that the paper quotes."""
    known = audit.accuracies
    name, quoted = ("PGD", known.pgd) if known.autoattack is None else ("AutoAttack", known.autoattack)
    figure = f"The robust accuracy under {name} that looks at the network itself, {quoted:.2f} %,"
    if audit.unreliable:
        worth = f"{figure} is not to be relied on: other attacks are stronger, or attacks do not work as they should."
    else:
        worth = f"{figure} stands up to the checks."
    misleads = known.transfer is not None and not {"C1", "C3"}.isdisjoint(audit.failed)
    return f"{worth} The transfer figure, {known.transfer:.2f} %, is no robust accuracy." if misleads else worth


def _table(head: Sequence[str], lines: Iterator[list[str]] | Sequence[list[str]]) -> str:
    """A pipe table of text, aligned to the left."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])
