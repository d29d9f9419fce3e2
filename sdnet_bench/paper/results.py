"""What is on record of one model, as the numbers that tables are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..backbones import BACKBONES, csc_stem_options, defaults
from ..config import CONFIG, MODELS, ModelConfig, Origin
from ..data import SEVERITIES
from ..errors import BenchError
from ..progress import Progress
from ..records import NOISES, REVISION, Cell, Layers, Record, RecordStore, Severity
from ..records.lambda_fit import LambdaFit, can_pool, fit_name, pool, read_fits
from ..records.statistics import Value, percent
from ..zoo.find import find_model
from .robustness import THREATS, Robustness

Wanted = Callable[[Cell], bool]


class Curve(NamedTuple):
    """Accuracy (%) against lambda at one severity."""

    severity: int
    n: int
    points: list[tuple[float, float]]
    """(lambda, accuracy), lambda ascending."""
    chosen: float | None = None
    """The lambda that Algorithm 1 chose for this set."""


@dataclass(frozen=True, eq=False)
class Results:
    """The records of one model."""

    name: str
    config: ModelConfig
    records: tuple[Record, ...]
    fits: Mapping[str, LambdaFit] = field(default_factory=dict)
    """Algorithm 1's, by the names they are saved under."""
    source: str | None = None
    """Where a model that was not trained here comes from."""
    origin: str | None = None
    """Of corrupted images: "official", "generated" or "unknown" where they are those of a -C archive; None where they
    were made here. Origins are never mixed."""

    @classmethod
    def read(cls, folder: Path, runs_dir: Path) -> Results:
        """From a model folder, with what its run has added."""
        name = folder.resolve().name
        config = ModelConfig.read(folder)
        store = RecordStore.of_model(folder, runs_dir / name)
        weights = config.weights_sha256
        fits = read_fits([folder, runs_dir / name], weights) if weights else {}
        found = (record for record in store if record.cell.weights == weights and _is_current(record.cell))
        origin = Origin.read(folder)
        return cls(name, config, tuple(found), fits, origin.source if origin else None)

    @cached_property
    def trained_lambda(self) -> float | None:
        """lambda_0, as the record of training has it, or, of a model from elsewhere, its configuration."""
        training = self._find(lambda cell: cell.kind == "training")
        return training.cell.lambda_ if training else self._option("lambda_")

    @property
    def started_from(self) -> str | None:
        """The weights that training began with, where these were not fresh: a name, or the sha256 of a file."""
        training = self._find(lambda cell: cell.kind == "training")
        return training.provenance.get("started_from") if training else None

    @property
    def trained_steps(self) -> int:
        """FISTA iterations in training; 2 where nobody said otherwise."""
        return int(self._option("steps") or 2)

    def _option(self, name: str) -> Any:
        """An option of the backbone, or what it is where nobody said otherwise; None where there is none."""
        backbone = self.config.backbone
        usual = defaults(backbone.name) if backbone.name in BACKBONES else {}
        return (usual | csc_stem_options(backbone.options) | backbone.options).get(name)

    def training(self, metric: str) -> Value | None:
        """`parameters`, `peak_memory` (bytes) or `images_per_second` of training."""
        record = self._find(lambda cell: cell.kind == "training")
        return Value(record.metrics[metric]) if record else None

    def clean(self, steps: int | None = None) -> Value | None:
        """Accuracy (%) on clean test images at lambda_0."""
        return percent([self.given(None, None, steps)])

    def given(
        self,
        corruption: str | None,
        severity: Severity | None,
        steps: int | None = None,
        beside: Record | None = None,
    ) -> Record | None:
        """The record at lambda_0; None and None for clean images. One on the images of `beside` comes first."""
        return self._find(self._is_given(corruption, severity, steps), beside)

    def chosen(
        self, rule: str, corruption: str | None, severity: Severity | None, steps: int | None = None
    ) -> Record | None:
        """The record whose lambda, or lambdas, a rule has chosen."""
        return self._find(self._is_chosen(rule, corruption, severity, steps))

    def adaptive(self, corruption: str, severity: Severity, steps: int | None = None) -> Record | None:
        """The record at the lambda that the corruption's own fit has chosen for the set: Algorithm 1."""
        fit = self.fit(corruption, steps)
        return self.chosen(fit.rule, corruption, severity, steps) if fit else None

    def mean(self, corruption: str, *, adaptive: bool = False, steps: int | None = None) -> Value | None:
        """Accuracy (%) over all severities, at lambda_0 or by Algorithm 1; None unless every one is on record."""
        fit = self.fit(corruption, steps) if adaptive else None
        if adaptive and fit is None:
            return None
        wanted = [
            self._is_chosen(fit.rule, corruption, severity, steps)
            if fit
            else self._is_given(corruption, severity, steps)
            for severity in SEVERITIES
        ]
        return percent(self._together(wanted))

    def error(self, corruptions: Sequence[str]) -> Value | None:
        """Error (%) at lambda_0 over all severities of these corruptions; None unless every one is on record."""
        wanted = [self._is_given(name, severity, None) for name in corruptions for severity in SEVERITIES]
        accuracy = percent(self._together(wanted))
        return accuracy.complement if accuracy else None

    def fit(self, corruption: str, steps: int | None = None) -> LambdaFit | None:
        """Algorithm 1's line for one type of corruption."""
        return self.fits.get(fit_name(corruption, steps))

    @cached_property
    def pooled(self) -> LambdaFit | None:
        """The line for noise of unknown type; None unless all four are fitted alike."""
        found = [fit for fit in map(self.fit, NOISES) if fit]
        return pool(found) if len(found) == len(NOISES) and can_pool(found) else None

    @cached_property
    def robustness(self) -> dict[str, Robustness]:
        """By the names of the paper's threats; those that PGD was not measured under are left out."""
        rule = self.pooled.per_image_rule if self.pooled else None
        found = {
            name: Robustness.find(self.records, *threat, self.trained_lambda, rule) for name, threat in THREATS.items()
        }
        return {name: robustness for name, robustness in found.items() if robustness}

    def conditions(self) -> str:
        """Its size, how long it was trained, and, of a model from elsewhere, where it comes from, with its records."""
        training = self._find(lambda cell: cell.kind == "training")
        epochs = training.metrics.get("epochs") if training else None
        parts = {"width {}": self._option("width"), "{:.0f} epochs": epochs, "from {}": self.source}
        return ", ".join(text.format(value) for text, value in parts.items() if value is not None)

    def sweep(self, corruption: str, layers: Layers = "all") -> list[Curve]:
        """What `sweep-lambda` found, by severity, with lambda changed in these layers."""
        curves = []
        for severity in SEVERITIES:
            found = _alike([r for r in self.records if self._is_swept(r.cell, corruption, severity, layers)])
            n = found[0].n if found else 0
            points = sorted((r.cell.lambda_, 100 * r.accuracy) for r in found if r.cell.lambda_ is not None)
            if len(points) > 1:
                adaptive = self.adaptive(corruption, severity) if layers == "all" else None
                curves.append(Curve(severity, n, points, adaptive.cell.lambda_ if adaptive else None))
        return curves

    def _find(self, wanted: Wanted, beside: Record | None = None) -> Record | None:
        """The record of the wanted cells on the images of `beside`, else on the most images; of equals the latest."""
        found = [record for record in self.records if wanted(record.cell)]
        images = beside and beside.cell.images
        return max(reversed(found), key=lambda record: (record.cell.images == images, record.n), default=None)

    def _together(self, wanted: Sequence[Wanted]) -> list[Record | None]:
        """A record of each wanted cell, all on the same images, with one seed, in one precision; most images win."""
        groups: dict[tuple[object, ...], dict[int, Record]] = defaultdict(dict)
        for place, is_wanted in enumerate(wanted):
            for record in self.records:
                if is_wanted(record.cell):
                    groups[record.cell.images, record.cell.seed, record.cell.precision][place] = record
        complete = [group for group in groups.values() if len(group) == len(wanted)]
        widest = max(complete, key=lambda group: group[0].n, default={})
        return [widest.get(place) for place in range(len(wanted))]

    def _is_given(self, corruption: str | None, severity: Severity | None, steps: int | None) -> Wanted:
        at_lambda_0 = self.trained_lambda
        return lambda cell: (
            cell.lambda_ == at_lambda_0 and cell.rule is None and self._is_plain(cell, corruption, severity, steps)
        )

    def _is_chosen(self, rule: str, corruption: str | None, severity: Severity | None, steps: int | None) -> Wanted:
        return lambda cell: cell.rule == rule and self._is_plain(cell, corruption, severity, steps)

    def _is_swept(self, cell: Cell, corruption: str, severity: Severity, layers: Layers) -> bool:
        """Whether a cell differs in lambda of these layers alone; that at lambda_0 belongs to every sweep."""
        belongs = cell.layers == layers or cell.lambda_ == self.trained_lambda
        plain = cell.model_copy(update={"layers": "all"})
        return belongs and cell.rule is None and self._is_plain(plain, corruption, severity, None)

    def _is_plain(self, cell: Cell, corruption: str | None, severity: Severity | None, steps: int | None) -> bool:
        """Whether a cell is about test images that nobody attacked, from the right source."""
        described = (cell.kind, cell.split, cell.attack, cell.corruption, cell.severity, cell.steps, origin_of(cell))
        origin = self.origin if corruption else None
        return cell.layers == "all" and described == ("accuracy", "test", None, corruption, severity, steps, origin)

    def on_archives(self) -> list[Results]:
        """The same model on the images of archives, once for each origin that anything was measured on."""
        origins = sorted({origin for record in self.records if (origin := origin_of(record.cell))})
        return [replace(self, name=f"{self.name} ({origin} archive)", origin=origin) for origin in origins]


