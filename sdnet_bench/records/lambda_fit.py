"""lambda as a linear function of the residual: the fit of Algorithm 1, and its choice of lambda at inference."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice, product
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field, FiniteFloat

from ..errors import ModelError, RecordError, UsageError
from ..files import holding, reading, replacing
from ..names import Residual
from ..progress import Progress
from .cell import NOISES, UNKNOWN, AdaptationSetting
from .record import Record
from .sealed import Sealed

FILE = "lambda_fit.json"
METRICS: dict[Residual, str] = {"norm": "residual", "squared": "residual_squared"}
"""Names of the record metrics that hold the mean of |x - A z|_2 and of its square."""
PER_IMAGE = "/image"
"""Suffix of the names of rules that choose a lambda per image."""
ULPS = 64
"""Largest distance, in units in the last place, between a pooled slope or intercept of an earlier version and the
exact one; the largest seen is 7."""


class Point(NamedTuple):
    """The result of one noise level in Algorithm 1."""

    level: FiniteFloat
    """c: the parameter of the corruption, such as its standard deviation."""
    residual: FiniteFloat
    """r_c: the mean residual at lambda_0."""
    lambda_: FiniteFloat
    """lambda_c: the best of the grid, the smallest where several are."""
    accuracy: FiniteFloat
    """Accuracy at lambda_c, in [0, 1]."""


def fit_name(corruption: str, steps: int | None, adaptation: AdaptationSetting | None = None) -> str:
    """The name of a fit among those for the same classes.

    `steps` are the FISTA iterations at inference, None for those of training; `adaptation` is what it was fitted under.
    """
    parts = [corruption, "" if steps is None else f"{steps} steps", "" if adaptation is None else str(adaptation)]
    return ", ".join(filter(None, parts))


def fitted_under(adaptation: AdaptationSetting | None) -> AdaptationSetting | None:
    """The adaptation of the fits for this one: they are made on a shuffled stream, as nobody knows the order of one."""
    is_sorted = adaptation is not None and adaptation.order == "sorted"
    return adaptation.model_copy(update={"order": "shuffled"}) if adaptation and is_sorted else adaptation


class LambdaFit(Sealed):
    """lambda(r) = slope r + intercept for one type of corruption and one model."""

    LATER: ClassVar = ("adaptation", "classes")

    corruption: str
    """Name of the corruption; "unknown" where the points of several types are pooled."""
    weights: str
    """sha256 of the model's weights."""
    residual: Residual = "norm"
    """The residual r: the mean over images of |x - A z|_2 ("norm") or of its square ("squared")."""
    steps: int | None = None
    """FISTA iterations at inference; None for those of training."""
    slope: FiniteFloat
    """Change of lambda for a residual larger by 1."""
    intercept: FiniteFloat
    """lambda(0); lambda itself is at least 0."""
    r_squared: FiniteFloat | None
    """Share of the variance of lambda_c that the line explains; None where lambda_c does not vary."""
    points: Annotated[tuple[Point, ...], Field(min_length=2)]
    """The points that the line is fitted to, one per noise level."""
    found: str | None = None
    """Number of images, seed and search of the fit, in words."""
    adaptation: AdaptationSetting | None = None
    """The adaptation under which residuals and accuracies were measured; None for none."""
    classes: str | None = None
    """Which of the model's classes were compared (`Inference.classes`); None for all."""

    def __call__(self, residual: float) -> float:
        """lambda(r) for a mean residual r, at least 0, rounded to 1e-4."""
        return round(max(0.0, self.slope * residual + self.intercept), 4)

    def covers(self, residual: float) -> bool:
        """Whether a residual lies in the range of the fitted residuals."""
        fitted = [point.residual for point in self.points]
        return min(fitted) <= residual <= max(fitted)

    @property
    def name(self) -> str:
        """The name that the fit is saved under; that for a part of the classes names them too."""
        return self.title if self.classes is None else f"{self.title}, {self.classes}"

    @property
    def title(self) -> str:
        """The `fit_name`, by which a fit is found among those for the same classes."""
        return fit_name(self.corruption, self.steps, self.adaptation)

    @property
    def rule(self) -> str:
        """Name in records of the choice of one lambda per test set; it contains a digest of the fitted points."""
        content = [self.points, self.residual, self.steps, self.weights]
        later = [str(part) for part in (self.adaptation, self.classes) if part is not None]
        return self._named(json.dumps([*content, *later]))

    def former_rules(self) -> Iterator[str]:
        """The possible values of `rule` in records of earlier versions: a digest of the exact slope and intercept.

        A saved fit has them in its file. A pooled line was computed anew on each machine, so its last bits varied.
        """
        off = range(-ULPS, ULPS + 1) if self.corruption == UNKNOWN else [0]
        near = ([value + count * math.ulp(value) for count in off] for value in (self.slope, self.intercept))
        for slope, intercept in product(*near):
            yield self._named(f"{slope!r} {intercept!r} {self.residual} {self.steps} {self.weights}")

    def _named(self, content: str) -> str:
        return f"algorithm-1/{self.corruption}/{_digest(content)}"

    @property
    def per_image_rule(self) -> str:
        """Name in records of the choice of a lambda per image by its own residual."""
        return f"{self.rule}{PER_IMAGE}"


