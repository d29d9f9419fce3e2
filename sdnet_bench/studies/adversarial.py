"""Robust accuracy under attack (paper, Table 4), by the paper's protocol and three others: those of `protocols`, and

    ensemble  adversarial images are made with the mean logits of all usable lambdas and scored at every lambda

Lambda "after tuning" is the lambda of the best accuracy on transferred adversarial images of the validation split of
the data that the network was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..csc import csc_layers
from ..data import open_dataset
from ..engine.batches import BATCH_SIZE
from ..engine.evaluate import LambdaRule
from ..records import UNKNOWN, AttackSetting, Cell, Images, Protocol, Record, usual_protocols, widening
from ..records.statistics import best_lambda
from .algorithm1 import full_grid, require_fits
from .minimum_norm import failures
from .probing import warn_of_masking
from .protocols import adaptive_cells, adaptive_rules, attack_setting, matched_cells, transfer_cells, within
from .workbench import Workbench

USABLE = 0.9
"""A lambda is usable if clean accuracy is at least this share of clean accuracy at lambda_0."""


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
    if setting.name != "pgd" and "matched" in protocols:  # what cannot run ends before lambda is tuned
        _measure(bench, matched_cells(bench, setting, images, [bench.trained_lambda]), title, save=save)
    if "transfer" in protocols:  # lambda is tuned on its records
        tune_lambda(bench, setting, images.limit, grid)
    records: list[Record] = []
    for protocol in protocols:
        cells = protocol_cells(bench, setting, protocol, images, grid)
        records += _measure(bench, cells, f"{title}, {protocol}", adaptive_rules(bench), save=save)
    return list({record.cell.key: record for record in records}.values())  # at lambda_0 transfer and matched are one


def sweep_eps(
    bench: Workbench, setting: AttackSetting, images: Images, lambdas: Sequence[float] | None = None
) -> list[Record]:
    """Matched attacks at every radius of RADII, at lambda_0 and at the lambda tuned for the radius of `setting`.

    A minimum-norm attack is run once for all radii; PGD is run beside it at the radius of `setting` alone.
    """
    setting = for_classes(bench, setting)
    at: Sequence[float | None] = [None]
    if csc_layers(bench.model.net):
        at = sorted({bench.trained_lambda, tune_lambda(bench, setting, images.limit, full_grid(bench, lambdas))})
    title, radii = f"{setting.name} {setting.norm} attack, by eps", widening(setting.threat)
    if setting.is_minimum_norm:
        both = (matched_cells(bench, each, images, at) for each in (setting, attack_setting(setting.threat)))
        records = _measure(bench, [cell for cells in both for cell in cells], f"{title}, and pgd at {setting.threat}")
        return [found for threat in radii for record in records[: len(at)] if (found := record.under(threat))]
    settings = [within(setting, threat) for threat in radii]
    return _measure(bench, [cell for each in settings for cell in matched_cells(bench, each, images, at)], title)


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


def protocol_cells(
    bench: Workbench, setting: AttackSetting, protocol: Protocol, images: Images, grid: Sequence[float]
) -> list[Cell]:
    """The cells of one protocol on test images, for a network with lambda."""
    if protocol == "transfer":
        return transfer_cells(bench, setting, images, grid)
    if protocol == "adaptive":
        return adaptive_cells(bench, setting, images)
    if protocol == "ensemble":
        crafted = setting.model_copy(update={"crafted_at": usable_lambdas(bench, images.limit, grid)})
        return [bench.cell(images, bench.inference(lambda_), crafted) for lambda_ in grid]
    if setting.name != "pgd":
        grid = sorted({bench.trained_lambda, tune_lambda(bench, setting, images.limit, grid)})
    return matched_cells(bench, setting, images, grid)


def at_home(bench: Workbench) -> Workbench:
    """The workbench on the data that its model was trained on, which may be itself."""
    own = bench.model.config.dataset
    is_there = own == bench.dataset.name
    return bench if is_there else replace(bench, dataset=open_dataset(own, bench.data_dir, bench.progress))


def tune_lambda(bench: Workbench, setting: AttackSetting, limit: int | None, grid: Sequence[float]) -> float:
    """The lambda of an ascending grid with the best accuracy under transferred PGD on validation images at home."""
    pgd, home = setting if setting.name == "pgd" else attack_setting(setting.threat), at_home(bench)
    cells = transfer_cells(home, pgd, home.images("validation", limit), grid)
    tuned = best_lambda(_measure(home, cells, "tuning lambda"))
    edge = ", the last of the grid: beyond it may be a better one" if tuned == grid[-1] else ""
    bench.progress.note(f"lambda tuned on validation images: {tuned:g}{edge}")
    return tuned


def usable_lambdas(bench: Workbench, limit: int | None, grid: Sequence[float]) -> tuple[float, ...]:
    """The lambdas at which accuracy on clean validation images at home is at least 90 % of that at lambda_0."""
    home = at_home(bench)
    cells = usable_cells(home, home.images("validation", limit), grid)
    records = home.measure(cells, "clean validation images")
    accuracy = {lambda_: record.accuracy for lambda_, record in zip(grid, records, strict=True)}
    least = USABLE * accuracy[bench.trained_lambda]
    return tuple(lambda_ for lambda_ in grid if accuracy[lambda_] >= least)


def usable_cells(bench: Workbench, images: Images, grid: Sequence[float]) -> list[Cell]:
    """The cells of clean validation images that decide which lambdas are usable."""
    return [bench.cell(images, bench.inference(lambda_)) for lambda_ in grid]
