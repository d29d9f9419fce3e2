"""The leaderboard of a page: models by clean, noisy and robust accuracy, and what audits say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..audit import Audit
from ..audit.render import read_audits
from ..paper.results import Results
from ..paper.robustness import THREATS, Robustness
from ..records import NOISES
from ..records.statistics import Value, show
from .commands import audit_command
from .evidence import Figure, Ledger

CHOICES = {"given": "as trained", "adaptive": "Algorithm 1", "control": "best control"}
"""Accuracies under noise: at lambda_0, at the lambda of Algorithm 1, and at lambda_0 under the best adaptation."""
VERDICTS = {"pass": "✓", "warn": "!", "fail": "✗", "not applicable": "·"}


@dataclass(frozen=True)
class Standing:
    """The line of a model."""

    name: str
    backbone: str
    dataset: str
    conditions: str
    clean: Figure
    noisy: dict[str, dict[str, Figure]]
    """By choice and noise."""
    robust: dict[str, Figure]
    """By threat."""
    audits: tuple[Figure, ...]


def leaderboard(results: Sequence[Results], ledger: Ledger) -> list[Standing]:
    """The models by their clean accuracy."""
    standings = [_standing(result, ledger) for result in results]
    return sorted(standings, key=lambda each: each.clean.value or -1, reverse=True)


def _standing(result: Results, ledger: Ledger) -> Standing:
    trained = result.trained_lambda
    noisy = {choice: {noise: _noisy(result, choice, noise, ledger) for noise in NOISES} for choice in CHOICES}
    return Standing(
        name=result.name,
        backbone=result.config.backbone.architecture,
        dataset=result.config.dataset,
        conditions=result.conditions(),
        clean=ledger.figure(f"{result.name}, clean accuracy (%)", result.clean(), trained),
        noisy=noisy,
        robust={name: _robust(result, result.robustness.get(threat), ledger) for name, threat in THREATS.items()},
        audits=tuple(_audited(audit, ledger) for audit in audits_of(result)),
    )


def _noisy(result: Results, choice: str, noise: str, ledger: Ledger) -> Figure:
    """Mean accuracy over the severities of a noise."""
    name, value, note = CHOICES[choice], result.mean(noise, adaptive=choice == "adaptive"), ""
    if choice == "control":
        note, value = max(_controls(result, noise), key=lambda control: control[1].value, default=("", None))
    title = f"{result.name}, accuracy (%) under {noise} noise, {name}, mean of severities 1 to 5"
    return ledger.figure(title, value, result.trained_lambda, note=re.sub(r":[^,\s]*", "", note))


def _controls(result: Results, noise: str) -> Iterator[tuple[str, Value]]:
    """The adaptations on record under all severities of a noise."""
    for setting in dict.fromkeys(record.inference.adaptation for record in result.records):
        value = result.under(setting).mean(noise) if setting and setting.order != "sorted" else None
        if setting and value:
            yield str(setting), value


def _robust(result: Results, robustness: Robustness | None, ledger: Ledger) -> Figure:
    """Accuracy under all attacks on record, at the tuned lambda where there is one."""
    if robustness is None:
        return Figure("—")
    choice = "tuned" if "tuned" in robustness.classifiers else "trained"
    at = robustness.classifiers[choice]
    clean = robustness.value("clean", choice)
    note = f"λ = {at:g}, {choice}" if isinstance(at, float) else ""
    title = f"{result.name}, accuracy (%) under all attacks on record, {robustness.attack.threat}"
    extra = {"attacks": robustness.members(at), "clean, same images": show(clean)}
    return ledger.figure(title, robustness.value("union", choice), result.trained_lambda, note=note, extra=extra)


def audits_of(result: Results) -> list[Audit]:
    """The audits of these weights, those of the run before those that came with the model."""
    found = [audit for folder in result.folders for audit in read_audits(folder)]
    return list({audit.norm: audit for audit in found if audit.weights == result.config.weights_sha256}.values())


def _audited(audit: Audit, ledger: Ledger) -> Figure:
    """The verdict of an audit; its evidence is what each check found."""
    checks = {
        f"{each.id} {each.title}": f"{VERDICTS[each.verdict]} {each.verdict}: {each.says}" for each in audit.checks
    }
    worth = f"the figure is {'unreliable' if audit.unreliable else 'reliable'}"
    text = f"{len(audit.failed)} of {len(audit.checks)} failed" if audit.failed else "none failed"
    said = f"{', '.join(audit.failed)}; {worth}" if audit.failed else worth
    command = f"sdnet-bench {audit_command(audit.model, audit)}"
    made = {name: str(value) for name, value in audit.provenance.items() if name in ("device", "torch", "time")}
    title = f"Audit of the robust accuracy of {audit.model}, {audit.threat}"
    at = ledger.add(title, f"{text}; {said}", made, [command], checks)
    within = False if audit.unreliable else None if audit.failed else True
    return Figure(text, said, -len(audit.failed), at, audit.norm, within=within)
