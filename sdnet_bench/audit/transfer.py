"""Checks of transferred attacks, made at another lambda (paper, Table 4): C1, C2, C3, C5, C9, C12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config import Verdict
from ..records import CLEAN, Record
from ..records.record import wilson
from ..records.statistics import accuracy, clean_accuracy, in_percent, paired_p, say_p, unbroken
from ..studies.protocols import attack_setting
from .evidence import exceeds
from .scope import Scope
from .verdict import Check, CheckResult

GAP = 2.0
"""Points that a stronger attack may gain before the figure of the weaker one counts as misleading. At the 500 images of
an audit two points are ten images, about one standard error of an accuracy of 30 %."""
SIGNIFICANT = 0.05
SMALL_GAP = 1.0
"""Points that choosing lambda on test images may gain, or lambda may cost on clean images, without a warning."""
TARGETS = 4
"""Least number of classes for AutoAttack's targeted loss."""

MATCHED = Check(
    "C1",
    "An attack that knows lambda",
    f"Fails where it takes more than {GAP:g} points off the transfer figure, with McNemar's p < {SIGNIFICANT:g}.",
    needs="lambda",
)
UNION = Check(
    "C2",
    "All attacks together",
    f"Warns where more than {GAP:g} points fewer images survive all attacks than survive PGD.",
)
ENSEMBLE = Check(
    "C3",
    "An attack on all usable lambdas",
    f"Fails where it takes more than {GAP:g} points off the transfer figure.",
    needs="lambda",
)
ORACLE = Check(
    "C5",
    "Lambda chosen on test images",
    f"Warns where that gains more than {SMALL_GAP:g} point over lambda tuned on validation images.",
    needs="lambda",
)
PLACEBO = Check(
    "C9",
    "Placebo defences",
    f"Fails where a placebo comes within {GAP:g} points of the transfer figure; warns where it gets half of its gain.",
)
COST = Check("C12", "What lambda costs on clean images", f"Warns above {SMALL_GAP:g} point.", needs="lambda")


def check_matched(scope: Scope) -> CheckResult:
    """C1: an attack at the tuned lambda against one at the lambda of training."""
    (matched,) = scope.measure([scope.white_box(scope.pgd)], "matched")
    return judge_matched(scope.transferred(scope.tuned), matched)


def judge_matched(transfer: Record, matched: Record) -> CheckResult:
    """The result of C1 from PGD at lambda_0 and PGD at lambda*, both scored at lambda*."""
    gap, p = accuracy(transfer) - accuracy(matched), paired_p(transfer.correct, matched.correct)
    says = (
        f"At lambda {_lambda(transfer)} it keeps {accuracy(transfer):.1f} % when the attack looks at lambda "
        f"{_made_at(transfer)} and {accuracy(matched):.1f} % when it looks at {_lambda(transfer)}: "
        f"{gap:.1f} points of the transfer figure are due to an attack that does not know lambda ({say_p(p)})."
    )
    if transfer.inference.lambda_ == _made_at(transfer):
        says = f"The tuned lambda is that of training, {_lambda(transfer)}: transfer and matched attack are one."
    verdict: Verdict = "fail" if exceeds(gap, GAP, transfer.n) and p < SIGNIFICANT else "pass"
    figures = {"transfer": accuracy(transfer), "matched": accuracy(matched), "gap": gap, "p": p, "images": transfer.n}
    return MATCHED.answer(verdict, says, figures)


def union_attacks(scope: Scope) -> dict[str, Record]:
    """Records of white-box attacks and of a black-box attack, by name, at the tuned lambda."""
    apgd = ["apgd-ce", "apgd-dlr"] if scope.bench.dataset.num_classes > 2 else ["apgd-ce"]
    settings = {"pgd": scope.pgd}
    settings |= {name: attack_setting(scope.threat, scope.budget.apgd_steps, name=name) for name in apgd}
    settings["square"] = attack_setting(scope.threat, scope.budget.queries, name="square")
    records = scope.measure([scope.white_box(setting) for setting in settings.values()], "several attacks")
    return dict(zip(settings, records, strict=True))


def autoattack(scope: Scope) -> Record | None:
    """AutoAttack at the tuned lambda, if the budget includes it or it is on record; None below TARGETS classes."""
    cell = scope.white_box(attack_setting(scope.threat, name="autoattack"))
    if scope.bench.dataset.num_classes < TARGETS or not (scope.budget.autoattack or cell in scope.bench.store):
        return None
    return scope.measure([cell], "AutoAttack")[0]


