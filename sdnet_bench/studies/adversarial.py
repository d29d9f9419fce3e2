"""Robust accuracy under attack (paper, Table 4), by the paper's protocol and three others.

    transfer  adversarial images are made at the lambda of training and scored at every lambda (the paper's protocol)
    matched   adversarial images are made at the lambda at which they are scored
    ensemble  adversarial images are made with the mean logits of all usable lambdas and scored at every lambda
    adaptive  a rule chooses lambda by each image's residual, and the attack goes through the rule

Lambda "after tuning" is the lambda of the best accuracy on transferred adversarial images of the validation split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..attacks import ATTACKS
from ..csc import csc_layers
from ..engine.robust import LEAST_CLASSES, SIGNS, SUITES
from ..errors import ModelError, UnknownNameError, UsageError
from ..records import (
    REVISION,
    UNKNOWN,
    AttackSetting,
    Cell,
    Images,
    Protocol,
    Record,
    Threat,
    usual_budget,
    usual_protocols,
)
from ..records.statistics import best_lambda
from .algorithm1 import PerImage, full_grid, require_fits
from .workbench import Workbench

RADII = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""The radii of a curve of accuracy against eps, relative to the default radius."""
MOST_STEPS, MOST_RESTARTS = 100_000, 1000
"""Largest numbers of steps and restarts; Auto-PGD keeps the losses of all steps, 300 MB for a batch of 250."""
SOME_ZERO = 1.0
"""Share (%) of images without a gradient, or with probabilities in the place of logits, above which it is said."""
USABLE = 0.9
"""A lambda is usable if clean accuracy is at least this share of clean accuracy at lambda_0."""


def attack_setting(
    threat: Threat, steps: int | None = None, restarts: int | None = None, *, name: str = "pgd"
) -> AttackSetting:
    """An attack with its default or the given budget; the step size of PGD is 2.5 eps / steps (Madry et al., 2018)."""
    if name not in SUITES and name not in ATTACKS:
        raise UnknownNameError("attack", name, [*ATTACKS, *SUITES])
    for what, size, most in (("steps", steps, MOST_STEPS), ("restarts", restarts, MOST_RESTARTS)):
        if size is not None and not 0 < size <= most:
            raise UsageError(f"{what} out of range", expected=f"1 to {most:,}", got=size)
    usual_steps, usual_restarts = usual_budget(name)
    steps = steps or usual_steps
    return AttackSetting(
        name=name,
        norm=threat.norm,
        eps=threat.eps,
        steps=steps,
        step_size=2.5 * threat.eps / steps if name == "pgd" else None,
        restarts=restarts or usual_restarts,
        revision=REVISION,
    )


def run_attack(
    bench: Workbench,
    setting: AttackSetting,
    images: Images,
    protocols: Sequence[Protocol] | None = None,
    lambdas: Sequence[float] | None = None,
    *,
    save: bool = False,
) -> list[Record]:
    """Attacks clean test images by the protocols (None: the usual ones); without lambda only "matched" exists.

    Args:
        lambdas: lambdas at which images are scored, besides lambda_0; by default those of the paper's Figure 2. Lambda
            is first tuned among them, on as many validation images as there are test images. Attacks other than PGD
            are matched only at lambda_0 and at the tuned lambda.
        save: keep the adversarial images, beside the records.
    """
    setting = for_classes(bench, setting)
    title = f"{setting.name} {setting.norm} attack"
    protocols = usual_protocols(setting.name) if protocols is None else protocols
    if not csc_layers(bench.model.net):
        if set(protocols) != {"matched"}:
            bench.progress.note(f"{bench.model.name} has no lambda: matched is the only protocol")
        return warned(bench, bench.measure(matched_cells(bench, setting, images, [None]), title, save=save))
    grid = full_grid(bench, lambdas)
    if list(protocols) == ["adaptive"]:
        require_fits(bench, [UNKNOWN])
    if "transfer" in protocols:  # lambda is tuned on its records
        tune_lambda(bench, setting, bench.images("validation", images.limit), grid)
    records: list[Record] = []
    for protocol in protocols:
        cells = protocol_cells(bench, setting, protocol, images, grid)
        records += bench.measure(cells, f"{title}, {protocol}", adaptive_rules(bench), save=save)
    unique = {record.cell.key: record for record in records}  # at lambda_0 transfer and matched are one
    return warned(bench, list(unique.values()))


def for_classes(bench: Workbench, setting: AttackSetting) -> AttackSetting:
    """The attack on the classes of the data: a suite without those of its attacks that need more classes."""
    classes, whole = bench.dataset.num_classes, [name for name, _ in SUITES.get(setting.name, ())]
    members = tuple(name for name in whole if classes >= LEAST_CLASSES.get(name, 2))
    if len(members) == len(whole):
        return setting
    left_out = ", ".join(name for name in whole if name not in members)
    bench.progress.note(f"{setting.name} without {left_out}, which is not defined for {classes} classes")
    return setting.model_copy(update={"members": members})


def warned(bench: Workbench, records: list[Record]) -> list[Record]:
    """The records, after a warning of signs that the attack saw no gradient."""
    hints = {
        "zero_gradients": "every gradient was zero, so the attack had no direction",
        "probabilities": "the network returns probabilities, which hide gradients: return logits, without softmax",
    }
    for sign in SIGNS:
        share = 100 * max((record.metrics.get(sign, 0.0) for record in records), default=0.0)
        if share > SOME_ZERO:
            what = f"warning: on {share:.1f} % of the attacked images {hints[sign]}"
            bench.progress.note(f"{what}; the accuracy is too high. See `sdnet-bench audit {bench.model.name}`")
    return records


