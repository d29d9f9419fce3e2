"""A model on the bench: what every study works with. It measures the cells that are not yet on record."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..csc import check_lambda, require_csc_layers, using_steps
from ..data import Dataset, Noise, Split, limited, open_dataset, stream_of
from ..data.archives import open_archive
from ..data.datasets import Which
from ..engine.checkpoint import Model, load_model
from ..engine.evaluate import Choice, LambdaRule, Outcome, View, clean, evaluate
from ..engine.runtime import Runtime
from ..engine.survive import AttackRun, survive
from ..files import make_folder
from ..progress import Progress, Task
from ..records import Cell, Record, RecordStore

Block = tuple[int, int]


@dataclass
class Workbench:
    """A model with its data, its records and a machine to run on.

    Args:
        model: its network is moved to the runtime's device.
        dataset: that the model was trained on.
        folder: where records go.
        seed: of corruptions and attacks.
        data_dir: where archives of corrupted images lie.
    """

    model: Model
    dataset: Dataset
    folder: Path
    runtime: Runtime
    progress: Progress = field(default_factory=Progress)
    seed: int = 0
    data_dir: Path = Path("data")

    def __post_init__(self) -> None:
        self.store = RecordStore.of_model(self.model.folder, self.folder)
        self.runtime.place(self.model.net)
        self._splits: dict[tuple[Which, int | None, Block | None], Split] = {}
        self._archived: dict[tuple[str, int, int | None], Split] = {}

    @classmethod
    def open(
        cls, name: str, runs_dir: Path, data_dir: Path, runtime: Runtime, progress: Progress, seed: int = 0
    ) -> Workbench:
        """Loads a model by name or path and finds its data."""
        model = load_model(name, runs_dir=runs_dir)
        dataset = open_dataset(model.config.dataset, data_dir, progress)
        return cls(model, dataset, runs_dir / model.name, runtime, progress, seed, data_dir)

    @property
    def trained_lambda(self) -> float:
        """lambda_0; a `UsageError` for a network without CSC-layers."""
        require_csc_layers(self.model.net)
        return float(self.model.trained_lambda or 0)

    def split(self, which: Which, limit: int | None = None, block: Block | None = None) -> Split:
        """A split of the data set, `limit` images spread evenly over it, or a block of these as the seed shuffles."""
        key = (which, limit, block)
        if key not in self._splits:
            self._splits[key] = self._block(which, limit, block) if block else limited(self.dataset.open(which), limit)
        return self._splits[key]

    def _block(self, which: Which, limit: int | None, block: Block) -> Split:
        whole = self.split(which, limit)
        return whole.subset(np.random.default_rng(self.seed).permutation(len(whole))[slice(*block)].tolist())

    def archived(self, corruption: str, severity: int, limit: int | None = None) -> Split:
        """Corrupted test images as the archive of this data set has them."""
        key = (corruption, severity, limit)
        if key not in self._archived:
            images = open_archive(self.dataset.name, corruption, severity, self.data_dir)
            self._archived[key] = limited(images, limit)
        return self._archived[key]

    def cell(
        self,
        which: Which,
        limit: int | None = None,
        lambda_: float | None = None,
        *,
        block: Block | None = None,
        steps: int | None = None,
        **rest: Any,
    ) -> Cell:
        """A cell of this model; lambda and FISTA steps are by default those that it was trained with.

        Either for a network without CSC-layers is a `UsageError`.
        """
        layers = [] if lambda_ is None and steps is None else require_csc_layers(self.model.net)
        return Cell(
            weights=self.model.weights,
            dataset=self.dataset.name,
            split=which,
            images=self.split(which, limit, block).digest,
            limit=limit if limit and limit < len(self.split(which)) else None,
            block=block,
            lambda_=self.model.trained_lambda if lambda_ is None else check_lambda(lambda_),
            steps=None if steps in {layer.steps for layer in layers} else steps,
            precision="float32" if rest.get("attack") else self.runtime.precision,
            seed=self.seed,
            **rest,
        )

    def measure(self, cells: Sequence[Cell], title: str, rules: Mapping[str, LambdaRule] | None = None) -> list[Record]:
        """The records of the cells, in their order. Those that are missing are measured and kept.

        Args:
            rules: by the name that cells give: those that choose a lambda for every image.
        """
        missing = self.missing(cells)
        if missing:
            total = self.work(missing)
            make_folder(self.folder)
            self.progress.note(
                f"{title}: {len(missing)} of {len(cells)} cells to measure, {total:,} images to classify"
            )
            with self.progress.task(title, total) as task:
                for group in _grouped(missing):
                    self._measure_group(group, task, rules or {})
        return [self.store[cell] for cell in cells]

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those that are not on record, each once."""
        return [cell for cell in dict.fromkeys(cells) if cell not in self.store]

    def work(self, cells: Iterable[Cell]) -> int:
        """How many images have to be classified, or attacked, for these cells."""
        return sum(len(self._split(group[0])) * (1 if group[0].attack else len(group)) for group in _grouped(cells))

    def _measure_group(self, group: Sequence[Cell], task: Task, rules: Mapping[str, LambdaRule]) -> None:
        """Measures cells that differ in how lambda is chosen alone, on the same images."""
        started = time.perf_counter()
        first, choices = group[0], [_choice(cell, rules) for cell in group]
        with using_steps(self.model.net, first.steps):
            outcomes = self._attack(first, choices, task) if first.attack else self._evaluate(first, choices, task)
        seconds = (time.perf_counter() - started) / len(group)
        file = self.store.append if self.runtime.processes.is_main_process else self.store.keep
        for cell, choice in zip(group, choices, strict=True):
            file(self._record(cell, outcomes[choice], seconds))

    def _evaluate(self, cell: Cell, choices: Sequence[Choice], task: Task) -> dict[Choice, Outcome]:
        view = self._view(cell)
        return evaluate(self.model.net, self._split(cell), self.runtime, lambdas=choices, view=view, task=task)

    def _view(self, cell: Cell) -> View:
        if cell.corruption is None or cell.archive:
            return clean
        if cell.level is None and cell.severity is not None:
            return stream_of(cell.corruption, cell.severity, self.dataset.family, cell.seed)
        return Noise(cell.corruption, cell.level or 0.0, cell.seed)

    def _attack(self, cell: Cell, choices: Sequence[Choice], task: Task) -> dict[Choice, Outcome]:
        assert cell.attack
        run = AttackRun(self.model.net, cell.attack, replace(self.runtime, precision=cell.precision), cell.seed)
        lambdas = [choice for choice in choices if not callable(choice)]
        return dict(survive(run, self._split(cell), lambdas=lambdas, task=task).items())

    def _split(self, cell: Cell) -> Split:
        if cell.archive and cell.corruption and isinstance(cell.severity, int):
            return self.archived(cell.corruption, cell.severity, cell.limit)
        return self.split(cell.split, cell.limit, cell.block)

    def _record(self, cell: Cell, outcome: Outcome, seconds: float) -> Record:
        provenance = self.runtime.provenance() | {"precision": cell.precision, "seconds": round(seconds, 3)}
        return Record.of(self.model.name, cell, outcome.correct, metrics=_metrics(outcome), provenance=provenance)


def _metrics(outcome: Outcome) -> dict[str, float]:
    """Means over the images of what was measured beside the classes."""
    residual, lambda_ = outcome.residual, outcome.lambda_
    found: dict[str, float] = {}
    if residual is not None:
        found |= {"residual": float(residual.mean()), "residual_squared": float((residual**2).mean())}
    if lambda_ is not None:
        found |= {"lambda_mean": float(lambda_.mean()), "lambda_std": float(lambda_.std())}
    return found


def _choice(cell: Cell, rules: Mapping[str, LambdaRule]) -> Choice:
    """The lambda of a cell, or the rule that chooses one for every image of it."""
    return rules[cell.rule] if cell.rule and cell.lambda_ is None else cell.lambda_


def _grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that differ in lambda, and in how it was chosen, alone."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.model_copy(update={"lambda_": None, "rule": None}).key].append(cell)
    return list(groups.values())