def known_types_rule(fits: Iterable[LambdaFit]) -> str:
    """Name in records of the choice of a lambda per image by the fit of its noise type.

    `fits` are in the order of the noise types of the stream.
    """
    return _known_types(fit.rule for fit in fits)


def _known_types(rules: Iterable[str]) -> str:
    return f"algorithm-1/known/{_digest(' '.join(rules))}/image"


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def present_rules(rules: Collection[str], fits: Mapping[str, LambdaFit]) -> dict[str, str]:
    """The present names of those rules in records that earlier versions named differently, by their old names."""
    pools = [found for steps in {fit.steps for fit in fits.values()} if (found := _of_all_noises(fits, steps))]
    names: dict[str, str] = {}
    for fit in [*fits.values(), *map(pool, pools)]:
        named = {rule.removesuffix(PER_IMAGE) for rule in rules if rule.startswith(f"algorithm-1/{fit.corruption}/")}
        old = named - {fit.rule}
        former = list(islice((rule for rule in fit.former_rules() if rule in old), len(old)))
        names |= {f"{rule}{per}": f"{fit.rule}{per}" for rule in former for per in ("", PER_IMAGE)}
    for found in pools:
        names[_known_types(next(fit.former_rules()) for fit in found)] = known_types_rule(found)
    return {old: new for old, new in names.items() if old in rules}


def _of_all_noises(fits: Mapping[str, LambdaFit], steps: int | None) -> list[LambdaFit]:
    """The fits to pool for noise of unknown type; empty where one is missing or their residuals differ in kind."""
    found = [fit for noise in NOISES if (fit := fits.get(fit_name(noise, steps)))]
    return found if len(found) == len(NOISES) and can_pool(found) else []


