"""How a group of cells is measured: those on the same images, clean, corrupted or attacked, in one pass."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..attacks import PLACEBOS
from ..backbones import ConvergenceMeter, convergence
from ..csc import tuning, using_steps
from ..data import Batch, Noise, stream_of
from ..engine.adversarial_set import Keeper, open_adversarial
from ..engine.evaluate import BATCH_SIZE, Choice, LambdaRule, Outcome, View, choose, clean, evaluate, is_correct
from ..engine.survive import Judge, Siege, survive
from ..journal import Journal
from ..progress import Task
from ..records import Cell, Record

if TYPE_CHECKING:
    from .workbench import Workbench

OTHER = "net:"
"""What a cell's `defence` begins with where another network classifies; its sha256 follows."""

Rules = Mapping[str, LambdaRule]
"""By the name that cells give."""


def measure_group(
    bench: Workbench, group: Sequence[Cell], rules: Rules, task: Task, journal: Journal, *, save: bool = False
) -> list[Record]:
    """The records of cells that differ in what classifies their images alone.

    Args:
        journal: of an attack, so that it goes on where it was.
        save: keep adversarial images.
    """
    started = time.perf_counter()
    with using_steps(bench.model.net, group[0].steps), tuning(bench.model.net, group[0].layers):
        if group[0].attack:
            records = _attack(bench, group, rules, task, journal, save)
        else:
            records = _evaluate(bench, group, rules, task)
    seconds = round((time.perf_counter() - started) / len(group), 3)
    return [record.model_copy(update={"provenance": record.provenance | {"seconds": seconds}}) for record in records]


def _evaluate(bench: Workbench, group: Sequence[Cell], rules: Rules, task: Task) -> list[Record]:
    cell, choices = group[0], [_choice(cell, rules) for cell in group]
    net, split, view = bench.model.net, bench.split_of(cell), _view(bench, cell)
    outcomes = evaluate(net, split, bench.runtime, lambdas=choices, view=view, task=task)
    _tell_missed(bench, cell, outcomes[choices[0]])
    return [
        Record.of(
            bench.model.name,
            cell,
            outcomes[choice].correct,
            metrics=_metrics(outcomes[choice]),
            provenance=_provenance(bench, cell),
        )
        for cell, choice in zip(group, choices, strict=True)
    ]


def _tell_missed(bench: Workbench, cell: Cell, outcome: Outcome) -> None:
    """Says for how many images no equilibrium was found."""
    solved = outcome.convergence
    if solved is not None and (missed := int(solved.missed.sum())):
        what = f"{cell.corruption} {cell.severity or cell.level}" if cell.corruption else "clean images"
        mean = float(solved.residual.mean())
        bench.progress.note(f"{what}: no equilibrium for {missed} of {len(solved.missed)}, mean residual {mean:.1e}")


def _view(bench: Workbench, cell: Cell) -> View:
    if cell.corruption is None or cell.archive:
        return clean
    if cell.level is None and cell.severity is not None:
        return stream_of(cell.corruption, cell.severity, bench.dataset.family, cell.seed)
    return Noise(cell.corruption, cell.level or 0.0, cell.seed)


def _metrics(outcome: Outcome) -> dict[str, float]:
    """Means over the images of what was measured beside the classes."""
    residual, lambda_ = outcome.residual, outcome.lambda_
    found: dict[str, float] = {}
    if residual is not None:
        found |= {"residual": float(residual.mean()), "residual_squared": float((residual**2).mean())}
    if lambda_ is not None:
        found |= {"lambda_mean": float(lambda_.mean()), "lambda_std": float(lambda_.std())}
    if outcome.convergence is not None:
        found |= outcome.convergence.summary()
    return found


def _attack(
    bench: Workbench, group: Sequence[Cell], rules: Rules, task: Task, journal: Journal, save: bool
) -> list[Record]:
    """Adversarial images made once, and judged as each cell says."""
    keeper = _keeper(bench, group[0], journal) if save else None
    siege = _siege(bench, group, rules, keeper)
    with convergence(bench.model.net) as solves:
        lost = survive(siege, bench.split_of(group[0]), journal=journal, task=task)
    if keeper:
        _seal(bench, keeper, siege)
    metrics = _solved_under_attack(bench, solves)
    return [
        Record.of_attack(bench.model.name, cell, lost[cell], metrics=metrics, provenance=_provenance(bench, cell))
        for cell in group
    ]