def check_union(scope: Scope) -> CheckResult:
    """C2: accuracy under the union of attacks."""
    records = union_attacks(scope)
    transfer = {"transfer": scope.transferred(scope.tuned)} if scope.tuned is not None else {}
    return judge_union(records["pgd"], transfer | records)


def judge_union(pgd: Record, records: Mapping[str, Record]) -> CheckResult:
    """The result of C2 from PGD and the records of all attacks by name, of the same images at the same lambda."""
    left = unbroken(records.values())
    low, high = wilson(int(left.sum()), len(left))
    gap = accuracy(pgd) - in_percent(left)
    says = (
        f"{in_percent(left):.1f} % [{low:.1f}, {high:.1f}] of the images survive all of {', '.join(records)}; "
        f"PGD alone leaves {accuracy(pgd):.1f} %, {gap:.1f} points more."
    )
    figures = {name: accuracy(record) for name, record in records.items()}
    figures |= {"union": in_percent(left), "low": low, "high": high, "gap": gap, "images": pgd.n}
    return UNION.answer("warn" if exceeds(gap, GAP, pgd.n) else "pass", says, figures)


def check_ensemble(scope: Scope) -> CheckResult:
    """C3: an attack on the mean logits of all usable lambdas."""
    bench, crafted = scope.bench, scope.pgd.model_copy(update={"crafted_at": scope.usable})
    cells = [bench.cell(scope.images, bench.inference(lambda_), crafted) for lambda_ in scope.grid]
    return judge_ensemble(scope.transferred(scope.tuned), scope.measure(cells, "ensemble"))


def judge_ensemble(transfer: Record, ensemble: Sequence[Record]) -> CheckResult:
    """The result of C3 from PGD at lambda_0, scored at lambda*, and PGD on several lambdas, scored at every lambda."""
    scores = {float(record.inference.lambda_ or 0): accuracy(record) for record in ensemble}
    at_tuned = scores[float(transfer.inference.lambda_ or 0)]
    worst, best = min(scores, key=lambda at: scores[at]), max(scores, key=lambda at: scores[at])
    gap = accuracy(transfer) - at_tuned
    looks_at = ensemble[0].cell.attack.crafted_at if ensemble[0].cell.attack else None
    seen = looks_at if isinstance(looks_at, tuple) else ()
    is_seen = transfer.inference.lambda_ in seen
    among = "is among them" if is_seen else "is not: too little of its clean accuracy is left"
    says = (
        f"An attack that looks at {len(seen)} lambdas from {min(seen):g} to {max(seen):g} at once (lambda "
        f"{_lambda(transfer)} {among}) leaves {at_tuned:.1f} % there, {gap:.1f} points less than one that looks at "
        f"{_made_at(transfer)} alone; whichever lambda is chosen afterwards, {scores[worst]:.1f} % (at {worst:g}) "
        f"to {scores[best]:.1f} % (at {best:g}) are left."
    )
    figures = {"transfer": accuracy(transfer), "ensemble": at_tuned, "gap": gap, "images": transfer.n}
    figures |= {"worst lambda": worst, "at the worst": scores[worst], "best lambda": best, "at the best": scores[best]}
    return ENSEMBLE.answer("fail" if exceeds(gap, GAP, transfer.n) else "pass", says, figures)


def check_oracle(scope: Scope) -> CheckResult:
    """C5: the lambda that is best on the test images."""
    assert scope.tuned is not None
    return judge_oracle(scope.tuned, [scope.transferred(lambda_) for lambda_ in scope.grid])


def judge_oracle(tuned: float, transfer: Sequence[Record]) -> CheckResult:
    """The result of C5 from PGD at lambda_0, scored at every lambda of the grid."""
    scores = {float(record.inference.lambda_ or 0): accuracy(record) for record in transfer}
    oracle = max(scores, key=lambda at: scores[at])
    gap, n = scores[oracle] - scores[tuned], transfer[0].n
    says = (
        f"Chosen with the test labels lambda would be {oracle:g} ({scores[oracle]:.1f} % under transfer); tuned on "
        f"validation images it is {tuned:g} ({scores[tuned]:.1f} %), {gap:.1f} points less."
    )
    figures = {"tuned lambda": tuned, "oracle lambda": oracle, "tuned": scores[tuned], "oracle": scores[oracle]}
    return ORACLE.answer("warn" if exceeds(gap, SMALL_GAP, n) else "pass", says, figures | {"gap": gap, "images": n})


