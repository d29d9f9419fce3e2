"""The workbench: a model with its data, records and runtime, which measures cells that are not on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from ..csc import check_lambda, require_csc_layers
from ..data import CORRUPTIONS, Dataset, Split, limited, open_dataset
from ..data.archives import open_archive
from ..data.corruptions import Level, revision_of
from ..data.datasets import Which
from ..engine.adversarial_set import is_whole
from ..engine.evaluate import LambdaRule
from ..engine.runtime import Runtime
from ..errors import UsageError
from ..files import holding, make_folder, remove_free_locks
from ..progress import Progress, Task
from ..records import (
    CLEAN,
    MIXED,
    UNKNOWN,
    AdaptationSetting,
    AttackSetting,
    Cell,
    Images,
    Inference,
    Layers,
    Outcomes,
    Record,
    RecordStore,
    Severity,
)
from ..records.journal import Head, Journal, remove_journals
from ..zoo.checkpoint import Model
from ..zoo.classes import of_classes
from ..zoo.find import load_model
from .group import Group, measure_group

Block = tuple[int, int]


@dataclass
class Workbench:
    """A model with its data, its records and its runtime.

    Args:
        model: the model; its network is moved to the runtime's device. A `ModelError` where its classes are not those
            of the data set; of classes by WordNet id the data set may have a part.
        folder: folder of the records.
        seed: seed of corruptions and attacks.
        data_dir: folder of the data, with archives of corrupted images.
    """

    model: Model
    dataset: Dataset
    folder: Path
    runtime: Runtime
    progress: Progress = field(default_factory=Progress)
    seed: int = 0
    data_dir: Path = Path("data")

    def __post_init__(self) -> None:
        self.model = of_classes(self.model, self.dataset, self.progress)
        self.store = RecordStore.of_model(self.model.folder, self.folder, self.progress)
        self.others: dict[str, nn.Module] = {}
        """Other networks by the sha256 of their weights, for cells that they classify."""
        self.is_probed = False
        """Whether the gradients of its network were looked at before an attack."""
        self.runtime.place(self.model.net)
        self._splits: dict[tuple[Which, int | None, Block | None], Split] = {}
        self._archived: dict[tuple[str, int, int | None], Split] = {}

    @classmethod
    def open(
        cls, name: str, runs_dir: Path, data_dir: Path, runtime: Runtime, progress: Progress, seed: int = 0
    ) -> Workbench:
        """Loads a model by name or path and opens its data set."""
        model = load_model(name, runs_dir=runs_dir, progress=progress)
        dataset = open_dataset(model.config.dataset, data_dir, progress)
        return cls(model, dataset, runs_dir / model.name, runtime, progress, seed, data_dir)

    @property
    def trained_lambda(self) -> float:
        """The lambda of training, lambda_0; a `UsageError` for a network without CSC-layers."""
        require_csc_layers(self.model.net)
        return float(self.model.trained_lambda or 0)

    def split(self, which: Which, limit: int | None = None, block: Block | None = None) -> Split:
        """A split of the data set: `limit` images spread evenly, or a block of these in the seed's shuffled order."""
        key = (which, limit, block)
        if key not in self._splits and block:
            whole = self.split(which, limit)
            order = np.random.default_rng(self.seed).permutation(len(whole))
            self._splits[key] = whole.subset(order[slice(*block)].tolist())
        elif key not in self._splits:
            self._splits[key] = limited(self.dataset.open(which), limit)
        return self._splits[key]

    def archived(self, corruption: str | None, severity: Severity | None, limit: int | None = None) -> Split:
        """Corrupted test images of the archive of this data set; a `UsageError` for a stream."""
        if corruption is None or not isinstance(severity, int):
            raise UsageError("an archive has no such stream", expected="severities 1 to 5", got=severity)
        key = (corruption, severity, limit)
        if key not in self._archived:
            clean = self.split("test")
            images = open_archive(self.dataset.name, corruption, severity, self.data_dir, clean)
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
        """Images of the data set, with the seed of the workbench; a severity decides the level. See `Images`."""
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
            revision=1 if archive else revision_of(corruption),
        )

    def _level(self, corruption: str | None, severity: Severity | None) -> Level | None:
        """The level of a corruption; None for clean images and for streams, which have a level per image."""
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
        adaptation: AdaptationSetting | None = None,
    ) -> Inference:
        """An inference of the model, by default with lambda and FISTA iterations of training.

        Lambda or steps for a network without CSC-layers raise a `UsageError`. At lambda_0, and where the stem is the
        only CSC-layer, `layers` is always "all". With a rule and no lambda each image has its own lambda.
        """
        coding = [] if lambda_ is None and steps is None else require_csc_layers(self.model.net)
        is_as_trained = lambda_ in (None, self.model.trained_lambda)
        usual = None if rule else self.model.trained_lambda
        return Inference(
            lambda_=usual if lambda_ is None else check_lambda(lambda_),
            layers="all" if is_as_trained or len(coding) == 1 else layers,
            steps=None if {layer.steps for layer in coding} == {steps} else steps,
            rule=rule,
            defence=defence,
            precision=self.runtime.precision,
            classes=self.model.selected,
            adaptation=adaptation,
        )

    def cell(
        self,
        images: Images,
        inference: Inference | None = None,
        attack: AttackSetting | None = None,
        kind: Literal["training", "accuracy"] = "accuracy",
    ) -> Cell:
        """A cell of this model, by default with the inference of training; attacks are in float32."""
        chosen = inference or self.inference()
        if attack:
            chosen = chosen.model_copy(update={"precision": "float32"})
        return Cell(kind=kind, weights=self.model.weights, images=images, inference=chosen, attack=attack)

    def measure(
        self, cells: Sequence[Cell], title: str, rules: Mapping[str, LambdaRule] | None = None, *, save: bool = False
    ) -> list[Record]:
        """The records of the cells, in their order. Missing ones are measured and stored.

        Args:
            rules: the rules that choose a lambda per image, by their names in the cells.
            save: also store the adversarial images in `adversarial_folder`; missing ones are made again.
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
        if self.runtime.processes.is_main_process:
            remove_journals(self.folder, self._is_done)
            remove_free_locks(self.folder)
        return [self.store[cell] for cell in cells]

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells that are not on record, each once."""
        return [cell for cell in dict.fromkeys(cells) if cell not in self.store]

    def _measure_group(self, cells: Sequence[Cell], rules: Mapping[str, LambdaRule], task: Task, save: bool) -> None:
        """Measures the cells of a group, without those that another process measured in the meantime."""
        with self._alone(cells[0]):
            self.store.refresh()
            left = self._unsaved(cells) if save else self.missing(cells)
            task.advance(self.work(cells) - self.work(left))
            if left:
                self._record_group(left, rules, task, save)

    @contextmanager
    def _alone(self, cell: Cell) -> Iterator[None]:
        """Keeps other commands from the group of a cell: the first process holds its lock, the others wait for it."""
        is_first, images = self.runtime.processes.is_main_process, cell.images
        how = f"{cell.attack.name}, {cell.attack.threat}" if cell.attack else f"{images.corruption or 'clean'} images"
        lock, what = self.folder / f".{cell.images_key[:16]}.lock", f"measures {self.model.name} on {how}"
        with holding(lock, self.progress, what) if is_first else nullcontext():
            self.runtime.processes.wait_for_everyone()
            yield

    def _record_group(self, cells: Sequence[Cell], rules: Mapping[str, LambdaRule], task: Task, save: bool) -> None:
        """Measures cells with the same images; only the first process writes records."""
        processes = self.runtime.processes
        group = Group(
            cells=cells,
            model=self.model,
            dataset=self.dataset,
            split=self.split_of(cells[0].images),
            runtime=self.runtime,
            progress=self.progress,
            journal=Journal.of(self.folder, cells, saved=save, writer=processes.process_index),
            rules=rules,
            others=self.others,
            known=self._misclassified(cells),
            folder=self.adversarial_folder(cells[0]) if save else None,
        )
        for record in measure_group(group, task):
            (self.store.append if processes.is_main_process else self.store.keep)(record)
        if processes.is_main_process:
            group.journal.close()

    def _misclassified(self, cells: Sequence[Cell]) -> dict[Cell, Outcomes]:
        """Which clean images cells under attack misclassify, where records of these images say so."""
        seen = [record for record in self.store if record.images == cells[0].images]
        known = {each.cell.unattacked: each.lost(CLEAN) if each.cell.attack else ~each.correct for each in seen}
        return {cell: known[cell.unattacked] for cell in cells if cell.unattacked in known}

    def _is_done(self, journal: Head) -> bool:
        """Whether everything that a journal is of is on record."""
        cells = journal.cells
        return not self.missing(cells) and (not journal.saved or is_whole(self.adversarial_folder(cells[0])))

    def _unsaved(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells of groups without a record or without stored adversarial images."""
        groups = _grouped(dict.fromkeys(cells))
        wanted = [group for group in groups if self.missing(group) or not is_whole(self.adversarial_folder(group[0]))]
        return [cell for group in wanted for cell in group]

    def adversarial_folder(self, cell: Cell) -> Path:
        """Folder of the stored adversarial images of a cell: a readable name and a digest."""
        attack = cell.attack
        assert attack
        return self.folder / "adversarial" / f"{attack.norm}-{attack.name}-{cell.images_key[:16]}"

    def work(self, cells: Iterable[Cell]) -> int:
        """Number of images that have to be classified or attacked for these cells."""
        passes = [(group[0].images, 1 if group[0].attack else len(group)) for group in _grouped(cells)]
        return sum(len(self.split_of(images)) * count for images, count in passes)

    def split_of(self, images: Images) -> Split:
        """The split of images, clean or of an archive, before a corruption that is made here."""
        if images.archive:
            return self.archived(images.corruption, images.severity, images.limit)
        return self.split(images.split, images.limit, images.block)


def _grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Groups of cells that are measured in one pass."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.images_key].append(cell)
    return list(groups.values())