def _solved_under_attack(bench: Workbench, solves: ConvergenceMeter) -> dict[str, float]:
    """Of the equilibria that this process looked for, and of the gradients through them, the share not reached."""
    found = {"equilibrium_unconverged": solves.forward, "gradient_unconverged": solves.backward}
    shares = {name: float(each.missed.double().mean()) for name, each in found.items() if each is not None}
    if any(shares.values()):
        said = " and ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items())
        bench.progress.note(f"under attack: {said}")
    return shares


def _siege(bench: Workbench, group: Sequence[Cell], rules: Rules, keeper: Keeper | None) -> Siege[Cell]:
    first = group[0]
    assert first.attack
    return Siege(
        net=bench.model.net,
        setting=first.attack,
        judges={cell: _judge(bench, cell, rules) for cell in group},
        own=next((cell for cell in group if sees_itself(cell)), None),
        runtime=replace(bench.runtime, precision=first.precision),
        num_classes=bench.dataset.num_classes,
        rule=rules[first.rule] if first.attack.through and first.rule else None,
        seed=first.seed,
        keep=keeper,
    )


def sees_itself(cell: Cell) -> bool:
    """Whether the attack of a cell looks at exactly what classifies its images."""
    attack = cell.attack
    if attack is None or cell.defence or attack.is_detour:
        return False
    return bool(attack.through) or (cell.rule is None and cell.lambda_ == attack.crafted_at)


def _judge(bench: Workbench, cell: Cell, rules: Rules) -> Judge:
    """Whether an image is classified correctly as a cell says."""
    choice, runtime = _choice(cell, rules), replace(bench.runtime, precision=cell.precision)
    defence = cell.defence or ""
    other = bench.others[defence.removeprefix(OTHER)] if defence.startswith(OTHER) else None
    net, placebo = other or bench.model.net, PLACEBOS[defence] if defence and not other else None

    def judge(pixels: Tensor, batch: Batch) -> Tensor:
        seen = placebo(pixels) if placebo else pixels
        lambda_ = None if other else choose(net, seen, batch, choice, runtime)
        return is_correct(net, seen, batch.labels, lambda_, runtime)

    return judge


def _keeper(bench: Workbench, cell: Cell, journal: Journal) -> Keeper:
    """What keeps the adversarial images of a cell; the first process lays out the files."""
    assert cell.attack
    with bench.runtime.processes.main_process_first():
        keeper = Keeper(bench.adversarial_folder(cell), bench.split_of(cell), cell.attack)
        if keeper.is_new:
            journal.close()  # the images that it tells of are gone
        return keeper


def _seal(bench: Workbench, keeper: Keeper, siege: Siege[Cell]) -> None:
    """The first process seals a set; the others wait, as they look next at which sets are whole."""
    if bench.runtime.processes.is_main_process:
        keeper.seal()
        _check_saved(bench, siege)
    bench.runtime.processes.wait_for_everyone()


def _check_saved(bench: Workbench, siege: Siege[Cell]) -> None:
    """Reads an adversarial set back, and says what is left of accuracy on it as it lies there."""
    cell, judge = next(iter(siege.judges.items()))
    folder = bench.adversarial_folder(cell)
    saved, _ = open_adversarial(folder, bench.split_of(cell))
    batches = saved.batches(BATCH_SIZE, bench.runtime.device)
    right = sum(int(judge(bench.runtime.to_pixels(batch.images), batch).sum()) for batch in batches)
    at = "" if cell.lambda_ is None else f" at lambda {cell.lambda_:g}"
    bench.progress.note(f"adversarial images in {folder}: rounded to uint8, {right / len(saved):.1%} correct{at}")


def _choice(cell: Cell, rules: Rules) -> Choice:
    """The lambda of a cell, or the rule that chooses one for every image of it."""
    return rules[cell.rule] if cell.rule and cell.lambda_ is None else cell.lambda_


def _provenance(bench: Workbench, cell: Cell) -> dict[str, Any]:
    return bench.runtime.provenance() | {"precision": cell.precision}
