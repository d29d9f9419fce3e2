"""Robust accuracy under attack (paper, Table 4), by the paper's protocol and three others.

    transfer  adversarial images are made at the lambda of training and scored at every lambda (the paper's protocol)
    matched   adversarial images are made at the lambda at which they are scored
    ensemble  adversarial images are made with the mean logits of all usable lambdas and scored at every lambda
    adaptive  a rule chooses lambda by each image's residual, and the attack goes through the rule

Lambda "after tuning" is the lambda of the best accuracy on transferred adversarial images of the validation split of
the data that the network was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks import ATTACKS
from ..attacks.finite import finite, logits_of
from ..csc import csc_layers, using_lambda
from ..data import open_dataset
from ..engine.batches import BATCH_SIZE
from ..engine.evaluate import LambdaRule
from ..engine.robust import SUITES
from ..errors import ModelError, UnknownNameError, UsageError, check_size
from ..records import (
    MINIMUM_NORM,
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
    widening,
)
from ..records.cell import DDN_SHRINKS, least_steps
from ..records.statistics import best_lambda
from ..zoo.checkpoint import Model
from .algorithm1 import PerImage, full_grid, require_fits
from .codes import watching
from .workbench import Workbench

MOST_STEPS, MOST_RESTARTS = 100_000, 1000
"""Largest numbers of steps and restarts; Auto-PGD keeps the losses of all steps, 300 MB for a batch of 250."""
SOME_ZERO = 1.0
"""Share (%) of images without a gradient from which on it is said. AutoAttack warns of a single image."""
USABLE = 0.9
"""A lambda is usable if clean accuracy is at least this share of clean accuracy at lambda_0."""


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
        return _measure(bench, matched_cells(bench, setting, images, [None]), title, save=save)
    grid = full_grid(bench, lambdas)
    if list(protocols) == ["adaptive"]:
        require_fits(bench, [UNKNOWN])
    if "transfer" in protocols:  # lambda is tuned on its records
        home = at_home(bench)
        tune_lambda(home, setting, home.images("validation", images.limit), grid)
    records: list[Record] = []
    for protocol in protocols:
        cells = protocol_cells(bench, setting, protocol, images, grid)
        records += _measure(bench, cells, f"{title}, {protocol}", adaptive_rules(bench), save=save)
    return list({record.cell.key: record for record in records}.values())  # at lambda_0 transfer and matched are one


def _measure(
    bench: Workbench,
    cells: Sequence[Cell],
    title: str,
    rules: Mapping[str, LambdaRule] | None = None,
    *,
    save: bool = False,
) -> list[Record]:
    """The records of attacks; before the first one that is made, gradients are looked at."""
    if not bench.is_probed and bench.missing(cells):
        bench.is_probed = True
        warn_of_masking(bench, cells[0].images.limit or BATCH_SIZE)
    records = bench.measure(cells, title, rules, save=save)
    for line in failures(records, bench.store):
        bench.progress.warn(line)
    return records


def for_classes(bench: Workbench, setting: AttackSetting) -> AttackSetting:
    """The attack; for AutoAttack on fewer than four classes "autoattack-few"."""
    if setting.name != "autoattack" or bench.dataset.num_classes > 3:
        return setting
    bench.progress.note(f"autoattack-few: apgd-t is not defined for {bench.dataset.num_classes} classes")
    return setting.model_copy(update={"name": "autoattack-few"})


@dataclass(frozen=True)
class Health:
    """Gradients, codes and logits of the network at one lambda, on clean images."""

    lambda_: float | None
    zero_gradients: float
    """Share (%) of images whose gradient of the cross-entropy is zero in every pixel."""
    zero_codes: float | None
    """Share (%) of zero entries in all sparse codes; None without CSC-layers."""
    logit_scale: float
    """Mean over images of the largest logit minus the mean logit."""
    probabilities: float = 0.0
    """Share (%) of images whose logits are probabilities: the network ends in a softmax."""


def probe(bench: Workbench, images: Images, lambda_: float | None = None) -> Health:
    """Measures gradients, codes and logits of clean images at one lambda; a `ModelError` where they are not finite."""
    net, runtime = bench.model.net.eval(), bench.runtime
    lost, scales, certain, codes = [], [], [], list[Tensor]()
    layers = dict(enumerate(csc_layers(net)))
    with using_lambda(net, lambda_), watching(layers, lambda _, code: codes.append((code == 0).float().mean())):
        for batch in bench.split_of(images).batches(BATCH_SIZE, runtime.device):
            gradient, logits = _gradient(bench.model, runtime.to_pixels(batch.images), batch.labels)
            lost.append(finite(gradient.abs().flatten(1).amax(1), f"{bench.model.name}: gradients") == 0)
            scales.append(logits.amax(1) - logits.mean(1))
            certain.append((logits.amin(1) >= 0) & ((logits.sum(1) - 1).abs() < 1e-3))
    no_gradient, scale, no_logits = (float(torch.cat(parts).float().mean()) for parts in (lost, scales, certain))
    zeros = 100 * float(torch.stack(codes).mean()) if codes else None
    return Health(lambda_, 100 * no_gradient, zeros, scale, 100 * no_logits)


def _gradient(model: Model, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of each image's cross-entropy, `(N, 3, H, W)`, and the logits."""
    pixels = pixels.requires_grad_(True)
    logits = logits_of(model.net, pixels)
    finite(logits[:, 0].detach(), f"{model.name}: logits")
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), pixels)
    return gradient, logits.detach()


