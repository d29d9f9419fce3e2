"""Robust accuracy under attack (paper, Table 4), and what the paper's protocol leaves out.

    transfer  adversarial images are made at the lambda of training and scored at every lambda: the paper's
    matched   they are made at the lambda they are scored at: the attack knows lambda
    ensemble  they are made from the mean logits of all usable lambdas, and scored at every lambda
    adaptive  lambda is that of each image's residual, and the attack looks through that choice from end to end

Lambda "after tuning" is the one that scores best against transferred images of the validation split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..attacks import ATTACKS
from ..csc import csc_layers
from ..engine.robust import SUITES
from ..errors import ModelError, UnknownNameError
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
"""The radii of an accuracy-against-eps curve, in units of the usual one."""
USABLE = 0.9
"""A lambda is usable where the network keeps this share of its clean accuracy at lambda_0."""


def attack_setting(
    threat: Threat, steps: int | None = None, restarts: int | None = None, *, name: str = "pgd"
) -> AttackSetting:
    """An attack with its usual budget, or another one; PGD takes steps of 2.5 eps / steps (Madry et al., 2018)."""
    if name not in SUITES and name not in ATTACKS:
        raise UnknownNameError("attack", name, [*ATTACKS, *SUITES])
    usual_steps, usual_restarts = usual_budget(name)
    steps, restarts = steps or usual_steps, restarts or usual_restarts
    return AttackSetting(
        name=name,
        norm=threat.norm,
        eps=threat.eps,
        steps=steps,
        step_size=2.5 * threat.eps / steps if name == "pgd" else None,
        restarts=restarts,
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
    """Attacks clean test images by the given protocols; a network without lambda has just one, "matched".

    Args:
        protocols: by default the `usual_protocols`.
        lambdas: that are scored, with lambda_0, by default those of the paper's Figure 2. The tuned lambda is found
            among them first, on as many validation images as there are test images. An attack other than PGD is
            matched at lambda_0 and at the tuned lambda alone.
        save: keep the adversarial images, beside the records.
    """
    title = f"{setting.name} {setting.norm} attack"
    protocols = usual_protocols(setting.name) if protocols is None else protocols
    if not csc_layers(bench.model.net):
        if set(protocols) != {"matched"}:
            bench.progress.note(f"{bench.model.name} has no lambda: matched is the only protocol")
        return bench.measure(matched_cells(bench, setting, images, [None]), title, save=save)
    grid = full_grid(bench, lambdas)
    if list(protocols) == ["adaptive"]:
        require_fits(bench, [UNKNOWN])
    if "transfer" in protocols:  # the tuned lambda is chosen among its records
        tune_lambda(bench, setting, _tuning_images(bench, images), grid)
    records: list[Record] = []
    for protocol in protocols:
        cells = protocol_cells(bench, setting, protocol, images, grid)
        records += bench.measure(cells, f"{title}, {protocol}", adaptive_rules(bench), save=save)
    return list({record.cell.key: record for record in records}.values())  # at lambda_0 two protocols are one


def _tuning_images(bench: Workbench, images: Images) -> Images:
    """As many of the validation split."""
    return bench.images("validation", images.limit)


def sweep_eps(
    bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float] | None = None
) -> list[Record]:
    """Matched attacks of every radius of RADII, at lambda_0 and at the lambda tuned for the radius of `setting`."""
    at: Sequence[float | None] = [None]
    if csc_layers(bench.model.net):
        tuned = tune_lambda(bench, setting, _tuning_images(bench, images), full_grid(bench, lambdas))
        at = sorted({bench.trained_lambda, tuned})
    settings = [within(setting, threat) for threat in widening(setting.threat)]
    cells = [cell for each in settings for cell in matched_cells(bench, each, images, at)]
    return bench.measure(cells, f"{setting.name} {setting.norm} attack, by eps")


def widening(threat: Threat) -> list[Threat]:
    """Balls from a quarter of the radius to sixteen times it; under Linf none is larger than the range of a pixel."""
    most = 1.0 if threat.norm == "linf" else math.inf
    return [Threat(threat.norm, eps) for eps in dict.fromkeys(min(most, factor * threat.eps) for factor in RADII)]


def within(setting: AttackSetting, threat: Threat) -> AttackSetting:
    """The same attack in another ball of its norm, its steps longer or shorter in proportion."""
    scale = threat.eps / setting.eps
    return setting.model_copy(update={"eps": threat.eps, "step_size": setting.step_size and setting.step_size * scale})


def protocol_cells(
    bench: Workbench, setting: AttackSetting, protocol: Protocol, images: Images, grid: Sequence[float]
) -> list[Cell]:
    """What one protocol measures on test images, for a network with lambda."""
    if protocol == "transfer":
        return transfer_cells(bench, setting, images, grid)
    if protocol == "matched":
        everywhere, tuning = setting.name == "pgd", _tuning_images(bench, images)
        at = grid if everywhere else sorted({bench.trained_lambda, tune_lambda(bench, setting, tuning, grid)})
        return matched_cells(bench, setting, images, at)
    if protocol == "ensemble":
        usable = usable_lambdas(bench, _tuning_images(bench, images), grid)
        crafted = setting.model_copy(update={"crafted_at": usable})
        return [bench.cell(images, bench.inference(lambda_), crafted) for lambda_ in grid]
    return adaptive_cells(bench, setting, images)


def transfer_cells(bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float]) -> list[Cell]:
    """Made at lambda_0, scored at every lambda, and on test images by robust inference where it is fitted."""
    crafted = setting.model_copy(update={"crafted_at": bench.trained_lambda})
    rules = adaptive_rules(bench) if images.split == "test" else {}
    inferences = [*map(bench.inference, lambdas), *(bench.inference(rule=rule) for rule in rules)]
    return [bench.cell(images, inference, crafted) for inference in inferences]


def matched_cells(
    bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float | None]
) -> list[Cell]:
    """Made at the lambda that they are scored at."""
    return [
        bench.cell(images, bench.inference(lambda_), setting.model_copy(update={"crafted_at": lambda_}))
        for lambda_ in lambdas
    ]


def adaptive_cells(bench: Workbench, setting: AttackSetting, images: Images) -> list[Cell]:
    """Robust inference with a lambda for each image, attacked with and without the gradient of that choice."""
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
    """Robust inference that does not know the type of a disturbance, by name; none where Algorithm 1 was not run."""
    try:
        rule = PerImage(require_fits(bench, [UNKNOWN])[0])
    except ModelError:
        return {}
    return {rule.rule: rule}


def tune_lambda(bench: Workbench, setting: AttackSetting, images: Images, grid: Sequence[float]) -> float:
    """The lambda of an ascending grid that stands best against transferred PGD on validation images."""
    pgd = setting if setting.name == "pgd" else attack_setting(setting.threat)
    tuned = best_lambda(bench.measure(transfer_cells(bench, pgd, images, grid), "tuning lambda"))
    edge = ", the last of the grid: beyond it may be a better one" if tuned == grid[-1] else ""
    bench.progress.note(f"lambda tuned on validation images: {tuned:g}{edge}")
    return tuned


def usable_lambdas(bench: Workbench, images: Images, grid: Sequence[float]) -> tuple[float, ...]:
    """Those under which clean validation images keep 90 % of their accuracy at lambda_0."""
    records = bench.measure(usable_cells(bench, images, grid), "clean validation images")
    accuracy = {lambda_: record.accuracy for lambda_, record in zip(grid, records, strict=True)}
    least = USABLE * accuracy[bench.trained_lambda]
    return tuple(lambda_ for lambda_ in grid if accuracy[lambda_] >= least)


def usable_cells(bench: Workbench, images: Images, grid: Sequence[float]) -> list[Cell]:
    """The clean validation images that tell which lambdas are usable."""
    return [bench.cell(images, bench.inference(lambda_)) for lambda_ in grid]