def check_placebos(scope: Scope) -> CheckResult:
    """C9: the same adversarial images behind placebo defences."""
    placebos = {name: scope.transferred(defence=defence) for name, defence in scope.defences.items()}
    tuned = scope.transferred(scope.tuned) if scope.tuned is not None else None
    return judge_placebos(scope.transferred(), tuned, placebos, list(scope.others or {}))


def judge_placebos(
    undefended: Record, tuned: Record | None, placebos: Mapping[str, Record], networks: Sequence[str] = ()
) -> CheckResult:
    """The result of C9 from PGD at the lambda of training.

    Args:
        undefended: scored at the lambda of training.
        tuned: scored at lambda*; None for a network without lambda, which has no verdict.
        placebos: scored behind placebos, by name.
        networks: names of those placebos that are other networks.
    """
    best = max(placebos, key=lambda name: accuracy(placebos[name]))
    scores = [f"{name} {accuracy(each):.1f} % (clean {clean_accuracy(each):.1f})" for name, each in placebos.items()]
    figures = {"undefended": accuracy(undefended), "images": undefended.n}
    for name, record in placebos.items():
        figures |= {name: accuracy(record), f"{name}, clean": clean_accuracy(record)}
    scored = f"Other networks that scored them: {', '.join(networks) or 'none'}."
    if tuned is None:
        says = (
            f"The network itself keeps {accuracy(undefended):.1f} % of the images, and has no lambda to gain by; "
            f"behind placebos: {', '.join(scores)}. {scored}"
        )
        return PLACEBO.answer("not applicable", says, figures)
    gain, theirs = (accuracy(record) - accuracy(undefended) for record in (tuned, placebos[best]))
    verdict, comparison = compare_gains(gain, theirs, best, tuned.n)
    says = (
        f"Lambda {_lambda(tuned)} keeps {accuracy(tuned):.1f} % of the transferred images (clean "
        f"{clean_accuracy(tuned):.1f}), {gain:.1f} points more than {_lambda(undefended)}. {comparison}: "
        f"{', '.join(scores)}. {scored}"
    )
    figures |= {"tuned": accuracy(tuned), "tuned, clean": clean_accuracy(tuned), "gain": gain, "best placebo's": theirs}
    return PLACEBO.answer(verdict, says, figures)


def compare_gains(gain: float, theirs: float, name: str, n: int) -> tuple[Verdict, str]:
    """Verdict and sentence on the gain of lambda under transfer against that of the best placebo, in points."""
    if not exceeds(gain, GAP, n):
        return "not applicable", "There is no gain for a placebo to match"
    if theirs >= gain - GAP:
        return "fail", f"A placebo, {name}, does as well"
    verdict: Verdict = "warn" if theirs >= gain / 2 else "pass"
    return verdict, f"The best placebo, {name}, gets {100 * max(0.0, theirs) / gain:.0f} % of that gain"


def check_cost(scope: Scope) -> CheckResult:
    """C12: clean accuracy at the tuned lambda, which the paper's Table 4 leaves out."""
    return judge_cost(scope.transferred(), scope.transferred(scope.tuned))


def judge_cost(trained: Record, tuned: Record) -> CheckResult:
    """The result of C12 from records of attacks at lambda_0 and lambda*, which include clean accuracy."""
    before, after = clean_accuracy(trained), clean_accuracy(tuned)
    p = paired_p(~trained.lost(CLEAN), ~tuned.lost(CLEAN))
    says = (
        f"Clean accuracy is {before:.1f} % at lambda {_lambda(trained)} and {after:.1f} % at lambda "
        f"{_lambda(tuned)}: {before - after:.1f} points are the price ({say_p(p)})."
    )
    figures = {"at training": before, "tuned": after, "cost": before - after, "p": p, "images": tuned.n}
    return COST.answer("warn" if exceeds(before - after, SMALL_GAP, tuned.n) else "pass", says, figures)


def _lambda(record: Record) -> str:
    return "—" if record.inference.lambda_ is None else f"{record.inference.lambda_:g}"


def _made_at(record: Record) -> object:
    return record.cell.attack.crafted_at if record.cell.attack else None
