"""A model on the bench: what every study works with. It measures the cells that are not yet on record."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..csc import check_lambda, require_csc_layers
from ..data import Dataset, Split, limited, open_dataset
from ..data.datasets import Which
from ..engine.checkpoint import Model, load_model
from ..engine.evaluate import Noise, Outcome, clean, evaluate
from ..engine.runtime import Runtime
from ..engine.survive import AttackRun, survive
from ..files import make_folder
from ..progress import Progress, Task
from ..records import Cell, Record, RecordStore


@dataclass
class Workbench:
    """A model with its data, its records and a machine to run on.

    Args:
        model: its network is moved to the runtime's device.
        dataset: that the model was trained on.
        folder: where records go.
        seed: of corruptions and attacks.
    """

    model: Model
    dataset: Dataset
    folder: Path
    runtime: Runtime
    progress: Progress = field(default_factory=Progress)
    seed: int = 0

    def __post_init__(self) -> None:
        self.store = RecordStore.of_model(self.model.folder, self.folder)
        self.runtime.place(self.model.net)
        self._splits: dict[tuple[Which, int | None], Split] = {}

    @classmethod
    def open(
        cls, name: str, runs_dir: Path, data_dir: Path, runtime: Runtime, progress: Progress, seed: int = 0
    ) -> Workbench:
        """Loads a model by name or path and finds its data."""
        model = load_model(name, runs_dir=runs_dir)
        dataset = open_dataset(model.config.dataset, data_dir, progress)
        return cls(model, dataset, runs_dir / model.name, runtime, progress, seed)

    @property
    def trained_lambda(self) -> float:
        """lambda_0; a `UsageError` for a network without CSC-layers."""
        require_csc_layers(self.model.net)
        return float(self.model.trained_lambda or 0)

    def split(self, which: Which, limit: int | None = None) -> Split:
        """A split of the data set, or `limit` images spread evenly over it."""
        if (which, limit) not in self._splits:
            self._splits[which, limit] = limited(self.dataset.open(which), limit)
        return self._splits[which, limit]

    def cell(self, which: Which, limit: int | None = None, lambda_: float | None = None, **rest: Any) -> Cell:
        """A cell of this model; lambda is by default the one that it was trained with.

        A lambda for a network without CSC-layers is a `UsageError`.
        """
        if lambda_ is not None:
            require_csc_layers(self.model.net)
        return Cell(
            weights=self.model.weights,
            dataset=self.dataset.name,
            split=which,
            images=self.split(which, limit).digest,
            limit=limit if limit and limit < len(self.split(which)) else None,
            lambda_=self.model.trained_lambda if lambda_ is None else check_lambda(lambda_),
            precision="float32" if rest.get("attack") else self.runtime.precision,
            seed=self.seed,
            **rest,
        )

    def measure(self, cells: Sequence[Cell], title: str) -> list[Record]:
        """The records of the cells, in their order. Those that are missing are measured and kept."""
        groups = _grouped(cell for cell in dict.fromkeys(cells) if cell not in self.store)
        total = sum(self._images(group) for group in groups)
        if total:
            make_folder(self.folder)
            missing = sum(len(group) for group in groups)
            self.progress.note(f"{title}: {missing} of {len(cells)} cells to measure, {total:,} images to classify")
            with self.progress.task(title, total) as task:
                for group in groups:
                    self._measure_group(group, task)
        return [self.store[cell] for cell in cells]

    def _images(self, group: Sequence[Cell]) -> int:
        """How many steps of progress a group is worth."""
        images = len(self.split(group[0].split, group[0].limit))
        return images if group[0].attack else images * len(group)

    def _measure_group(self, group: Sequence[Cell], task: Task) -> None:
        """Measures cells that differ in lambda alone, on the same images."""
        started = time.perf_counter()
        first, lambdas = group[0], [cell.lambda_ for cell in group]
        split = self.split(first.split, first.limit)
        outcomes = (
            self._attack(first, split, lambdas, task) if first.attack else self._evaluate(first, split, lambdas, task)
        )
        seconds = (time.perf_counter() - started) / len(group)
        file = self.store.append if self.runtime.processes.is_main_process else self.store.keep
        for cell in group:
            file(self._record(cell, outcomes[cell.lambda_], seconds))

    def _evaluate(
        self, cell: Cell, split: Split, lambdas: Sequence[float | None], task: Task
    ) -> dict[float | None, Outcome]:
        view = Noise(cell.corruption, cell.level or 0.0, cell.seed) if cell.corruption else clean
        return evaluate(self.model.net, split, self.runtime, lambdas=lambdas, view=view, task=task)

    def _attack(
        self, cell: Cell, split: Split, lambdas: Sequence[float | None], task: Task
    ) -> dict[float | None, Outcome]:
        assert cell.attack
        run = AttackRun(self.model.net, cell.attack, replace(self.runtime, precision=cell.precision), cell.seed)
        return survive(run, split, lambdas=lambdas, task=task)

    def _record(self, cell: Cell, outcome: Outcome, seconds: float) -> Record:
        metrics = {} if outcome.residual is None else {"residual": float(outcome.residual.mean())}
        provenance = self.runtime.provenance() | {"precision": cell.precision, "seconds": round(seconds, 3)}
        return Record.of(self.model.name, cell, outcome.correct, metrics=metrics, provenance=provenance)


def _grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that differ in lambda, and in how it was chosen, alone."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.model_copy(update={"lambda_": None, "rule": None}).key].append(cell)
    return list(groups.values())
