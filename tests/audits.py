"""Audits that were made up."""

from __future__ import annotations

from typing import Any

from sdnet_bench.audit import FULL, Accuracies, Audit, CheckResult


def an_audit(*checks: CheckResult, **facts: Any) -> Audit:
    """Of an SDNet-18 with a tuned lambda, of which little is left under attack."""
    known: dict[str, Any] = {
        "model": "sdnet18-x",
        "architecture": "sdnet18",
        "weights": "0123456789abcdef",
        "dataset": "cifar10",
        "norm": "linf",
        "eps": 8 / 255,
        "images": 500,
        "seed": 3,
        "trained_lambda": 0.1,
        "tuned_lambda": 1.2,
        "usable_lambdas": (0.1, 0.2),
        "budget": FULL,
        "accuracies": Accuracies(clean=49.2, transfer=35.4, pgd=1.4, autoattack=0.8, lowest=0.8, attacks=17),
        "provenance": {"device": "cpu"},
    }
    return Audit.model_validate(known | {"checks": checks} | facts)


def changed(audit: Audit, **accuracies: Any) -> Audit:
    """With other accuracies."""
    return audit.model_copy(update={"accuracies": audit.accuracies.model_copy(update=accuracies)})
