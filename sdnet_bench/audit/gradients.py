"""Whether gradients are useful to attacks: C7 and C8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..attacks.gradients import other_gradients
from ..attacks.surrogates import surrogate
from ..config import Verdict
from ..csc import csc_layers
from ..engine.evaluate import evaluate
from ..records import AttackSetting, Record
from ..records.statistics import accuracy, clean_accuracy, in_percent, unbroken
from ..studies.probing import SOME_ZERO, Health, probe
from .evidence import exceeds
from .scope import Scope
from .transfer import union_attacks
from .verdict import Check, CheckResult

MANY_ZERO = 10.0
"""Share (%) of images without a gradient above which C7 fails."""
DLR = 1.0
"""Points by which the DLR loss may be stronger than the cross-entropy (Croce & Hein, 2020)."""
SURROGATE = 0.5
"""Points by which an attack on a surrogate may be stronger than on the network itself (Carlini et al., 2019)."""
EVERY = 3
"""Every third lambda of the grid is measured, besides that of training and the tuned one."""

HEALTH = Check(
    "C7",
    "Gradients",
    f"Fails where more than {MANY_ZERO:g} % of the images have no gradient, at the lambda of training or the tuned "
    f"one; warns above {SOME_ZERO:g} %, or where APGD with DLR beats that with cross-entropy by more than {DLR:g} "
    "point.",
)
SURROGATES = Check(
    "C8",
    "Detours around the sparse code",
    f"Fails where one beats PGD and APGD on the network itself by more than {SURROGATE:g} points.",
)


def check_health(scope: Scope) -> CheckResult:
    """C7: gradients are measured without records; APGD is on record."""
    lambdas = [scope.bench.model.trained_lambda, scope.tuned, *scope.grid[::EVERY]]
    asked: list[float | None] = [*sorted({at for at in lambdas if at is not None})] or [None]
    found = [probe(scope.bench, scope.images, at) for at in asked]
    attacks = union_attacks(scope)
    counted = {scope.bench.model.trained_lambda, scope.tuned}
    return judge_health(found, counted, attacks["apgd-ce"], attacks.get("apgd-dlr"))


def judge_health(found: Sequence[Health], counted: set[float | None], ce: Record, dlr: Record | None) -> CheckResult:
    """The result of C7 from measurements at several lambdas, of which those in `counted` decide the verdict, and from
    APGD with either loss at lambda*."""
    zero = max(health.zero_gradients for health in found if health.lambda_ in counted)
    gain = 0.0 if dlr is None else accuracy(ce) - accuracy(dlr)
    beaten = exceeds(gain, DLR, ce.n)
    verdict: Verdict = "fail" if zero > MANY_ZERO else "warn" if zero > SOME_ZERO or beaten else "pass"
    figures = {name: value for health in found for name, value in _figures(health).items()}
    figures |= {"apgd-ce": accuracy(ce), "DLR beats CE by": gain, "images": ce.n}
    where = " or ".join(f"{at:g}" for at in sorted({at for at in counted if at is not None}))
    at = f" at lambda {where}" if where else ""
    says = f"The gradient of the cross-entropy vanishes on {zero:.1f} % of the images{at}; {_says_scale(found)}; "
    if dlr is None:
        return HEALTH.answer(verdict, f"{says}DLR needs three classes.", figures)
    says += f"APGD leaves {accuracy(ce):.1f} % with the cross-entropy and {accuracy(dlr):.1f} % with DLR."
    return HEALTH.answer(verdict, says, figures | {"apgd-dlr": accuracy(dlr)})


def _figures(health: Health) -> dict[str, float]:
    at = "" if health.lambda_ is None else f" at lambda {health.lambda_:g}"
    codes = {} if health.zero_codes is None else {f"zero codes{at}": health.zero_codes}
    return {f"zero gradients{at}": health.zero_gradients, **codes, f"logit scale{at}": health.logit_scale}


def _says_scale(found: Sequence[Health]) -> str:
    """A sentence on the change of logits and codes from the smallest lambda to the largest."""
    first, last = found[0], found[-1]
    if first.zero_codes is None or last.zero_codes is None:
        return f"the largest logit leads the mean by {first.logit_scale:.1f}"
    return (
        f"from lambda {first.lambda_:g} to {last.lambda_:g} the share of zero codes goes from {first.zero_codes:.0f} % "
        f"to {last.zero_codes:.0f} %, the lead of the largest logit over the mean from {first.logit_scale:.1f} "
        f"to {last.logit_scale:.1f}"
    )


def check_surrogates(scope: Scope) -> CheckResult:
    """C8: attacks on surrogates with better gradients, scored by the network under audit.

    The clean accuracy of the surrogates is measured without records.
    """
    settings = surrogate_settings(scope)
    if not settings:
        return SURROGATES.not_applicable("Nothing in this network is found by iterations.")
    records = scope.measure([scope.white_box(setting) for setting in settings.values()], "surrogates")
    clean = {name: accuracy_of_surrogate(scope, setting) for name, setting in settings.items()}
    straight = {name: record for name, record in union_attacks(scope).items() if name != "square"}
    return judge_surrogates(straight, dict(zip(settings, records, strict=True)), clean)


def surrogate_settings(scope: Scope) -> dict[str, AttackSetting]:
    """PGD on surrogates, by name of the surrogate.

    Surrogates have CSC-layers with more iterations or a smooth threshold, or solved layers, such as an equilibrium,
    with another gradient.
    """
    net = scope.bench.model.net
    changes: dict[str, dict[str, object]] = {}
    if own := {layer.steps for layer in csc_layers(net)}:
        more = [steps for steps in scope.budget.surrogate_steps if steps not in own]
        changes |= {f"{steps} FISTA iterations": {"inference_steps": steps} for steps in more}
        changes["a smooth threshold"] = {"smooth": True}
    changes |= {f"the {name} gradient": {"gradient": name} for name in other_gradients(net)}
    return {name: scope.pgd.model_copy(update=change) for name, change in changes.items()}


def accuracy_of_surrogate(scope: Scope, setting: AttackSetting) -> float:
    """Accuracy (%) of the attacked network of a setting on clean test images, at the tuned lambda."""
    crafted = setting.model_copy(update={"crafted_at": scope.tuned})
    with surrogate(scope.bench.model.net, crafted) as net:
        return in_percent(evaluate(net, scope.split, scope.runtime)[None].correct)


def judge_surrogates(
    straight: Mapping[str, Record], surrogates: Mapping[str, Record], clean: Mapping[str, float]
) -> CheckResult:
    """The result of C8 from attacks on the network itself and PGD on surrogates by name, all scored by the network.

    An attack on the network itself counts every iterate, an attack on a surrogate only the last.

    Args:
        clean: clean accuracy (%) of each surrogate. A surrogate of low accuracy differs too much from the network for
            its transferred images to be evidence.
    """
    best = min(surrogates, key=lambda name: accuracy(surrogates[name]))
    left, some = in_percent(unbroken(straight.values())), next(iter(straight.values()))
    gain = left - accuracy(surrogates[best])
    says = (
        f"On the network itself {', '.join(straight)} leave {left:.1f} %; the best detour, {best}, leaves "
        f"{accuracy(surrogates[best]):.1f} %, {abs(gain):.1f} points {'less' if gain > 0 else 'more'}. Of the clean "
        f"images that detour's own network gets {clean[best]:.1f} % right, this one {clean_accuracy(some):.1f} %."
    )
    figures = {"straight": left, "clean": clean_accuracy(some), "gain": gain, "images": some.n}
    for name, record in surrogates.items():
        figures |= {name: accuracy(record), f"{name}, clean": clean[name]}
    return SURROGATES.answer("fail" if exceeds(gain, SURROGATE, some.n) else "pass", says, figures)
