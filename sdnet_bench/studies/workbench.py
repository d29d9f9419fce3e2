"""A model on the bench: what every study works with. It measures the cells that are not yet on record."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..attacks import PLACEBOS
from ..csc import check_lambda, require_csc_layers, using_steps
from ..data import Batch, Dataset, Noise, Split, limited, open_dataset, stream_of
from ..data.archives import open_archive
from ..data.datasets import Which
from ..engine.adversarial_set import Keeper, is_whole, open_adversarial
from ..engine.checkpoint import Model, load_model
from ..engine.evaluate import BATCH_SIZE, Choice, LambdaRule, Outcome, View, choose, clean, evaluate, is_correct
from ..engine.runtime import Runtime
from ..engine.survive import Judge, Siege, survive
from ..files import make_folder
from ..journal import Journal
from ..progress import Progress, Task
from ..records import Cell, Record, RecordStore

Block = tuple[int, int]
OTHER = "net:"
"""What a cell's `defence` begins with where another network classifies; its sha256 follows."""


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
        self.others: dict[str, nn.Module] = {}
        """Networks by the sha256 of their weights, for cells in which another one classifies."""
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

    def measure(
        self,
        cells: Sequence[Cell],
        title: str,
        rules: Mapping[str, LambdaRule] | None = None,
        *,
        save: bool = False,
    ) -> list[Record]:
        """The records of the cells, in their order. Those that are missing are measured and kept.

        Args:
            rules: by the name that cells give: those that choose a lambda for every image.
            save: keep the adversarial images too, in `adversarial_folder`; those that are not there are made anew.
        """
        missing = self._unsaved(cells) if save else self.missing(cells)
        if missing:
            total = self.work(missing)
            make_folder(self.folder)
            self.progress.note(
                f"{title}: {len(missing)} of {len(cells)} cells to measure, {total:,} images to classify"
            )
            with self.progress.task(title, total) as task:
                for group in _grouped(missing):
                    self._measure_group(group, task, rules or {}, save)
        return [self.store[cell] for cell in cells]

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those that are not on record, each once."""
        return [cell for cell in dict.fromkeys(cells) if cell not in self.store]

    def _unsaved(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of the groups that lack a record or their adversarial images."""
        groups = _grouped(dict.fromkeys(cells))
        wanted = [group for group in groups if self.missing(group) or not is_whole(self.adversarial_folder(group[0]))]
        return [cell for group in wanted for cell in group]

    def adversarial_folder(self, cell: Cell) -> Path:
        """Where the adversarial images of a cell are kept, if they are: a name to read, and its digest."""
        attack = cell.attack
        assert attack
        return self.folder / "adversarial" / f"{attack.norm}-{attack.name}-{_images_of(cell).key[:16]}"

    def work(self, cells: Iterable[Cell]) -> int:
        """How many images have to be classified, or attacked, for these cells."""
        return sum(len(self._split(group[0])) * (1 if group[0].attack else len(group)) for group in _grouped(cells))

    def _measure_group(self, group: Sequence[Cell], task: Task, rules: Mapping[str, LambdaRule], save: bool) -> None:
        """Measures cells that differ in how lambda is chosen alone, on the same images."""
        started = time.perf_counter()
        first, processes = group[0], self.runtime.processes
        journal = Journal(self._journal_folder(group, save) if first.attack else None, processes.process_index)
        measure = partial(self._attack, journal=journal, save=save) if first.attack else self._evaluate
        with using_steps(self.model.net, first.steps):
            records = measure(group, task, rules)
        seconds = round((time.perf_counter() - started) / len(group), 3)
        file = self.store.append if processes.is_main_process else self.store.keep
        for record in records:
            file(record.model_copy(update={"provenance": record.provenance | {"seconds": seconds}}))
        if processes.is_main_process:
            journal.close()

    def _journal_folder(self, group: Iterable[Cell], save: bool) -> Path:
        """Of one measurement: the same cells, with or without their images."""
        content = " ".join([*(cell.key for cell in group), str(save)])
        return self.folder / f"journal-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def _evaluate(self, group: Sequence[Cell], task: Task, rules: Mapping[str, LambdaRule]) -> list[Record]:
        cell, choices = group[0], [_choice(cell, rules) for cell in group]
        view, split = self._view(cell), self._split(cell)
        outcomes = evaluate(self.model.net, split, self.runtime, lambdas=choices, view=view, task=task)
        return [
            Record.of(
                self.model.name,
                cell,
                outcomes[choice].correct,
                metrics=_metrics(outcomes[choice]),
                provenance=self._provenance(cell),
            )
            for cell, choice in zip(group, choices, strict=True)
        ]

    def _attack(
        self, group: Sequence[Cell], task: Task, rules: Mapping[str, LambdaRule], *, journal: Journal, save: bool
    ) -> list[Record]:
        """Adversarial images made once, and judged as each cell says."""
        first = group[0]
        assert first.attack
        keeper = self._keeper(first) if save else None
        siege = Siege(
            net=self.model.net,
            setting=first.attack,
            judges={cell: self._judge(cell, rules) for cell in group},
            own=next((cell for cell in group if sees_itself(cell)), None),
            runtime=replace(self.runtime, precision=first.precision),
            num_classes=self.dataset.num_classes,
            rule=rules[first.rule] if first.attack.through and first.rule else None,
            seed=first.seed,
            keep=keeper,
        )
        lost = survive(siege, self._split(first), journal=journal, task=task)
        if keeper and self.runtime.processes.is_main_process:
            keeper.seal()
            self._check_saved(siege)
        return [
            Record.of_attack(self.model.name, cell, lost[cell], provenance=self._provenance(cell)) for cell in group
        ]

    def _check_saved(self, siege: Siege[Cell]) -> None:
        """Reads an adversarial set back, and says what is left of accuracy on it as it lies there."""
        cell, judge = next(iter(siege.judges.items()))
        folder = self.adversarial_folder(cell)
        saved, _ = open_adversarial(folder, self._split(cell))
        batches = saved.batches(BATCH_SIZE, self.runtime.device)
        right = sum(int(judge(self.runtime.to_pixels(batch.images), batch).sum()) for batch in batches)
        at = "" if cell.lambda_ is None else f" at lambda {cell.lambda_:g}"
        self.progress.note(f"adversarial images in {folder}: rounded to uint8, {right / len(saved):.1%} correct{at}")

    def _keeper(self, cell: Cell) -> Keeper:
        """What keeps the adversarial images of a cell; the first process lays out the files."""
        assert cell.attack
        with self.runtime.processes.main_process_first():
            return Keeper(self.adversarial_folder(cell), self._split(cell), cell.attack)

    def _judge(self, cell: Cell, rules: Mapping[str, LambdaRule]) -> Judge:
        """Whether an image is classified correctly as a cell says."""
        choice, runtime = _choice(cell, rules), replace(self.runtime, precision=cell.precision)
        other = self.others[cell.defence[len(OTHER) :]] if cell.defence and cell.defence.startswith(OTHER) else None
        net, placebo = other or self.model.net, PLACEBOS.get(cell.defence or "")

        def judge(pixels: Tensor, batch: Batch) -> Tensor:
            seen = placebo(pixels) if placebo else pixels
            lambda_ = choose(net, seen, batch, choice, runtime)
            return is_correct(net, seen, batch.labels, None if other else lambda_, runtime)

        return judge

    def _view(self, cell: Cell) -> View:
        if cell.corruption is None or cell.archive:
            return clean
        if cell.level is None and cell.severity is not None:
            return stream_of(cell.corruption, cell.severity, self.dataset.family, cell.seed)
        return Noise(cell.corruption, cell.level or 0.0, cell.seed)

    def _split(self, cell: Cell) -> Split:
        if cell.archive and cell.corruption and isinstance(cell.severity, int):
            return self.archived(cell.corruption, cell.severity, cell.limit)
        return self.split(cell.split, cell.limit, cell.block)

    def _provenance(self, cell: Cell) -> dict[str, Any]:
        return self.runtime.provenance() | {"precision": cell.precision}


def sees_itself(cell: Cell) -> bool:
    """Whether the attack of a cell looks at exactly what classifies its images."""
    attack = cell.attack
    if attack is None or cell.defence or attack.inference_steps or attack.smooth:
        return False
    if attack.through:
        return True
    return cell.rule is None and cell.lambda_ == attack.crafted_at


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
    """Cells that differ in lambda, in how it was chosen, and in what classifies adversarial images, alone."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[_images_of(cell).key].append(cell)
    return list(groups.values())


def _images_of(cell: Cell) -> Cell:
    """What decides which images a cell is measured on. An attack through a rule makes its own."""
    rule = cell.rule if cell.attack and cell.attack.through else None
    return cell.model_copy(update={"lambda_": None, "rule": rule, "defence": None})
