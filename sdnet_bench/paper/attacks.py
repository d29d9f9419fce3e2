"""Table 4: accuracy under attack, by protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..csc import csc_layers
from ..records import NOISES, PROTOCOLS, AttackSetting, Cell, Protocol, Record
from ..records.statistics import Value
from ..studies.adversarial import (
    adaptive_rules,
    attack_setting,
    matched_cells,
    protocol_cells,
    run_attack,
    transfer_cells,
    usable_cells,
)
from ..studies.algorithm1 import full_grid
from ..studies.workbench import Workbench
from .plan import PlanStep, StudySize, TableStudy, fit_steps
from .published import PaperRow
from .results import Results
from .robustness import THREATS

SHOWN = ("transfer", "matched", "union", "clean")
"""The values shown for each threat, one per column."""

COLUMNS = {f"{name} {shown}": (threat, shown) for name, threat in THREATS.items() for shown in SHOWN}
"""Threat and shown value by column."""

PASSES = 3
"""Cost of an attack step in classified images: one forward pass, and a backward pass that costs two."""


def _plan(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of Table 4: PGD under both threats by every protocol, after Algorithm 1 on the four noises."""
    protocols: Sequence[Protocol] = ("matched",)
    if csc_layers(bench.model.net):
        protocols = PROTOCOLS
        yield from fit_steps(bench, NOISES, size)
        yield _clean_step(bench, size)
    for threat in THREATS.values():
        setting = attack_setting(threat)
        yield from (_attack_step(bench, setting, protocol, size) for protocol in protocols)


def _clean_step(bench: Workbench, size: StudySize) -> PlanStep:
    """The step that measures clean validation images, which decide the usable lambdas of the ensemble."""
    cells = usable_cells(bench, bench.images("validation", size.attacked), full_grid(bench, size.lambdas))

    def run() -> Sequence[Record]:
        bench.measure(cells, "clean validation images")
        return []

    return PlanStep("clean validation images", cells, run)


def _attack_step(bench: Workbench, setting: AttackSetting, protocol: Protocol, size: StudySize) -> PlanStep:
    def run() -> Sequence[Record]:
        return run_attack(bench, setting, bench.images("test", size.attacked), [protocol], size.lambdas)

    cells, later = _foreseen(bench, setting, protocol, size)
    networks = len(full_grid(bench, size.lambdas)) if protocol == "ensemble" else 1
    passes = PASSES * setting.steps * setting.restarts * networks
    return PlanStep(f"{setting.name} {setting.norm} attack, {protocol}", cells, run, later, passes)


def _foreseen(
    bench: Workbench, setting: AttackSetting, protocol: Protocol, size: StudySize
) -> tuple[Sequence[Cell], int]:
    """The cells of a protocol that are known beforehand, and the number of attacked images of the others."""
    tested, validation = bench.images("test", size.attacked), bench.images("validation", size.attacked)
    count = len(bench.split_of(tested))
    if not csc_layers(bench.model.net):
        return matched_cells(bench, setting, tested, [None]), 0
    grid, rules = full_grid(bench, size.lambdas), adaptive_rules(bench)
    if protocol == "ensemble" and bench.missing(usable_cells(bench, validation, grid)):
        return [], count
    if protocol == "adaptive" and not rules:
        return [], 2 * count  # with the gradient of the rule, and without
    cells = protocol_cells(bench, setting, protocol, tested, grid)
    if protocol == "transfer":
        return [*transfer_cells(bench, setting, validation, grid), *cells], 0 if rules else count
    return cells, 0


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) under the threat of a column, or in the row of the tuned lambda that lambda."""
    threat, shown = COLUMNS[column]
    robustness, choice = model.robustness.get(threat), row.rule or "trained"
    if robustness is None or _is_empty(row, shown):
        return None
    if row.shows == "accuracy":
        return robustness.value(shown, choice)
    classifier = robustness.classifiers.get(choice)
    return Value(classifier) if isinstance(classifier, float) else None


def _is_empty(row: PaperRow, shown: str) -> bool:
    return row.shows == "lambda" and shown != "transfer"


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command of an attack, preceded by that of the fits where it needs them."""
    threat, shown = COLUMNS[column]
    if _is_empty(row, shown):
        return None
    if row.rule == "adaptive" and model.pooled is None:
        return f"sdnet-bench fit-lambda {model.name} --corruption all"
    return f"sdnet-bench attack {model.name} --norm {threat.norm}"


def _notes(model: Results) -> Iterator[str]:
    """Notes on the attack of each threat."""
    for robustness in model.robustness.values():
        yield f"{model.name}, {'; '.join(robustness.conditions())}"


TABLE4 = TableStudy("table4", _plan, value=_value, command=_command, notes=_notes)
