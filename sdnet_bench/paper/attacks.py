"""Table 4: accuracy under attack, by protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..csc import csc_layers
from ..records import NOISES, PROTOCOLS, AttackSetting, Cell, Protocol, Record, Threat
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
from .plan import Extent, PlanStep, fit_steps
from .published import PaperRow
from .results import Results
from .robustness import THREATS
from .study import TableStudy

SHOWN = ("transfer", "matched", "union", "clean")
"""What stands in a column, for each threat."""

COLUMNS = {f"{threat} {shown}": (threat, shown) for threat in THREATS for shown in SHOWN}
"""The threat and what is shown, by column."""

PASSES = 3
"""What a step of an attack costs, in classified images: there, and twice as much on the way back."""


def _plan(bench: Workbench, extent: Extent) -> Iterator[PlanStep]:
    """PGD under both threats by every protocol, the adaptive one by the fits of Algorithm 1 to the four noises."""
    protocols: Sequence[Protocol] = ("matched",)
    if csc_layers(bench.model.net):
        protocols = PROTOCOLS
        yield from fit_steps(bench, NOISES, extent)
        yield _clean_step(bench, extent)
    for threat in THREATS.values():
        setting = attack_setting(Threat(*threat))
        yield from (_attack_step(bench, setting, protocol, extent) for protocol in protocols)


def _clean_step(bench: Workbench, extent: Extent) -> PlanStep:
    """Clean validation images tell which lambdas are usable: the ensemble is made of these."""
    cells = usable_cells(bench, full_grid(bench, extent.lambdas), extent.attacked)

    def run() -> Sequence[Record]:
        bench.measure(cells, "clean validation images")
        return []

    return PlanStep("clean validation images", cells, run)


def _attack_step(bench: Workbench, setting: AttackSetting, protocol: Protocol, extent: Extent) -> PlanStep:
    def run() -> Sequence[Record]:
        return run_attack(bench, setting, [protocol], extent.lambdas, limit=extent.attacked)

    cells, later = _foreseen(bench, setting, protocol, extent)
    networks = len(full_grid(bench, extent.lambdas)) if protocol == "ensemble" else 1
    passes = PASSES * setting.steps * setting.restarts * networks
    return PlanStep(f"{setting.name} {setting.norm} attack, {protocol}", cells, run, later, passes)


def _foreseen(
    bench: Workbench, setting: AttackSetting, protocol: Protocol, extent: Extent
) -> tuple[Sequence[Cell], int]:
    """The cells of a protocol, as far as fits and lambdas are known, and how many images are attacked in others."""
    limit, images = extent.attacked, len(bench.split("test", extent.attacked))
    if not csc_layers(bench.model.net):
        return matched_cells(bench, setting, [None], limit), 0
    grid, rules = full_grid(bench, extent.lambdas), adaptive_rules(bench)
    if protocol == "ensemble" and bench.missing(usable_cells(bench, grid, limit)):
        return [], images
    if protocol == "adaptive" and not rules:
        return [], 2 * images  # with the gradient of the choice of lambda, and without
    cells = protocol_cells(bench, setting, protocol, grid, limit)
    if protocol == "transfer":
        return [*transfer_cells(bench, setting, "validation", grid, limit), *cells], 0 if rules else images
    return cells, 0


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) under the threat of a column, or, in one column of each threat, the lambda behind it."""
    threat, shown = COLUMNS[column]
    robustness, choice = model.robustness.get(threat), row.rule or "trained"
    if robustness is None or _is_empty(row, shown):
        return None
    if row.shows == "accuracy":
        return robustness.value(shown, choice)
    judge = robustness.judges.get(choice)
    return Value(judge) if isinstance(judge, float) else None


def _is_empty(row: PaperRow, shown: str) -> bool:
    return row.shows == "lambda" and shown != "transfer"


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """An attack, after the fits where it needs these."""
    threat, shown = COLUMNS[column]
    if _is_empty(row, shown):
        return None
    if row.rule == "adaptive" and model.pooled is None:
        return f"sdnet-bench fit-lambda {model.name} --corruption all"
    return f"sdnet-bench attack {model.name} --norm {THREATS[threat][0]}"


def _notes(model: Results) -> Iterator[str]:
    """How each threat was measured."""
    for robustness in model.robustness.values():
        yield f"{model.name}, {'; '.join(robustness.conditions())}"


TABLE4 = TableStudy("table4", _plan, value=_value, command=_command, notes=_notes)
