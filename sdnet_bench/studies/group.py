"""Measures a group of cells with the same clean, corrupted or adversarial images in one pass."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from ..adaptations import PLACEBOS
from ..backbones import ConvergenceMeter, convergence
from ..csc import tuning, using_steps
from ..data import Batch, Dataset, Noise, Split, stream_of
from ..data.corruptions import library_versions
from ..data.stream import workers
from ..engine.adapt import evaluate_adapted
from ..engine.adversarial_set import AdversarialWriter, open_adversarial
from ..engine.batches import BATCH_SIZE
from ..engine.evaluate import Choice, EvalResult, LambdaRule, Transform, choose, clean, evaluate, is_correct
from ..engine.robust import RobustEval, Scorer, robust_evaluate, smallest_radii
from ..engine.runtime import Runtime
from ..errors import ModelError
from ..progress import Progress, Task
from ..records import Cell, Images, Outcomes, Record
from ..records.journal import Journal
from ..zoo.checkpoint import Model

OTHER = "net:"
"""Prefix of `Inference.defence` where another network classifies; the sha256 of its weights follows."""
MOST_WORKERS = 8
"""Largest number of processes that corrupt images: more than 100,000 noisy images of side 32 per second."""


@dataclass(frozen=True, eq=False)
class Group:
    """Cells that differ only in what classifies their images, with everything needed to measure them.

    Args:
        model: the model, its network on the runtime's device.
        split: the images before corruption and attack.
        journal: journal of the attack, from which it is resumed.
        rules: the rules that choose a lambda per image, by their names in the cells.
        others: other networks by the sha256 of their weights, for cells that they classify.
        known: which images a cell under attack misclassifies without it, `(n,)` bool, where that is on record.
        folder: folder of the adversarial images; None keeps none.
    """

    cells: Sequence[Cell]
    model: Model
    dataset: Dataset
    split: Split
    runtime: Runtime
    progress: Progress
    journal: Journal
    rules: Mapping[str, LambdaRule] = field(default_factory=dict)
    others: Mapping[str, nn.Module] = field(default_factory=dict)
    known: Mapping[Cell, Outcomes] = field(default_factory=dict)
    folder: Path | None = None

    def choice(self, cell: Cell) -> Choice:
        """The lambda of a cell, or the rule that chooses a lambda per image."""
        inference = cell.inference
        return self.rules[inference.rule] if inference.rule and inference.lambda_ is None else inference.lambda_


def measure_group(group: Group, task: Task) -> list[Record]:
    """The records of a group of cells, in their order; `task` is advanced by one per image."""
    started, first = time.perf_counter(), group.cells[0]
    try:
        with using_steps(group.model.net, first.inference.steps), tuning(group.model.net, first.inference.layers):
            records = _attack(group, task) if first.attack else _evaluate(group, task)
    except ModelError as error:
        under = f" under {first.attack.name} {first.attack.threat}" if first.attack else ""
        raise ModelError(f"{group.model.name} on {_named(first.images)}{under}: {error}") from None
    seconds = round((time.perf_counter() - started) / len(group.cells), 3)
    is_made_here = first.inference.adaptation or (first.images.corruption and not first.images.archive)
    made_here = library_versions() if is_made_here else {}
    shared = {"cells": len(group.cells)} if len(group.cells) > 1 else {}
    measured = {"precision": first.inference.precision, "seconds": seconds, **shared}
    provenance = group.runtime.provenance() | made_here | measured
    return [record.model_copy(update={"provenance": provenance}) for record in records]


def _evaluate(group: Group, task: Task) -> list[Record]:
    """The records of cells without attack."""
    choices = [group.choice(cell) for cell in group.cells]
    found = (_adapted if group.cells[0].inference.adaptation else _plain)(group, choices, task)
    _note_missed(group, found[choices[0]])
    results = zip(group.cells, (found[choice] for choice in choices), strict=True)
    return [Record.of(group.model.name, cell, result.correct, _metrics(result)) for cell, result in results]


def _plain(group: Group, choices: Sequence[Choice], task: Task) -> dict[Choice, EvalResult]:
    """The results of the network as it is, for all choices in one pass."""
    transform = _corruption(group)
    return evaluate(group.model.net, group.split, group.runtime, lambdas=choices, transform=transform, task=task)


def _adapted(group: Group, choices: Sequence[Choice], task: Task) -> dict[Choice, EvalResult]:
    """The results of the adapted network, in one pass for each choice."""
    first, transform = group.cells[0], _corruption(group)
    setting, seed = first.inference.adaptation, first.images.seed
    assert setting
    measure = partial(evaluate_adapted, group.model.net, group.split, group.runtime, setting)
    return {choice: measure(choice=choice, seed=seed, transform=transform, task=task) for choice in choices}


def _note_missed(group: Group, result: EvalResult) -> None:
    """Notes for how many images the equilibrium did not converge."""
    solved, images = result.convergence, group.cells[0].images
    if solved is not None and (missed := int(solved.missed.sum())):
        share, mean = f"{missed} of {len(solved.missed)}", float(solved.residual.mean())
        group.progress.note(f"{_named(images)}: no equilibrium for {share}, mean residual {mean:.1e}")


def _named(images: Images) -> str:
    return f"{images.corruption} {images.severity or images.level}" if images.corruption else "clean images"


def _corruption(group: Group) -> Transform:
    """The corruption of a group's images; the identity for clean images and images of an archive.

    Beside a device that is faster than they are, a command lets several processes work at it.
    """
    images, runtime = group.cells[0].images, group.runtime
    if images.corruption is None or images.archive:
        return clean
    is_fast = runtime.device.type != "cpu" and runtime.owns_process
    spread = workers(min(MOST_WORKERS, os.cpu_count() or 1) if is_fast else 1)
    if images.level is None and images.severity is not None:
        return partial(stream_of(images.corruption, images.severity, group.dataset.family, images.seed), spread=spread)
    return partial(Noise(images.corruption, images.level or 0.0, images.seed), spread=spread)


def _metrics(result: EvalResult) -> dict[str, float]:
    """Metrics of a record: means over the images."""
    residual, lambda_ = result.residual, result.lambda_
    found: dict[str, float] = {}
    if residual is not None:
        found |= {"residual": float(residual.mean()), "residual_squared": float((residual**2).mean())}
    if lambda_ is not None:
        found |= {"lambda_mean": float(lambda_.mean()), "lambda_std": float(lambda_.std())}
    return found | (result.convergence.summary() if result.convergence is not None else {})


def _attack(group: Group, task: Task) -> list[Record]:
    """The records of cells under attack: adversarial images are made once and classified for each cell."""
    writer = _writer(group, group.folder) if group.folder else None
    evaluation = _robust_eval(group, writer)
    with convergence(group.model.net) as solves, evaluation.runtime.computing():
        records = _scored(group, evaluation, task)
    if writer:
        _seal(group, writer, evaluation)
    metrics = _solved_under_attack(group, solves)
    return [record.model_copy(update={"metrics": metrics}) for record in records]


def _scored(group: Group, evaluation: RobustEval[Cell], task: Task) -> list[Record]:
    """The records of an attack, without metrics."""
    name = group.model.name
    if evaluation.setting.is_minimum_norm:
        radii = smallest_radii(evaluation, group.split, journal=group.journal, task=task)
        return [Record.of_radii(name, cell, radii[cell]) for cell in group.cells]
    lost = robust_evaluate(evaluation, group.split, journal=group.journal, task=task)
    return [Record.of_attack(name, cell, lost[cell]) for cell in group.cells]


def _solved_under_attack(group: Group, solves: ConvergenceMeter) -> dict[str, float]:
    """Metrics: the shares of solves for equilibria, and for their gradients, that did not converge in this process."""
    found = {"equilibrium_unconverged": solves.forward, "gradient_unconverged": solves.backward}
    shares = {name: float(each.missed.cpu().double().mean()) for name, each in found.items() if each is not None}
    if any(shares.values()):
        said = " and ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items())
        group.progress.note(f"under attack: {said}")
    return shares


def _robust_eval(group: Group, writer: AdversarialWriter | None) -> RobustEval[Cell]:
    """The robust evaluation of a group, with one scorer per cell."""
    first = group.cells[0]
    attack, inference = first.attack, first.inference
    assert attack
    return RobustEval(
        net=group.model.net,
        setting=attack,
        scorers={cell: _scorer(group, cell) for cell in group.cells},
        own=next((cell for cell in group.cells if cell.is_white_box), None),
        runtime=replace(group.runtime, precision=inference.precision),
        num_classes=group.dataset.num_classes,
        rule=group.rules[inference.rule] if attack.through and inference.rule else None,
        known=group.known,
        seed=first.images.seed,
        keep=writer,
    )


def _scorer(group: Group, cell: Cell) -> Scorer:
    choice, runtime = group.choice(cell), replace(group.runtime, precision=cell.inference.precision)
    defence = cell.inference.defence or ""
    other = group.others[defence.removeprefix(OTHER)] if defence.startswith(OTHER) else None
    net, transform = other or group.model.net, PLACEBOS[defence] if defence and not other else None

    def score(pixels: Tensor, batch: Batch) -> Tensor:
        seen = transform(pixels) if transform else pixels
        lambda_ = None if other else choose(net, seen, batch, choice, runtime)
        return is_correct(net, seen, batch.labels, lambda_, runtime)

    return score


def _writer(group: Group, folder: Path) -> AdversarialWriter:
    """The writer of the adversarial images of a group; the first process creates the files."""
    attack = group.cells[0].attack
    assert attack
    with group.runtime.processes.main_process_first():
        writer = AdversarialWriter(folder, group.split, attack)
        if writer.is_new:
            group.journal.close()  # the images of its entries are missing
        return writer


def _seal(group: Group, writer: AdversarialWriter, evaluation: RobustEval[Cell]) -> None:
    """Marks a set as finished in the first process; the others wait, because they read the mark next."""
    if group.runtime.processes.is_main_process:
        writer.seal()
        _check_saved(group, writer.folder, evaluation)
    group.runtime.processes.wait_for_everyone()


def _check_saved(group: Group, folder: Path, evaluation: RobustEval[Cell]) -> None:
    """Reads a saved adversarial set and notes the accuracy on it."""
    cell, score = next(iter(evaluation.scorers.items()))
    saved, _ = open_adversarial(folder, group.split)
    batches = saved.batches(BATCH_SIZE, group.runtime.device)
    right = sum(int(score(group.runtime.to_pixels(batch.images), batch).sum()) for batch in batches)
    lambda_ = cell.inference.lambda_
    at = "" if lambda_ is None else f" at lambda {lambda_:g}"
    group.progress.note(f"adversarial images in {folder}: rounded to uint8, {right / len(saved):.1%} correct{at}")
