"""Robust accuracy under attack (paper, Table 4), and what the paper's protocol leaves out.

Two protocols:

    transfer  adversarial images are made at the lambda of training and scored at every lambda: the paper's
    matched   they are made at the lambda they are scored at: the attack knows lambda

Lambda "after tuning" is the one that scores best against transferred images of the validation split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..attacks import ATTACKS, Threat
from ..config import LAMBDAS
from ..csc import csc_layers
from ..data.datasets import Which
from ..errors import UnknownNameError
from ..records import AttackSetting, Cell, Record
from .lambda_sweep import best_record, parse_lambdas
from .workbench import Workbench

Protocol = Literal["matched", "transfer", "all"]
PROTOCOLS: tuple[Protocol, ...] = ("matched", "transfer", "all")
IMAGES = 1000
"""How many images of each split are attacked by default."""


def run_attack(
    bench: Workbench,
    setting: AttackSetting,
    protocol: Protocol = "all",
    lambdas: Sequence[float] | None = None,
    *,
    limit: int | None = IMAGES,
) -> list[Record]:
    """Attacks the test split by the given protocol; a network without lambda has just one, "matched".

    For a network with CSC-layers the tuned lambda is found first, on as many validation images.
    """
    if not csc_layers(bench.model.net):
        return bench.measure(matched_cells(bench, setting, [None], limit), f"{setting.norm} attack")
    grid = sorted({bench.trained_lambda, *(parse_lambdas(LAMBDAS) if lambdas is None else lambdas)})
    tuned = tune_lambda(bench, setting, grid, limit)
    cells: list[Cell] = []
    if protocol != "matched":
        cells += transfer_cells(bench, setting, "test", grid, limit)
    if protocol != "transfer":
        cells += matched_cells(bench, setting, sorted({bench.trained_lambda, tuned}), limit)
    bench.measure([bench.cell("test", limit, tuned)], "clean test images at the tuned lambda")
    return bench.measure(list(dict.fromkeys(cells)), f"{setting.norm} attack")  # at lambda_0 the protocols are one


def tune_lambda(bench: Workbench, setting: AttackSetting, grid: Sequence[float], limit: int | None) -> float:
    """The lambda of an ascending grid that stands best against transferred images of the validation split."""
    tuned = best_lambda(bench.measure(transfer_cells(bench, setting, "validation", grid, limit), "tuning lambda"))
    edge = ", the last of the grid: beyond it may be a better one" if tuned == grid[-1] else ""
    bench.progress.note(f"lambda tuned on validation images: {tuned:g}{edge}")
    return tuned


def attack_setting(threat: Threat, steps: int = 10, restarts: int = 1, *, name: str = "pgd") -> AttackSetting:
    """A registered attack with steps of 2.5 eps / steps (Madry et al., 2018)."""
    if name not in ATTACKS:
        raise UnknownNameError("attack", name, ATTACKS)
    size = 2.5 * threat.eps / steps
    return AttackSetting(name=name, norm=threat.norm, eps=threat.eps, step_size=size, steps=steps, restarts=restarts)


def check_protocol(name: str) -> Protocol:
    """`name` if it is a protocol."""
    for protocol in PROTOCOLS:
        if name == protocol:
            return protocol
    raise UnknownNameError("protocol", name, PROTOCOLS)


def transfer_cells(
    bench: Workbench, setting: AttackSetting, which: Which, lambdas: Sequence[float], limit: int | None
) -> list[Cell]:
    """Made at lambda_0, scored at every lambda."""
    crafted = setting.model_copy(update={"crafted_at": bench.trained_lambda})
    return [bench.cell(which, limit, lambda_, attack=crafted) for lambda_ in lambdas]


def matched_cells(
    bench: Workbench, setting: AttackSetting, lambdas: Sequence[float | None], limit: int | None
) -> list[Cell]:
    """Made at the lambda that they are scored at."""
    return [
        bench.cell("test", limit, lambda_, attack=setting.model_copy(update={"crafted_at": lambda_}))
        for lambda_ in lambdas
    ]


def best_lambda(records: Sequence[Record]) -> float:
    """The lambda of the most accurate record, the smallest where several are."""
    return float(best_record(records).cell.lambda_ or 0)
