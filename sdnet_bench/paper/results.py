"""The records of one model, as the numbers of tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..backbones import BACKBONES, csc_stem_options, defaults
from ..config import CONFIG, MODELS, RECIPE, ModelConfig, Origin
from ..data import SEVERITIES
from ..data.corruptions import revision_of
from ..errors import BenchError, ModelError
from ..files import reading
from ..progress import Progress
from ..records import (
    NOISES,
    REVISION,
    AdaptationSetting,
    Cell,
    Images,
    InferenceChoice,
    Layers,
    Record,
    RecordStore,
    Severity,
    Threat,
)
from ..records.lambda_fit import LambdaFit, can_pool, fit_name, fitted_under, pool, read_fits
from ..records.statistics import Value, percent
from ..zoo.find import find_model
from .robustness import THREATS, Robustness

Place = tuple[str | None, Severity | None]
"""A corruption and a severity; None and None for clean images."""


class Curve(NamedTuple):
    """Accuracy (%) against lambda at one severity."""

    severity: int
    records: tuple[Record, ...]
    """One for each lambda, ascending, all of the same images."""
    chosen: float | None
    """The lambda that Algorithm 1 chose for this test set."""

    @property
    def n(self) -> int:
        """Number of images."""
        return self.records[0].n

    @property
    def points(self) -> list[tuple[float, float]]:
        """(lambda, accuracy), lambda ascending."""
        return [(record.inference.lambda_ or 0.0, 100 * record.accuracy) for record in self.records]


@dataclass(frozen=True, eq=False)
class Index:
    """Records by what tables ask for, found once for all views of a model's results."""

    records: Sequence[Record]

    @cached_property
    def training(self) -> Record | None:
        """The record of training."""
        return _widest([record for record in self.records if record.cell.kind == "training"])

    @cached_property
    def attacks(self) -> list[Record]:
        """Those of attacks."""
        return [record for record in self.records if record.cell.attack]

    @cached_property
    def origins(self) -> list[str]:
        """The origins of archives."""
        return sorted({origin for record in self.records if (origin := record.images.origin)})

    @cached_property
    def by_images(self) -> dict[tuple[object, ...], list[Record]]:
        """Records of test images without attack, by adaptation, corruption, severity and origin."""
        found: dict[tuple[object, ...], list[Record]] = defaultdict(list)
        for record in self.records:
            cell, of = record.cell, record.images
            if cell.kind == "accuracy" and cell.attack is None and of.split == "test":
                found[cell.inference.adaptation, of.corruption, of.severity, of.origin].append(record)
        return found

    @cached_property
    def by_inference(self) -> dict[tuple[object, ...], list[Record]]:
        """The same by lambda or rule, FISTA iterations and layers too."""
        found: dict[tuple[object, ...], list[Record]] = defaultdict(list)
        for place, records in self.by_images.items():
            for record in records:
                by = record.inference
                found[*place, by.choice, by.steps, by.layers].append(record)
        return found

    @cached_property
    def adapted(self) -> dict[tuple[object, ...], dict[str, int]]:
        """The number of test images under any adaptation, by corruption, severity and origin, and then by digest."""
        found: dict[tuple[object, ...], dict[str, int]] = defaultdict(dict)
        for record in self.records:
            of = record.images
            if record.inference.adaptation and of.split == "test":
                found[of.corruption, of.severity, of.origin][of.digest] = record.n
        return found


