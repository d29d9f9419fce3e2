"""Inference that adapts to its images: lambda from the residual (C4 and C6), and statistics of a batch (C13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..adaptations import Chain, chain_of
from ..attacks.finite import logits_of
from ..csc import residuals
from ..engine.batches import BATCH_SIZE
from ..engine.evaluate import is_correct
from ..records import UNKNOWN, AdaptationSetting, Record
from ..records.lambda_fit import LambdaFit
from ..records.statistics import accuracy, in_percent, unbroken
from ..studies.algorithm1 import require_fits
from ..studies.protocols import adaptive_cells
from .evidence import exceeds
from .scope import Scope
from .transfer import GAP
from .verdict import Check, CheckResult

PIPELINE = Check(
    "C4",
    "An attack through the choice of lambda",
    f"Fails where it takes more than {GAP:g} points off the transfer figure.",
    needs="fits",
)
BATCHES = Check(
    "C6",
    "Lambda from the residuals of a batch",
    f"Warns where accuracy on the adversarial images depends on their company by more than {GAP:g} points.",
    needs="fits",
)
STATISTICS = Check(
    "C13",
    "Adaptation to a batch",
    f"Warns where accuracy on the adversarial images depends on their company by more than {GAP:g} points.",
)
WINDOW = 32
"""Number of images of a batch that decides lambda, or that is adapted to."""


def check_pipeline(scope: Scope) -> CheckResult:
    """C4: an attack through r(x), lambda(r) and the network to the logits."""
    detached, attached = scope.measure(adaptive_cells(scope.bench, scope.pgd, scope.images), "adaptive")
    return judge_pipeline(scope.transferred(rule=detached.inference.rule), detached, attached)


def judge_pipeline(transfer: Record, detached: Record, attached: Record) -> CheckResult:
    """The result of C4 from PGD at lambda_0, and PGD through the rule without and with its gradient, all scored with
    the rule."""
    worst = min(accuracy(detached), accuracy(attached))
    gap = accuracy(transfer) - worst
    says = (
        f"With a lambda for each image by its residual it keeps {accuracy(transfer):.1f} % of transferred images, "
        f"{accuracy(detached):.1f} % when the attack follows lambda step by step and {accuracy(attached):.1f} % when "
        f"it also differentiates through the choice: {gap:.1f} points less."
    )
    figures = {
        "transfer": accuracy(transfer),
        "detached": accuracy(detached),
        "attached": accuracy(attached),
        "union": in_percent(unbroken([detached, attached])),
        "gap": gap,
        "images": transfer.n,
    }
    return PIPELINE.answer("fail" if exceeds(gap, GAP, transfer.n) else "pass", says, figures)


@dataclass(frozen=True, eq=False)
class MeasuredResiduals:
    """Adversarial images made at lambda_0, and the residuals of clean and adversarial images."""

    batches: list[tuple[Tensor, Tensor]]
    """Adversarial images `(N, 3, H, W)` in [0, 1] and labels `(N,)`."""
    clean: Tensor
    """`(n,)`: residuals of the clean images, of the fit's kind."""
    adversarial: Tensor
    """`(n,)`: residuals of the adversarial images, of the fit's kind."""


def check_batches(scope: Scope) -> CheckResult:
    """C6: lambda by the mean residual of a batch; measured without records."""
    fit = require_fits(scope.bench, [UNKNOWN])[0]
    measured = _measure_residuals(scope, fit)
    choices = {name: (fit.slope * r + fit.intercept).clamp_min(0) for name, r in mean_residuals(measured).items()}
    accuracies = {name: _accuracy(scope, measured, lambdas) for name, lambdas in choices.items()}
    means = {name: float(lambdas.mean()) for name, lambdas in choices.items()}
    return judge_batches(accuracies, means, len(measured.adversarial))


def judge_batches(accuracies: Mapping[str, float], lambdas: Mapping[str, float], n: int) -> CheckResult:
    """The result of C6 from accuracy (%) on n adversarial images and the mean lambda, by kind of batch."""
    spread = max(accuracies.values()) - min(accuracies.values())
    found = ", ".join(f"{accuracies[name]:.1f} % {name} (lambda {lambdas[name]:.2g})" for name in accuracies)
    says = (
        f"Of transferred images it keeps {found}: who else is in the batch makes a difference of {spread:.1f} points."
    )
    figures = {f"accuracy {name}": value for name, value in accuracies.items()}
    figures |= {f"lambda {name}": value for name, value in lambdas.items()} | {"spread": spread, "images": n}
    return BATCHES.answer("warn" if exceeds(spread, GAP, n) else "pass", says, figures)


