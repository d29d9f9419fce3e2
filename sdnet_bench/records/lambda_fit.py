"""lambda as a line of the residual: what Algorithm 1 finds on training images, and how it chooses at inference."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..config import Frozen
from ..errors import ModelError, RecordError, UsageError
from ..files import replacing
from .cell import UNKNOWN
from .record import Record

FILE = "lambda_fit.json"
Residual = Literal["norm", "squared"]
RESIDUALS: tuple[Residual, ...] = ("norm", "squared")
METRICS: dict[Residual, str] = {"norm": "residual", "squared": "residual_squared"}
"""Where a record keeps the mean of |x - A z|_2, and of its square."""


class Point(NamedTuple):
    """What one level of noise says."""

    level: float
    residual: float
    """r_c: the mean residual at lambda_0."""
    lambda_: float
    """lambda_c: the best of the grid, the smallest where several are."""
    accuracy: float
    """At lambda_c, in [0, 1]."""


def fit_name(corruption: str, steps: int | None) -> str:
    """Under which name a fit is saved; `steps` are those at inference, None for those of training."""
    return corruption if steps is None else f"{corruption}, {steps} steps"


class LambdaFit(Frozen):
    """lambda(r) = slope r + intercept for one type of corruption and one model."""

    corruption: str
    """Its name; "unknown" where the points of several types are pooled."""
    weights: str
    """sha256 of the model's weights."""
    residual: Residual = "norm"
    """What r is the mean of over images: |x - A z|_2 or its square."""
    steps: int | None = None
    """FISTA iterations at inference, where they are not those of training."""
    slope: float
    intercept: float
    r_squared: float | None
    """Share of the variance of lambda_c that the line explains; None where lambda_c does not vary."""
    points: tuple[Point, ...]
    found: str | None = None
    """In words: from how many images, with which seed and by which search."""

    def __call__(self, residual: float) -> float:
        """lambda for test images of mean residual r; never below zero. Rounded to 1e-4."""
        return round(max(0.0, self.slope * residual + self.intercept), 4)

    def covers(self, residual: float) -> bool:
        """Whether a residual lies between those that the line was fitted to."""
        fitted = [point.residual for point in self.points]
        return min(fitted) <= residual <= max(fitted)

    @property
    def name(self) -> str:
        """Under which name it is saved."""
        return fit_name(self.corruption, self.steps)

    @property
    def rule(self) -> str:
        """How a record names the choice of one lambda for a whole test set."""
        content = f"{self.slope!r} {self.intercept!r} {self.residual} {self.steps} {self.weights}"
        return f"algorithm-1/{self.corruption}/{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @property
    def per_image_rule(self) -> str:
        """How a record names the choice of a lambda for every image by its own residual."""
        return f"{self.rule}/image"


def known_types_rule(fits: Iterable[LambdaFit]) -> str:
    """How a record names the choice of a lambda for every image by the fit of its type of noise.

    `fits` are in the order of the stream's types.
    """
    known = hashlib.sha256(" ".join(fit.rule for fit in fits).encode()).hexdigest()[:16]
    return f"algorithm-1/known/{known}/image"