@dataclass(frozen=True, eq=False)
class Results:
    """The records of one model on one data set, that of its configuration."""

    name: str
    config: ModelConfig
    records: tuple[Record, ...] = field(repr=False)
    fits: Mapping[str, LambdaFit] = field(default_factory=dict, repr=False)
    """Saved fits of Algorithm 1 by name."""
    source: str | None = None
    """Source of a model that was not trained here."""
    origin: str | None = None
    """Origin of corrupted images: "official", "generated" or "unknown" for images of a -C archive; None for images made
    here. Origins are never mixed."""
    adaptation: AdaptationSetting | None = None
    """The adaptation under which the images are classified."""
    in_memory: bool = False
    """Whether there is neither recipe nor origin: the network was handed over from Python."""
    folders: tuple[Path, ...] = ()
    """The folder of the model, and that of its run."""
    elsewhere: tuple[Record, ...] = field(default=(), repr=False)
    """The records of test images of other data sets."""
    is_elsewhere: bool = False
    """Whether these are results on another data set than that of training."""
    whole: Results | None = field(default=None, repr=False)
    """The results that these are a view of, with the same records."""

    @classmethod
    def read(cls, folder: Path, runs_dir: Path, progress: Progress | None = None) -> Results:
        """Reads the results of a model folder and of its run; a note says where a line is incomplete."""
        name = folder.resolve().name
        config = ModelConfig.read(folder)
        store = RecordStore.of_model(folder, runs_dir / name, progress)
        weights = config.weights_sha256
        found = tuple(record for record in store if record.cell.weights == weights and _is_current(record.cell))
        parts = sorted({part for record in found if (part := record.inference.classes)})
        fits: dict[str, LambdaFit] = {}
        for classes in (*parts, None):  # those for all classes come last, and count first
            fits |= read_fits([folder, runs_dir / name], weights, classes) if weights else {}
        origin = Origin.read(folder)
        in_memory = origin is None and not (folder / RECIPE).exists()
        here = tuple(record for record in found if record.images.dataset == config.dataset)
        there = tuple(record for record in found if record.images.dataset != config.dataset)
        source, folders = origin.source if origin else None, (folder, runs_dir / name)
        return cls(name, config, here, fits, source, in_memory=in_memory, folders=folders, elsewhere=there)

    def on(self, dataset: str) -> Results:
        """The results on a data set: the records of its test images, and of no other; lambda was tuned at home."""
        if dataset == self.config.dataset:
            return self
        made = [record for record in self.records if record.images.split != "test"]
        found = [record for record in self.elsewhere if record.images.dataset == dataset]
        config = self.config.model_copy(update={"dataset": dataset})
        return replace(self, config=config, records=(*made, *found), elsewhere=(), is_elsewhere=True, whole=None)

    def on_all(self) -> list[Results]:
        """These results, and those on each other data set on record."""
        others = sorted({record.images.dataset for record in self.elsewhere})
        return [self, *map(self.on, others)]

    @cached_property
    def _index(self) -> Index:
        return self.whole._index if self.whole else Index(self.records)

    @property
    def _training(self) -> Record | None:
        return self._index.training

    @cached_property
    def trained_lambda(self) -> float | None:
        """lambda_0 from the record of training, or from the configuration of a model without one."""
        return self._training.inference.lambda_ if self._training else self._option("lambda_")

    @property
    def started_from(self) -> str | None:
        """The initial weights of training, a name or the sha256 of a file; None for fresh weights."""
        return self._training.provenance.get("started_from") if self._training else None

    @property
    def trained_steps(self) -> int:
        """FISTA iterations in training; 2 by default."""
        return int(self._option("steps") or 2)

    def _option(self, name: str) -> Any:
        """An option of the backbone or its default; None where the backbone has no such option."""
        backbone = self.config.backbone
        usual = defaults(backbone.name) if backbone.name in BACKBONES else {}
        return (usual | csc_stem_options(backbone.options) | backbone.options).get(name)

    def training(self, metric: str) -> Value | None:
        """A metric of training, where it is on record: `parameters`, `peak_memory` (bytes), `images_per_second`."""
        found = self._training.metrics.get(metric) if self._training else None
        return None if found is None else Value(found)

    def clean(self, steps: int | None = None) -> Value | None:
        """Accuracy (%) on clean test images at lambda_0."""
        return percent([self.given(None, None, steps)])

    def given(
        self, corruption: str | None, severity: Severity | None, steps: int | None = None, beside: Record | None = None
    ) -> Record | None:
        """The record at lambda_0 on corrupted images, or on clean images where corruption and severity are None.

        A record on the images of `beside` is preferred.
        """
        return _widest(self._plain(corruption, severity, self.trained_lambda, steps), beside)

    def chosen(
        self, rule: str, corruption: str | None, severity: Severity | None, steps: int | None = None
    ) -> Record | None:
        """The record whose lambda a rule chose, per set or per image."""
        return _widest(self._plain(corruption, severity, rule, steps))

    def adaptive(self, corruption: str, severity: Severity, steps: int | None = None) -> Record | None:
        """The record of Algorithm 1: at the lambda that the corruption's own fit chose for the set."""
        fit = self.fit(corruption, steps)
        return self.chosen(fit.rule, corruption, severity, steps) if fit else None

    def mean(self, corruption: str, *, adaptive: bool = False, steps: int | None = None) -> Value | None:
        """Mean accuracy (%) over all severities, at lambda_0 or by Algorithm 1; None unless all are on record."""
        fit = self.fit(corruption, steps) if adaptive else None
        if adaptive and fit is None:
            return None
        places = [(corruption, severity) for severity in SEVERITIES]
        return self.over(places, fit.rule if fit else self.trained_lambda, steps)

    def over(
        self, places: Sequence[Place], choice: InferenceChoice, steps: int | None = None, digest: str | None = None
    ) -> Value | None:
        """Mean accuracy (%) over corruptions and severities at a lambda, or by a rule; None unless all are on record.

        All are of the same images, those of `digest` where it is given.
        """
        found = [self._plain(*place, choice, steps) for place in places]
        return percent(_together([[each for each in some if digest in (None, each.images.digest)] for some in found]))

    def error(self, corruptions: Sequence[str]) -> Value | None:
        """Mean error (%) at lambda_0 over all severities of these corruptions; None unless all are on record."""
        places = [(name, severity) for name in corruptions for severity in SEVERITIES]
        accuracy = self.over(places, self.trained_lambda)
        return accuracy.complement if accuracy else None

    def fit(self, corruption: str, steps: int | None = None) -> LambdaFit | None:
        """The fit of Algorithm 1 for one corruption, under the adaptation of these results."""
        return self.fits.get(fit_name(corruption, steps, fitted_under(self.adaptation)))

    @cached_property
    def pooled(self) -> LambdaFit | None:
        """The pooled fit for noise of unknown type; None unless all four noises have compatible fits."""
        found = [fit for fit in map(self.fit, NOISES) if fit]
        return pool(found) if len(found) == len(NOISES) and can_pool(found) else None

    @cached_property
    def robustness(self) -> dict[Threat, Robustness]:
        """Robustness by the paper's threats, without those for which PGD is not on record."""
        rule = self.pooled.per_image_rule if self.pooled else None
        attacks, trained = self._index.attacks, self.trained_lambda
        found = {threat: Robustness.find(attacks, threat, trained, rule) for threat in THREATS.values()}
        return {threat: robustness for threat, robustness in found.items() if robustness}

    def conditions(self) -> str:
        """A description of the model's width and training; for a model from elsewhere also its source."""
        epochs = self._training and self._training.metrics.get("epochs")
        parts = {"width {}": self._option("width"), "{:.0f} epochs": epochs, "from {}": self.source}
        return ", ".join(text.format(value) for text, value in parts.items() if value is not None)

    def sweep(self, corruption: str, layers: Layers = "all") -> list[Curve]:
        """The curves of `sweep-lambda` by severity, with lambda changed in these layers."""
        curves = []
        for severity in SEVERITIES:
            found = _alike(self._swept(corruption, severity, layers))
            if len(found) > 1:
                adaptive = self.adaptive(corruption, severity) if layers == "all" else None
                ascending = tuple(sorted(found, key=lambda record: record.inference.lambda_ or 0.0))
                curves.append(Curve(severity, ascending, adaptive.inference.lambda_ if adaptive else None))
        return curves

    def _swept(self, corruption: str, severity: Severity, layers: Layers) -> list[Record]:
        """Records that differ only in lambda of these layers; the record at lambda_0 belongs to every sweep."""
        found = [(record, record.inference) for record in self._unattacked(corruption, severity)]
        given = [(record, by) for record, by in found if by.rule is None and by.steps is None]
        return [record for record, by in given if by.layers == layers or by.lambda_ == self.trained_lambda]

    def _plain(
        self, corruption: str | None, severity: Severity | None, choice: InferenceChoice, steps: int | None = None
    ) -> list[Record]:
        """Records of one lambda or rule for all layers; `steps` are FISTA iterations, None for those of training."""
        return self._index.by_inference.get((*self._place(corruption, severity), choice, steps, "all"), [])

    def _unattacked(self, corruption: str | None, severity: Severity | None) -> list[Record]:
        """Records of test images of this origin without attack."""
        return self._index.by_images.get(self._place(corruption, severity), [])

    def _place(self, corruption: str | None, severity: Severity | None) -> tuple[object, ...]:
        return (self.adaptation, corruption, severity, self.origin if corruption else None)

    def on_archives(self) -> list[Results]:
        """The results of the model on images of archives, one per origin on record."""
        return [
            replace(self, name=f"{self.name} ({origin} archive)", origin=origin, whole=self.whole or self)
            for origin in self._index.origins
        ]

    def under(self, adaptation: AdaptationSetting | None) -> Results:
        """The results of the model under an adaptation; without one for None."""
        if adaptation not in self._views:
            self._views[adaptation] = replace(self, adaptation=adaptation, whole=self.whole or self)
        return self._views[adaptation]

    @cached_property
    def _views(self) -> dict[AdaptationSetting | None, Results]:
        return {self.adaptation: self}

    def adapted_images(self, places: Sequence[Place]) -> str | None:
        """The digest of the most test images with records of all places under any adaptations; None where none has."""
        adapted = self._index.adapted
        sizes = [adapted.get((*place, self.origin if place[0] else None), {}) for place in places]
        shared = set(sizes[0]).intersection(*sizes[1:])
        return max(sorted(shared), key=lambda digest: sizes[0][digest], default=None)