def check_statistics(scope: Scope) -> CheckResult:
    """C13: adaptations to batches under which the network was evaluated; measured without records."""
    settings = (record.inference.adaptation for record in scope.bench.store)
    names = sorted({setting.name for setting in settings if setting and setting.batch_size})
    if not names:
        return STATISTICS.not_applicable("This network was not evaluated under an adaptation to batches.")
    batches = list(scope.split.batches(WINDOW, scope.runtime.device))
    pairs = [(scope.attacked(batch), scope.runtime.to_pixels(batch.images), batch.labels) for batch in batches]
    kept = {name: _kept(scope, chain_of(AdaptationSetting(name=name)), pairs) for name in names}
    return judge_statistics(kept, len(scope.split))


def judge_statistics(kept: Mapping[str, Mapping[str, float]], n: int) -> CheckResult:
    """The result of C13 from accuracy (%) on n adversarial images, by adaptation and company."""
    spreads = {name: max(by.values()) - min(by.values()) for name, by in kept.items()}
    found = "; ".join(
        f"{name} keeps {', '.join(f'{value:.1f} % {company}' for company, value in by.items())}"
        for name, by in kept.items()
    )
    spread = max(spreads.values())
    says = (
        f"Of images made on the network as trained {found}: who else is in the batch makes a difference of "
        f"{spread:.1f} points. An adaptation is no defence: the attack did not go through it."
    )
    figures = {f"{name} {company}": value for name, by in kept.items() for company, value in by.items()}
    figures |= {"spread": spread, "images": n}
    return STATISTICS.answer("warn" if exceeds(spread, GAP, n) else "pass", says, figures)


@torch.no_grad()
def _kept(scope: Scope, adapt: Chain, pairs: Sequence[tuple[Tensor, Tensor, Tensor]]) -> dict[str, float]:
    """Accuracy (%) on adversarial images, among themselves and beside their clean originals."""
    net, kept = scope.bench.model.net, {}
    for company, is_mixed in ((f"in batches of {WINDOW}", False), ("among as many clean ones", True)):
        with adapt(net, partial(logits_of, net)) as classify:
            seen = [classify(torch.cat([images, clean]) if is_mixed else images) for images, clean, _ in pairs]
        right = [logits[: len(labels)].argmax(1) == labels for logits, (_, _, labels) in zip(seen, pairs, strict=True)]
        kept[company] = in_percent(torch.cat(right).cpu().numpy())
    return kept


def mean_residuals(measured: MeasuredResiduals) -> dict[str, Tensor]:
    """The mean residual `(n,)` that decides lambda for each adversarial image, by kind of batch."""
    theirs = measured.adversarial
    return {
        "alone": theirs,
        f"in batches of {WINDOW}": torch.cat([part.mean().expand(len(part)) for part in torch.split(theirs, WINDOW)]),
        "all at once": theirs.mean().expand(len(theirs)),
        "among as many clean ones": torch.cat([theirs, measured.clean]).mean().expand(len(theirs)),
    }


def _measure_residuals(scope: Scope, fit: LambdaFit) -> MeasuredResiduals:
    batches = list(scope.split.batches(BATCH_SIZE, scope.runtime.device))
    attacked = [(scope.attacked(batch), batch.labels) for batch in batches]
    clean = [_residuals(scope, scope.runtime.to_pixels(batch.images), fit) for batch in batches]
    adversarial = [_residuals(scope, pixels, fit) for pixels, _ in attacked]
    return MeasuredResiduals(attacked, torch.cat(clean), torch.cat(adversarial))


@torch.no_grad()
def _residuals(scope: Scope, pixels: Tensor, fit: LambdaFit) -> Tensor:
    with residuals(scope.bench.model.net) as meter:
        scope.bench.model.net(pixels)
    return meter.per_image() ** 2 if fit.residual == "squared" else meter.per_image()


@torch.no_grad()
def _accuracy(scope: Scope, measured: MeasuredResiduals, lambdas: Tensor) -> float:
    chosen = torch.split(lambdas, [len(labels) for _, labels in measured.batches])
    correct = [
        is_correct(scope.bench.model.net, pixels, labels, part, scope.runtime)
        for (pixels, labels), part in zip(measured.batches, chosen, strict=True)
    ]
    return in_percent(torch.cat(correct).cpu().numpy())
