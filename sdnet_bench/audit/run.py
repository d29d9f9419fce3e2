"""Runs an audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..records import Threat
from ..records.statistics import accuracy, clean_accuracy, in_percent, unbroken
from ..studies.workbench import Workbench
from . import adaptive, determinism, gradients, power, transfer
from .evidence import on_same_network
from .scope import Scope
from .verdict import Accuracies, Audit, Budget, Check, CheckResult

CHECKS: tuple[tuple[Check, Callable[[Scope], CheckResult]], ...] = (
    (transfer.MATCHED, transfer.check_matched),
    (transfer.UNION, transfer.check_union),
    (transfer.ENSEMBLE, transfer.check_ensemble),
    (adaptive.PIPELINE, adaptive.check_pipeline),
    (transfer.ORACLE, transfer.check_oracle),
    (adaptive.BATCHES, adaptive.check_batches),
    (gradients.HEALTH, gradients.check_health),
    (gradients.SURROGATES, gradients.check_surrogates),
    (transfer.PLACEBO, transfer.check_placebos),
    (power.POWER, power.check_power),
    (determinism.STATE, determinism.check_state),
    (transfer.COST, transfer.check_cost),
    (adaptive.STATISTICS, adaptive.check_statistics),
)


def run_audit(bench: Workbench, threat: Threat, budget: Budget, *, others: Sequence[str] = ()) -> Audit:
    """Measures missing cells, makes all checks and returns the audit.

    Args:
        budget: `QUICK`, `FULL`, or another one.
        others: networks of the same data set, by name or path, that also classify transferred images; by default
            the partner of this one (resnet18-digits for sdnet18-digits) where there is one.
    """
    started = time.perf_counter()
    scope = Scope.open(bench, threat, budget, others)
    checks = tuple(ask(scope, question, check) for question, check in CHECKS)
    backbone = bench.model.config.backbone
    options = [f"{name} {value}" for name, value in backbone.options.items() if name not in ("mean", "std")]
    return Audit(
        model=bench.model.name,
        architecture=", ".join([backbone.name, *options]),
        weights=bench.model.weights,
        dataset=bench.dataset.name,
        norm=threat.norm,
        eps=threat.eps,
        images=len(scope.split),
        seed=bench.seed,
        trained_lambda=bench.model.trained_lambda,
        tuned_lambda=scope.tuned,
        usable_lambdas=scope.usable,
        budget=budget,
        accuracies=measure_accuracies(scope),
        checks=checks,
        provenance=scope.runtime.provenance() | {"seconds": round(time.perf_counter() - started, 1)},
    )


def ask(scope: Scope, question: Check, check: Callable[[Scope], CheckResult]) -> CheckResult:
    """The result of one check; "not applicable" where the network lacks what it needs."""
    if question.needs and scope.tuned is None:
        return question.not_applicable("This network has no lambda.")
    if question.needs == "fits" and not scope.rules:
        command = f"sdnet-bench fit-lambda {scope.bench.model.name} --corruption all"
        return question.not_applicable(f"There are no fits of lambda(r): `{command}` makes them.")
    return check(scope)


def measure_accuracies(scope: Scope) -> Accuracies:
    """The accuracies of the network under the attacks on record."""
    (pgd,) = scope.measure([scope.white_box(scope.pgd)], "matched")
    autoattack = transfer.autoattack(scope)
    known = on_same_network(scope.bench.store, pgd.cell)
    return Accuracies(
        clean=clean_accuracy(pgd),
        transfer=None if scope.tuned is None else accuracy(scope.transferred(scope.tuned)),
        pgd=accuracy(pgd),
        autoattack=None if autoattack is None else accuracy(autoattack),
        lowest=in_percent(unbroken(known)),
        attacks=len(known),
    )