def _widest(records: Sequence[Record], beside: Record | None = None) -> Record | None:
    """The record on the images of `beside`, else the one with the most images; the latest of equal ones."""
    images = beside and beside.images.digest
    return max(reversed(records), key=lambda record: (record.images.digest == images, record.n), default=None)


def _together(candidates: Sequence[Sequence[Record]]) -> list[Record | None]:
    """One record of each list, all with the same images, seed and precision; the set with the most images."""
    groups: dict[tuple[object, ...], dict[int, Record]] = defaultdict(dict)
    for place, records in enumerate(candidates):
        for record in records:
            groups[record.cell.averaging][place] = record
    complete = [group for group in groups.values() if len(group) == len(candidates)]
    widest = max(complete, key=lambda group: group[0].n, default={})
    return [widest.get(place) for place in range(len(candidates))]


def _alike(records: Sequence[Record]) -> list[Record]:
    """The largest subset of these records with the same images and precision."""
    groups: dict[tuple[Images, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.cell.pairing].append(record)
    return max(groups.values(), key=lambda group: (len(group), group[0].n), default=[])


def _is_current(cell: Cell) -> bool:
    """Whether attack and corruption of a cell, where it has them, are of the present revisions."""
    is_made_here = cell.images.archive is None
    if is_made_here and cell.images.revision != revision_of(cell.images.corruption):
        return False
    return cell.attack is None or cell.attack.revision == REVISION


def find_results(
    names: Sequence[str], runs_dir: Path, left_out: list[BenchError], progress: Progress | None = None
) -> list[Results]:
    """The results of the named models; by default of all models with records in `runs_dir`.

    A model that cannot be read does not stop the others: what is wrong with it is added to `left_out`.
    """
    found = []
    for model in names or _measured(runs_dir):
        with skipping(f"the model {model}", left_out):
            found.append(Results.read(find_model(model, runs_dir), runs_dir, progress))
    return found


@contextmanager
def skipping(what: str, left_out: list[BenchError]) -> Iterator[None]:
    """A block that reads one of several things: an error ends it, and is added to `left_out`."""
    try:
        with reading(what, ModelError):
            yield
    except BenchError as error:
        left_out.append(error)


def _measured(runs_dir: Path) -> list[Path]:
    """The folders of the runs, and behind them those of the shipped models with records."""
    known = sorted(path for path in runs_dir.glob("*") if _may_be_model(path))
    shipped = sorted(MODELS / path.parent.name for path in runs_dir.glob(f"*/{RecordStore.FILE}"))
    return [*known, *(path for path in shipped if runs_dir / path.name not in known and (path / CONFIG).exists())]


def _may_be_model(folder: Path) -> bool:
    """Whether there is a configuration in a folder, or the folder cannot be looked into."""
    try:
        return (folder / CONFIG).exists()
    except OSError:
        return True