def warn_of_masking(bench: Workbench, limit: int) -> None:
    """Notes the share of at most a batch of test images whose gradients no attack can follow, if it is large."""
    images = bench.images("test", min(limit, BATCH_SIZE))
    health, seen = probe(bench, images), len(bench.split_of(images))
    for share, what in (
        (health.zero_gradients, "have no gradient: attacks cannot see where to go"),
        (health.probabilities, "have probabilities for logits, which hide gradients: take the softmax off the network"),
    ):
        if share > SOME_ZERO:
            bench.progress.warn(f"{share:.1f} % of {seen} test images {what}, and robust accuracy is too high")


def sweep_eps(
    bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float] | None = None
) -> list[Record]:
    """Matched attacks at every radius of RADII, at lambda_0 and at the lambda tuned for the radius of `setting`.

    A minimum-norm attack is run once for all radii; PGD is run beside it at the radius of `setting` alone.
    """
    setting = for_classes(bench, setting)
    at: Sequence[float | None] = [None]
    if csc_layers(bench.model.net):
        home = at_home(bench)
        tuned = tune_lambda(home, setting, home.images("validation", images.limit), full_grid(bench, lambdas))
        at = sorted({bench.trained_lambda, tuned})
    title, radii = f"{setting.name} {setting.norm} attack, by eps", widening(setting.threat)
    if setting.is_minimum_norm:
        both = (matched_cells(bench, each, images, at) for each in (setting, attack_setting(setting.threat)))
        records = _measure(bench, [cell for cells in both for cell in cells], f"{title}, and pgd at {setting.threat}")
        return [found for threat in radii for record in records[: len(at)] if (found := record.under(threat))]
    settings = [within(setting, threat) for threat in radii]
    return _measure(bench, [cell for each in settings for cell in matched_cells(bench, each, images, at)], title)


def attack_by_eps(norm: str) -> str:
    """Name of the attack for accuracy against eps: the minimum-norm attack where foolbox is installed, else "pgd"."""
    names = [name for name, its in MINIMUM_NORM.items() if its == norm]
    return names[0] if names and find_spec("foolbox") else "pgd"


def failures(asked: Sequence[Record], store: Iterable[Record]) -> Iterator[str]:
    """Sentences on minimum-norm attacks that failed: DDN could not look so near, or PGD at an eps leaves fewer images.

    Args:
        asked: the records of attacks that were just asked for.
        store: all records.
    """
    keys, known = {record.cell.key for record in asked}, [record for record in store if record.cell.is_white_box]
    for found in (record for record in known if record.distances):
        if found.cell.key in keys:
            yield from _blindness(_attack(found))
        rivals = (each for each in known if keys & {each.cell.key, found.cell.key} and _is_rival(each, found))
        if missed := [text for pgd in rivals if (text := _missed(found, pgd))]:
            yield f"{_attack(found).name} failed: {'; '.join(missed)}"


def _missed(found: Record, pgd: Record) -> str | None:
    """How many images a minimum-norm attack leaves at the eps of PGD, where PGD leaves fewer; None elsewhere."""
    threat = _attack(pgd).threat
    there = found.under(threat)
    if there is None or there.accuracy <= pgd.accuracy:
        return None
    left, fewer = (int(record.correct.sum()) for record in (there, pgd))
    return f"{left} of {found.n} images stand at {threat}, {fewer} under pgd"


def _blindness(attack: AttackSetting) -> Iterator[str]:
    """A sentence on DDN with too few steps for the smallest of RADII."""
    if attack.name == "ddn" and attack.steps < least_steps(attack.eps):
        reach = DDN_SHRINKS**attack.steps
        yield f"ddn with {attack.steps} steps cannot look below a radius of {reach:.2g}: there all images look robust"


def _is_rival(pgd: Record, found: Record) -> bool:
    """Whether one is PGD on the network that the other attacks."""
    bare, its = (record.cell.model_copy(update={"attack": None}) for record in (pgd, found))
    return _attack(pgd).name == "pgd" and bare == its


def _attack(record: Record) -> AttackSetting:
    assert record.cell.attack
    return record.cell.attack


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
    if protocol == "matched" and setting.name == "pgd":
        return matched_cells(bench, setting, images, grid)
    home = at_home(bench)
    validation = home.images("validation", images.limit)
    if protocol == "ensemble":
        crafted = setting.model_copy(update={"crafted_at": usable_lambdas(home, validation, grid)})
        return [bench.cell(images, bench.inference(lambda_), crafted) for lambda_ in grid]
    tuned = tune_lambda(home, setting, validation, grid)
    return matched_cells(bench, setting, images, sorted({bench.trained_lambda, tuned}))


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


def at_home(bench: Workbench) -> Workbench:
    """The workbench on the data that its model was trained on, which may be itself."""
    own = bench.model.config.dataset
    is_there = own == bench.dataset.name
    return bench if is_there else replace(bench, dataset=open_dataset(own, bench.data_dir, bench.progress))


def tune_lambda(bench: Workbench, setting: AttackSetting, images: Images, grid: Sequence[float]) -> float:
    """The lambda of an ascending grid with the best accuracy under transferred PGD on validation images."""
    pgd = setting if setting.name == "pgd" else attack_setting(setting.threat)
    tuned = best_lambda(_measure(bench, transfer_cells(bench, pgd, images, grid), "tuning lambda"))
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