def origin_of(cell: Cell) -> str | None:
    """Whether an archive was "official", "generated" or "unknown"; None for images made here."""
    return cell.archive.partition(":")[0] if cell.archive else None


def _alike(records: Sequence[Record]) -> list[Record]:
    """Most of these records: those of one set of images, one seed and one precision; the larger set of two."""
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.cell.images, record.cell.archive, record.cell.seed, record.cell.precision].append(record)
    return max(groups.values(), key=lambda group: (len(group), group[0].n), default=[])


def _is_current(cell: Cell) -> bool:
    """Whether this version of the attacks would measure a cell alike."""
    return cell.attack is None or cell.attack.revision == REVISION


def find_results(names: Sequence[str], runs_dir: Path, progress: Progress | None = None) -> list[Results]:
    """The results of the named models; where no name is given, of all that `runs_dir` holds anything of.

    Of all, one that cannot be read is left out with a note.
    """
    if names:
        return [Results.read(find_model(name, runs_dir), runs_dir) for name in names]
    known = sorted(path.name for path in runs_dir.glob("*") if (path / CONFIG).exists())
    measured = sorted(path.parent.name for path in runs_dir.glob(f"*/{RecordStore.FILE}"))
    shipped = [name for name in measured if name not in known and (MODELS / name / CONFIG).exists()]
    found = (_readable(find_model(name, runs_dir), runs_dir, progress or Progress()) for name in [*known, *shipped])
    return [results for results in found if results]


def _readable(folder: Path, runs_dir: Path, progress: Progress) -> Results | None:
    try:
        return Results.read(folder, runs_dir)
    except BenchError as error:
        progress.note(f"{folder.name} is left out: {error}")
        return None