def sweep_eps(
    bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float] | None = None
) -> list[Record]:
    """Matched attacks at every radius of RADII, at lambda_0 and at the lambda tuned for the radius of `setting`."""
    setting, at = for_classes(bench, setting), list[float | None]([None])
    if csc_layers(bench.model.net):
        tuned = tune_lambda(bench, setting, bench.images("validation", images.limit), full_grid(bench, lambdas))
        at = [*sorted({bench.trained_lambda, tuned})]
    settings = [within(setting, threat) for threat in widening(setting.threat)]
    cells = [cell for each in settings for cell in matched_cells(bench, each, images, at)]
    return warned(bench, bench.measure(cells, f"{setting.name} {setting.norm} attack, by eps"))


def widening(threat: Threat) -> list[Threat]:
    """Balls with the radius times each of RADII; under Linf eps is at most 1."""
    most = 1.0 if threat.norm == "linf" else math.inf
    return [Threat(threat.norm, eps) for eps in dict.fromkeys(min(most, factor * threat.eps) for factor in RADII)]


def within(setting: AttackSetting, threat: Threat) -> AttackSetting:
    """The attack in another ball of the same norm, with its step size in proportion."""
    scale = threat.eps / setting.eps
    return setting.model_copy(update={"eps": threat.eps, "step_size": setting.step_size and setting.step_size * scale})


def protocol_cells(
    bench: Workbench, setting: AttackSetting, protocol: Protocol, images: Images, grid: Sequence[float]
) -> list[Cell]:
    """The cells of one protocol on test images, for a network with lambda."""
    if protocol == "transfer":
        return transfer_cells(bench, setting, images, grid)
    if protocol == "adaptive":
        return adaptive_cells(bench, setting, images)
    validation = bench.images("validation", images.limit)
    if protocol == "ensemble":
        crafted = setting.model_copy(update={"crafted_at": usable_lambdas(bench, validation, grid)})
        return [bench.cell(images, bench.inference(lambda_), crafted) for lambda_ in grid]
    if setting.name != "pgd":
        grid = sorted({bench.trained_lambda, tune_lambda(bench, setting, validation, grid)})
    return matched_cells(bench, setting, images, grid)


def transfer_cells(bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float]) -> list[Cell]:
    """Attacks made at lambda_0 and scored at every lambda; test images also by robust inference where it is fitted."""
    crafted = setting.model_copy(update={"crafted_at": bench.trained_lambda})
    rules = adaptive_rules(bench) if images.split == "test" else {}
    inferences = [*map(bench.inference, lambdas), *(bench.inference(rule=rule) for rule in rules)]
    return [bench.cell(images, inference, crafted) for inference in inferences]


def matched_cells(
    bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float | None]
) -> list[Cell]:
    """Attacks made at the lambda at which they are scored."""
    return [
        bench.cell(images, bench.inference(lambda_), setting.model_copy(update={"crafted_at": lambda_}))
        for lambda_ in lambdas
    ]


def adaptive_cells(bench: Workbench, setting: AttackSetting, images: Images) -> list[Cell]:
    """Attacks on robust inference with a lambda per image, with and without the gradient of the rule."""
    rules = adaptive_rules(bench)
    if not rules:
        name = bench.model.name
        bench.progress.note(f"no adaptive attack: {name} has no fits; `sdnet-bench fit-lambda {name} --corruption all`")
    return [
        bench.cell(images, bench.inference(rule=rule), setting.model_copy(update={"through": gradient}))
        for rule in rules
        for gradient in ("detached", "attached")
    ]


def adaptive_rules(bench: Workbench) -> dict[str, PerImage]:
    """The rule of a lambda per image for unknown corruptions, by name; empty where Algorithm 1 was not run."""
    try:
        rule = PerImage(require_fits(bench, [UNKNOWN])[0])
    except ModelError:
        return {}
    return {rule.rule: rule}


def tune_lambda(bench: Workbench, setting: AttackSetting, images: Images, grid: Sequence[float]) -> float:
    """The lambda of an ascending grid with the best accuracy under transferred PGD on validation images."""
    pgd = setting if setting.name == "pgd" else attack_setting(setting.threat)
    tuned = best_lambda(bench.measure(transfer_cells(bench, pgd, images, grid), "tuning lambda"))
    edge = ", the last of the grid: beyond it may be a better one" if tuned == grid[-1] else ""
    bench.progress.note(f"lambda tuned on validation images: {tuned:g}{edge}")
    return tuned


def usable_lambdas(bench: Workbench, images: Images, grid: Sequence[float]) -> tuple[float, ...]:
    """The lambdas at which clean validation accuracy is at least 90 % of that at lambda_0."""
    records = bench.measure(usable_cells(bench, images, grid), "clean validation images")
    accuracy = {lambda_: record.accuracy for lambda_, record in zip(grid, records, strict=True)}
    least = USABLE * accuracy[bench.trained_lambda]
    return tuple(lambda_ for lambda_ in grid if accuracy[lambda_] >= least)


def usable_cells(bench: Workbench, images: Images, grid: Sequence[float]) -> list[Cell]:
    """The cells of clean validation images that decide which lambdas are usable."""
    return [bench.cell(images, bench.inference(lambda_)) for lambda_ in grid]
