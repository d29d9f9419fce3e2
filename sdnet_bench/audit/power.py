"""Whether the attack is strong enough: C10, by the checklist of Carlini et al. (2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config import Verdict
from ..records import AttackSetting, Record, widening
from ..records.record import wilson
from ..records.statistics import accuracy, in_percent, unbroken
from ..studies.protocols import attack_setting
from .evidence import exceeds
from .scope import Scope
from .transfer import autoattack, union_attacks
from .verdict import BLACK_BOX, Check, CheckResult

CONVERGED = 0.5
"""Points that more steps or more restarts may gain, and that noise may be stronger."""
RISE = 1.0
"""Points that accuracy may rise with the radius."""
RESTARTS = 5

POWER = Check(
    "C10",
    "Power of the attack",
    f"Fails where accuracy rises with eps by more than {RISE:g} point or does not reach chance, where Square breaks "
    f"more than {BLACK_BOX:g} % of the images that no white-box attack does, or where noise is stronger than PGD by "
    f"more than {CONVERGED:g} points. Warns where more steps or restarts gain more than {CONVERGED:g} points: that is "
    "the budget's fault and not the network's.",
)


@dataclass(frozen=True)
class Runs:
    """Attacks on the same images at the same lambda."""

    pgd: Record
    harder: Mapping[str, Record]
    """PGD with larger budgets, by description."""
    radii: Mapping[float, Record]
    """PGD by eps, ascending; eps in pixels of [0, 1]."""
    white_box: Sequence[Record]
    square: Record
    noise: Record
    autoattack: Record | None = None


@dataclass(frozen=True)
class Part:
    """The result of one part of C10."""

    figures: dict[str, float]
    says: str
    fault: str | None
    """The fault in words; None where there is none."""


def check_power(scope: Scope) -> CheckResult:
    """C10: the attack with larger and smaller budgets and radii, and attacks without gradients."""
    attacks, harder = union_attacks(scope), _harder(scope)
    radii = [attack_setting(threat) for threat in widening(scope.threat)]
    settings = [*harder.values(), *radii, attack_setting(scope.threat, name="noise")]
    *records, noise = scope.measure([scope.white_box(setting) for setting in settings], "power")
    runs = Runs(
        pgd=attacks["pgd"],
        harder=dict(zip(harder, records[: len(harder)], strict=True)),
        radii={setting.eps: record for setting, record in zip(radii, records[len(harder) :], strict=True)},
        white_box=[record for name, record in attacks.items() if name != "square"],
        square=attacks["square"],
        noise=noise,
        autoattack=autoattack(scope),
    )
    return judge_power(runs, scope.bench.dataset.num_classes)


def _harder(scope: Scope) -> dict[str, AttackSetting]:
    threat, steps, factors = scope.threat, scope.pgd.steps, scope.budget.step_factors
    longer = {f"{factor} x the steps": attack_setting(threat, factor * steps) for factor in factors}
    return longer | {f"{RESTARTS} restarts": attack_setting(threat, restarts=RESTARTS)}


def judge_power(runs: Runs, num_classes: int) -> CheckResult:
    """The result of C10. Faults with more steps or restarts mean that PGD is weak; others that gradients mislead."""
    signs = [_falling(runs.radii, num_classes), _black_box(runs), _beats_noise(runs.pgd, runs.noise)]
    parts = [_converged(runs.pgd, runs.harder), *signs]
    figures = {name: value for part in parts for name, value in part.figures.items()} | {"images": runs.pgd.n}
    faults, masking = [part for part in parts if part.fault], any(part.fault for part in signs)
    if not faults:
        return POWER.answer("pass", f"{'; '.join(part.says for part in parts)}.", figures)
    verdict: Verdict = "fail" if masking else "warn"
    return POWER.answer(verdict, " ".join(f"{part.fault}: {part.says}." for part in faults), figures, masking=masking)


def _converged(pgd: Record, harder: Mapping[str, Record]) -> Part:
    gains = {name: accuracy(pgd) - accuracy(record) for name, record in harder.items()}
    best = max(gains, key=lambda name: gains[name])
    figures = {"pgd": accuracy(pgd)} | {f"gain of {name}": gain for name, gain in gains.items()}
    says = f"PGD leaves {accuracy(pgd):.1f} %, with {best} {accuracy(harder[best]):.1f} %"
    fault = "PGD has not converged, so quote a stronger attack (AutoAttack)"
    return Part(figures, says, fault if exceeds(gains[best], CONVERGED, pgd.n) else None)


def _falling(radii: Mapping[float, Record], num_classes: int) -> Part:
    accuracies = [accuracy(record) for record in radii.values()]
    rise = max(now - min(accuracies[: at + 1]) for at, now in enumerate(accuracies))
    final = radii[max(radii)]
    above = wilson(int(final.correct.sum()), final.n)[0] > 100 / num_classes
    figures = {f"eps {eps:.4g}": accuracy(record) for eps, record in radii.items()} | {"largest rise": rise}
    says = (
        f"from eps {min(radii):.3g} to {max(radii):.3g} accuracy goes from {accuracies[0]:.1f} % to "
        f"{accuracies[-1]:.1f} % (chance: {100 / num_classes:.3g} %) and rises by {rise:.1f} points on the way"
    )
    fault = "Accuracy does not fall to chance as eps grows" if above or exceeds(rise, RISE, final.n) else None
    return Part(figures, says, fault)


def _black_box(runs: Runs) -> Part:
    """Images that Square fools, alone or in AutoAttack, and no attack with gradients does."""
    searched, followed = ~runs.square.correct, ~unbroken(runs.white_box)
    if runs.autoattack:
        last = runs.autoattack.lost("square")
        searched, followed = searched | last, followed | ~(runs.autoattack.correct | last)
    only = in_percent(searched & ~followed)
    says = f"Square alone breaks {only:.1f} % of the images, and leaves {accuracy(runs.square):.1f} %"
    fault = "A random search finds what gradients do not" if exceeds(only, BLACK_BOX, runs.square.n) else None
    return Part({"square": accuracy(runs.square), "Square alone": only}, says, fault)


def _beats_noise(pgd: Record, noise: Record) -> Part:
    says = f"random noise of the same size leaves {accuracy(noise):.1f} %"
    weaker = exceeds(accuracy(pgd) - accuracy(noise), CONVERGED, pgd.n)
    return Part({"noise": accuracy(noise)}, says, "Noise is stronger than PGD" if weaker else None)