def find_points(records: Iterable[Record], lambda_0: float, residual: Residual = "norm") -> list[Point]:
    """The points (lambda_c, r_c) of steps 6 and 10 of Algorithm 1, from records of training images in any order.

    Lambdas that a race dropped lack the last blocks of a level and are ignored. A level without a record at lambda_0
    has no residual and gives no point.
    """
    levels: dict[float, dict[float, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        level = record.images.level
        if isinstance(level, float):
            levels[level][float(record.inference.lambda_ or 0)].append(record)
    fitted = [(level, by_lambda) for level, by_lambda in sorted(levels.items()) if lambda_0 in by_lambda]
    return [_point(level, by_lambda, by_lambda[lambda_0], residual) for level, by_lambda in fitted]


def _point(level: float, by_lambda: dict[float, list[Record]], at_lambda_0: list[Record], residual: Residual) -> Point:
    widest = max(_images(records) for records in by_lambda.values())
    standing = {lambda_: records for lambda_, records in by_lambda.items() if _images(records) == widest}
    best = max(standing, key=lambda lambda_: (_accuracy(standing[lambda_]), -lambda_))
    total = sum(record.n * mean_residual(record, residual) for record in at_lambda_0)
    return Point(level, total / _images(at_lambda_0), best, _accuracy(standing[best]))


def mean_residual(record: Record, residual: Residual) -> float:
    """The mean residual over the images of a record; a `RecordError` where an earlier version measured none, or NaN."""
    metric = METRICS[residual]
    if not math.isfinite(found := record.metrics.get(metric, math.nan)):
        raise RecordError(f"a record of {record.model} has no {metric}", hint="Measure anew in another --runs-dir.")
    return found


def _images(records: Sequence[Record]) -> int:
    return sum(record.n for record in records)


def _accuracy(records: Sequence[Record]) -> float:
    return sum(int(record.correct.sum()) for record in records) / _images(records)


def fit_line(
    corruption: str,
    weights: str,
    points: Sequence[Point],
    residual: Residual = "norm",
    steps: int | None = None,
    found: str | None = None,
    adaptation: AdaptationSetting | None = None,
    classes: str | None = None,
) -> LambdaFit:
    """Step 12 of Algorithm 1: least squares of lambda_c on r_c; a `UsageError` where all residuals are equal."""
    if len({point.residual for point in points}) < 2:
        what = f"no line through the points of {corruption}"
        raise UsageError(what, expected="two residuals or more", got=len(points))
    slope, intercept, r_squared = _least_squares(points)
    return LambdaFit(
        corruption=corruption,
        weights=weights,
        residual=residual,
        steps=steps,
        slope=slope,
        intercept=intercept,
        r_squared=r_squared,
        points=tuple(points),
        found=found,
        adaptation=adaptation,
        classes=classes,
    )


def _least_squares(points: Sequence[Point]) -> tuple[float, float, float | None]:
    """Slope, intercept and R² of lambda_c on r_c, in exact arithmetic, so that every machine gets the same floats."""
    r = [Fraction(point.residual) for point in points]
    wanted = [Fraction(point.lambda_) for point in points]
    mean_r, mean_wanted = sum(r) / len(r), sum(wanted) / len(wanted)
    variance_r = sum((each - mean_r) ** 2 for each in r)
    variance_wanted = sum((each - mean_wanted) ** 2 for each in wanted)
    covariance = sum((x - mean_r) * (y - mean_wanted) for x, y in zip(r, wanted, strict=True))
    slope = covariance / variance_r
    r_squared = float(slope * covariance / variance_wanted) if variance_wanted else None
    return float(slope), float(mean_wanted - slope * mean_r), r_squared


def pool(fits: Sequence[LambdaFit]) -> LambdaFit:
    """One line through the points of several corruptions, for images whose corruption is unknown.

    A `UsageError` where the fits differ in more than the corruption, its points and how they were found.
    """
    first = fits[0]
    if not can_pool(fits):
        hint = "Fit all of them anew: `sdnet-bench fit-lambda --corruption all`."
        raise UsageError("fits to different residuals cannot be pooled", expected="one kind of residual", hint=hint)
    points = [point for fit in fits for point in fit.points]
    found = "; ".join(f"{fit.corruption}: {fit.found}" for fit in fits)
    return fit_line(UNKNOWN, first.weights, points, first.residual, first.steps, found, first.adaptation, first.classes)


def can_pool(fits: Iterable[LambdaFit]) -> bool:
    """Whether the fits agree in the kind of residual, FISTA iterations, the adaptation and the classes compared."""
    return len({(fit.residual, fit.steps, fit.adaptation, fit.classes) for fit in fits}) == 1


def read_fits(folders: Iterable[Path], weights: str, classes: str | None = None) -> dict[str, LambdaFit]:
    """The saved fits for these classes (`Inference.classes`) by `fit_name`; later folders override earlier ones.

    A fit for other weights raises a `ModelError`.
    """
    fits: dict[str, LambdaFit] = {}
    for folder in folders:
        fits |= saved_fits([folder])
        if any(fit.weights != weights for fit in fits.values()):
            hint = "Remove it, or fit anew with fit-lambda."
            raise ModelError(f"{folder / FILE} belongs to another model", hint=hint)
    return {fit.title: fit for fit in fits.values() if fit.classes == classes}


def saved_fits(folders: Iterable[Path]) -> dict[str, LambdaFit]:
    """The saved fits by name, for any weights; a `ModelError` where a file cannot be read."""
    paths = (folder / FILE for folder in folders)
    return {name: fit for path in paths if path.exists() for name, fit in _read(path)}


def _read(path: Path) -> Iterator[tuple[str, LambdaFit]]:
    with reading(path, ModelError, hint="Remove it, and fit anew with fit-lambda."):
        for name, content in json.loads(path.read_text(encoding="utf-8")).items():
            fit = LambdaFit.model_validate(content)
            if name != fit.name:
                raise ValueError(f"the fit {fit.name!r} is called {name!r}")
            yield name, fit


def save_fit(folder: Path, fit: LambdaFit, progress: Progress | None = None) -> None:
    """Adds a fit to the file of a folder; fits for other weights are removed from it."""
    with holding(folder / f".{FILE}.lock", progress or Progress(), f"saves a fit in {folder}"):
        kept = {name: old for name, old in saved_fits([folder]).items() if old.weights == fit.weights}
        content = {name: each.model_dump(mode="json") for name, each in sorted({**kept, fit.name: fit}.items())}
        with replacing(folder / FILE) as scratch:
            scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