def find_points(records: Iterable[Record], lambda_0: float, residual: Residual = "norm") -> list[Point]:
    """{lambda_c, r_c}, steps 6 and 10 of Algorithm 1, from records of training images in any order.

    A level may have been measured in blocks: lambdas that a race has dropped lack the last of them, and do not
    count. A level without a record at lambda_0 has no residual, and gives no point.
    """
    levels: dict[float, dict[float, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        level = record.images.level
        if isinstance(level, float):
            levels[level][float(record.inference.lambda_ or 0)].append(record)
    return [
        _point(level, by_lambda, by_lambda[lambda_0], residual)
        for level, by_lambda in sorted(levels.items())
        if lambda_0 in by_lambda
    ]


def _point(level: float, by_lambda: dict[float, list[Record]], at_lambda_0: list[Record], residual: Residual) -> Point:
    widest = max(_images(records) for records in by_lambda.values())
    standing = {lambda_: records for lambda_, records in by_lambda.items() if _images(records) == widest}
    best = max(standing, key=lambda lambda_: (_accuracy(standing[lambda_]), -lambda_))
    total = sum(record.n * mean_residual(record, residual) for record in at_lambda_0)
    return Point(level, total / _images(at_lambda_0), best, _accuracy(standing[best]))


def mean_residual(record: Record, residual: Residual) -> float:
    """The mean over the images of a record; a `RecordError` where an earlier version has not measured it."""
    metric = METRICS[residual]
    if metric not in record.metrics:
        raise RecordError(f"a record of {record.model} has no {metric}", hint="Measure anew in another --runs-dir.")
    return record.metrics[metric]


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
) -> LambdaFit:
    """Step 12: linear least squares of lambda_c on r_c; a `UsageError` where all residuals are one."""
    if len({point.residual for point in points}) < 2:
        raise UsageError(
            f"no line through the points of {corruption}", expected="two residuals or more", got=len(points)
        )
    r, wanted = np.array([point.residual for point in points]), np.array([point.lambda_ for point in points])
    spread = float(((wanted - wanted.mean()) ** 2).sum())
    varies = bool(np.ptp(wanted)) and spread > 0  # equal numbers may have a spread by rounding, tiny ones none
    slope, intercept = np.polyfit(r, wanted, 1) if varies else (0.0, wanted[0])
    missed = float(((wanted - slope * r - intercept) ** 2).sum())
    return LambdaFit(
        corruption=corruption,
        weights=weights,
        residual=residual,
        steps=steps,
        slope=float(slope),
        intercept=float(intercept),
        r_squared=1 - missed / spread if varies else None,
        points=tuple(points),
        found=found,
    )


def pool(fits: Sequence[LambdaFit]) -> LambdaFit:
    """One line through the points of several types of corruption: for images whose type is not known.

    A `UsageError` where they were fitted to different kinds of residual, or for different FISTA iterations.
    """
    first = fits[0]
    if not can_pool(fits):
        hint = "Fit all of them anew: `sdnet-bench fit-lambda --corruption all`."
        raise UsageError("fits to different residuals cannot be pooled", expected="one kind of residual", hint=hint)
    points = [point for fit in fits for point in fit.points]
    found = "; ".join(f"{fit.corruption}: {fit.found}" for fit in fits)
    return fit_line(UNKNOWN, first.weights, points, first.residual, first.steps, found)


def can_pool(fits: Iterable[LambdaFit]) -> bool:
    """Whether the residuals of these fits are of one kind."""
    return len({(fit.residual, fit.steps) for fit in fits}) == 1


def read_fits(folders: Iterable[Path], weights: str) -> dict[str, LambdaFit]:
    """The saved fits by name, later folders over earlier ones; one made for other weights is a `ModelError`."""
    fits: dict[str, LambdaFit] = {}
    for path in (folder / FILE for folder in folders):
        fits |= dict(_read(path)) if path.exists() else {}
        if any(fit.weights != weights for fit in fits.values()):
            raise ModelError(f"{path} belongs to another model", hint="Remove it, or fit anew with fit-lambda.")
    return fits


def _read(path: Path) -> Iterator[tuple[str, LambdaFit]]:
    try:
        for name, content in json.loads(path.read_text(encoding="utf-8")).items():
            yield name, LambdaFit.model_validate(content)
    except (OSError, ValueError, AttributeError) as error:
        hint = "Remove it, and fit anew with fit-lambda."
        raise ModelError(f"cannot read {path}: {error}".splitlines()[0], hint=hint) from None


def save_fit(folder: Path, fit: LambdaFit) -> None:
    """Puts a fit beside the others of the same model; those of another model make room."""
    path = folder / FILE
    known = dict(_read(path)) if path.exists() else {}
    kept = {name: old for name, old in known.items() if old.weights == fit.weights}
    content = {name: each.model_dump() for name, each in sorted({**kept, fit.name: fit}.items())}
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
