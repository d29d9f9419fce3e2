"""Attacks, and the cells that they are scored in by the paper's protocol and by two others.

transfer  adversarial images are made at the lambda of training and scored at every lambda (the paper's protocol)
matched   adversarial images are made at the lambda at which they are scored
adaptive  a rule chooses lambda by each image's residual, and the attack goes through the rule
"""

from __future__ import annotations

from collections.abc import Sequence

from ..attacks import ATTACKS
from ..engine.robust import SUITES
from ..errors import ModelError, UnknownNameError, UsageError, check_size
from ..records import MINIMUM_NORM, REVISION, UNKNOWN, AttackSetting, Cell, Images, Threat, usual_budget
from .algorithm1 import PerImage, require_fits
from .workbench import Workbench

MOST_STEPS, MOST_RESTARTS = 100_000, 1000
"""Largest numbers of steps and restarts; Auto-PGD keeps the losses of all steps, 300 MB for a batch of 250."""


def attack_setting(
    threat: Threat, steps: int | None = None, restarts: int | None = None, *, name: str = "pgd"
) -> AttackSetting:
    """An attack with its default or the given budget; the step size of PGD is 2.5 eps / steps (Madry et al., 2018).

    A `UsageError` for a minimum-norm attack under the other norm, or with restarts: it starts from the clean image.
    """
    if name not in SUITES and name not in ATTACKS:
        raise UnknownNameError("attack", name, [*ATTACKS, *SUITES])
    usual_steps, usual_restarts = usual_budget(name, threat.eps)
    steps, restarts = steps or usual_steps, restarts or usual_restarts
    if name in MINIMUM_NORM and (threat.norm, restarts) != (MINIMUM_NORM[name], 1):
        expected, got = f"{MINIMUM_NORM[name]} and 1 restart", f"{threat.norm} and {restarts}"
        raise UsageError(f"{name} has one norm and one start", expected=expected, got=got)
    check_size("steps", steps, MOST_STEPS)
    check_size("restarts", restarts, MOST_RESTARTS)
    return AttackSetting(
        name=name,
        norm=threat.norm,
        eps=threat.eps,
        steps=steps,
        step_size=2.5 * threat.eps / steps if name == "pgd" else None,
        restarts=restarts,
        revision=REVISION,
    )


def within(setting: AttackSetting, threat: Threat) -> AttackSetting:
    """The attack in another ball of the same norm, with its step size in proportion."""
    scale = threat.eps / setting.eps
    return setting.model_copy(update={"eps": threat.eps, "step_size": setting.step_size and setting.step_size * scale})


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
