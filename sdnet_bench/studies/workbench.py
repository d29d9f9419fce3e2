"""A model on the bench: what every study works with. It measures the cells that are not yet on record."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from ..csc import check_lambda, require_csc_layers
from ..data import CORRUPTIONS, Dataset, Split, limited, open_dataset
from ..data.archives import open_archive
from ..data.corruptions import Level
from ..data.datasets import Which
from ..engine.adversarial_set import is_whole
from ..engine.evaluate import LambdaRule
from ..engine.runtime import Runtime
from ..errors import UsageError
from ..files import make_folder
from ..progress import Progress, Task
from ..records import (
    MIXED,
    UNKNOWN,
    AttackSetting,
    Cell,
    Images,
    Inference,
    Layers,
    Record,
    RecordStore,
    Severity,
)
from ..records.journal import Journal
from ..zoo.checkpoint import Model
from ..zoo.find import load_model
from .group import Group, measure_group

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
        model = load_model(name, runs_dir=runs_dir, progress=progress)
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

    def archived(self, corruption: str | None, severity: Severity | None, limit: int | None = None) -> Split:
        """Corrupted test images as the archive of this data set has them; a `UsageError` for a stream."""
        if corruption is None or not isinstance(severity, int):
            raise UsageError("an archive has no such stream", expected="severities 1 to 5", got=severity)
        key = (corruption, severity, limit)
        if key not in self._archived:
            images = open_archive(self.dataset.name, corruption, severity, self.data_dir)
            self._archived[key] = limited(images, limit)
        return self._archived[key]

    def images(
        self,
        split: Which,
        limit: int | None = None,
        block: Block | None = None,
        *,
        corruption: str | None = None,
        severity: Severity | None = None,
        level: Level | None = None,
        archive: str | None = None,
    ) -> Images:
        """Images of the data set, clean or corrupted; the seed is that of the bench.

        Args:
            limit: so many, spread evenly over the split; None for all.
            block: the first to the last but one of these, as the seed shuffles them.
            severity: of a corruption, for which `level` is looked up.
            archive: origin and md5 of the archive's part that holds them; None makes them here.
        """
        archived = self.archived(corruption, severity, limit) if archive else None
        return Images(
            dataset=self.dataset.name,
            split=split,
            digest=archived.identity if archived else self.split(split, limit, block).digest,
            limit=limit if limit and limit < len(self.split(split)) else None,
            block=block,
            corruption=corruption,
            level=self._level(corruption, severity) if level is None else level,
            severity=severity,
            archive=archive,
            seed=self.seed,
        )

    def _level(self, corruption: str | None, severity: Severity | None) -> Level | None:
        """None for clean images, and for a stream, in which each image has a level of its own."""
        if corruption in (None, UNKNOWN) or severity in (None, MIXED):
            return None
        return CORRUPTIONS[corruption].level(self.dataset.family, severity)

    def inference(
        self,
        lambda_: float | None = None,
        *,
        layers: Layers = "all",
        steps: int | None = None,
        rule: str | None = None,
        defence: str | None = None,
    ) -> Inference:
        """What classifies: the model at a lambda, by default that of training with as many FISTA steps, or by a rule.

        Lambda or steps for a network without CSC-layers are a `UsageError`. At lambda_0, and where the stem is the
        only CSC-layer, an inference of the stem is one of all `layers`. With a rule and no lambda each image has its
        own.
        """
        coding = [] if lambda_ is None and steps is None else require_csc_layers(self.model.net)
        is_as_trained = lambda_ in (None, self.model.trained_lambda)
        usual = None if rule else self.model.trained_lambda
        return Inference(
            lambda_=usual if lambda_ is None else check_lambda(lambda_),
            layers="all" if is_as_trained or len(coding) == 1 else layers,
            steps=None if steps in {layer.steps for layer in coding} else steps,
            rule=rule,
            defence=defence,
            precision=self.runtime.precision,
        )

    def cell(
        self,
        images: Images,
        inference: Inference | None = None,
        attack: AttackSetting | None = None,
        kind: Literal["training", "accuracy"] = "accuracy",
    ) -> Cell:
        """A cell of this model, as it was trained where no inference is given; under attack in float32."""
        chosen = inference or self.inference()
        if attack:
            chosen = chosen.model_copy(update={"precision": "float32"})
        return Cell(kind=kind, weights=self.model.weights, images=images, inference=chosen, attack=attack)

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
            verb = "attack" if missing[0].attack else "classify"
            self.progress.note(f"{title}: {len(missing)} of {len(cells)} cells to measure, {total:,} images to {verb}")
            with self.progress.task(title, total) as task:
                for group in _grouped(missing):
                    self._measure_group(group, rules or {}, task, save)
        return [self.store[cell] for cell in cells]

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those that are not on record, each once."""
        return [cell for cell in dict.fromkeys(cells) if cell not in self.store]

    def _measure_group(self, group: Sequence[Cell], rules: Mapping[str, LambdaRule], task: Task, save: bool) -> None:
        """Measures cells that share their images; of several processes the first alone writes records."""
        is_first, rank = self.runtime.processes.is_main_process, self.runtime.processes.process_index
        journal = Journal(self._journal_folder(group, save), rank)
        file = self.store.append if is_first else self.store.keep
        for record in measure_group(self._group(group, rules, journal, save), task):
            file(record)
        if is_first:
            journal.close()

    def _group(self, cells: Sequence[Cell], rules: Mapping[str, LambdaRule], journal: Journal, save: bool) -> Group:
        """Cells that share their images, with all that it takes to measure them."""
        return Group(
            cells=cells,
            model=self.model,
            dataset=self.dataset,
            split=self.split_of(cells[0].images),
            runtime=self.runtime,
            progress=self.progress,
            journal=journal,
            rules=rules,
            others=self.others,
            folder=self.adversarial_folder(cells[0]) if save else None,
        )

    def _journal_folder(self, group: Sequence[Cell], save: bool) -> Path:
        """Where the measurement of these cells, with or without their images, leaves its traces."""
        content = " ".join([*(cell.key for cell in group), str(save)])
        return self.folder / f"journal-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def _unsaved(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of the groups that lack a record or their adversarial images."""
        groups = _grouped(dict.fromkeys(cells))
        wanted = [group for group in groups if self.missing(group) or not is_whole(self.adversarial_folder(group[0]))]
        return [cell for group in wanted for cell in group]

    def adversarial_folder(self, cell: Cell) -> Path:
        """Where the adversarial images of a cell are kept, if they are: a name to read, and its digest."""
        attack = cell.attack
        assert attack
        return self.folder / "adversarial" / f"{attack.norm}-{attack.name}-{cell.images_key[:16]}"

    def work(self, cells: Iterable[Cell]) -> int:
        """How many images have to be classified, or attacked, for these cells."""
        return sum(
            len(self.split_of(group[0].images)) * (1 if group[0].attack else len(group)) for group in _grouped(cells)
        )

    def split_of(self, images: Images) -> Split:
        """The images, before anything is done to them here."""
        if images.archive:
            return self.archived(images.corruption, images.severity, images.limit)
        return self.split(images.split, images.limit, images.block)


def _grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that are measured in one pass."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.images_key].append(cell)
    return list(groups.values())
