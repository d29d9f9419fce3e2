"""Robust inference: lambda from the residual (paper, Algorithm 1).

On training images with synthetic noise of every level c in C, the best lambda_c and the residual r_c at lambda_0
are found, and a line lambda(r) is fitted. On test images the residual at lambda_0 then chooses lambda.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config import LAMBDAS, Frozen
from ..csc import require_csc_layers
from ..data import CORRUPTIONS, SEVERITIES
from ..errors import ModelError, UsageError
from ..files import replacing
from ..records import Cell, Record
from .accuracy import corrupted_cells
from .lambda_sweep import best_record, parse_lambdas
from .workbench import Workbench

IMAGES = 2000
"""How many training images are swept by default."""
FILE = "lambda_fit.json"


class Point(NamedTuple):
    """What one level of noise says."""

    level: float
    residual: float
    """r_c: the mean |x - A z|_2 at lambda_0."""
    lambda_: float
    """lambda_c: the best of the grid, the smallest where several are."""
    accuracy: float
    """At lambda_c, in [0, 1]."""


class LambdaFit(Frozen):
    """lambda(r) = slope r + intercept for one type of corruption and one model."""

    corruption: str
    weights: str
    """sha256 of the model's weights."""
    slope: float
    intercept: float
    r_squared: float | None
    """Share of the variance of lambda_c that the line explains; None where lambda_c does not vary."""
    points: tuple[Point, ...]

    def __call__(self, residual: float) -> float:
        """lambda for test images of mean residual r; never below zero. Rounded to 1e-4."""
        return round(max(0.0, self.slope * residual + self.intercept), 4)

    @property
    def rule(self) -> str:
        """How a record names the choice of this fit."""
        content = f"{self.slope!r} {self.intercept!r} {self.weights}"
        return f"algorithm-1/{self.corruption}/{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def fit_lambda(
    bench: Workbench, corruption: str, lambdas: Sequence[float] | None = None, *, limit: int | None = IMAGES
) -> LambdaFit:
    """Steps 3 to 12 of Algorithm 1 on the training split; the fit is saved beside the model's records."""
    records = bench.measure(training_cells(bench, corruption, lambdas, limit), f"Algorithm 1, {corruption}")
    fit = fit_line(corruption, bench.model.weights, points(records, bench.trained_lambda))
    _save(bench.folder, fit)
    return fit


def training_cells(bench: Workbench, corruption: str, lambdas: Sequence[float] | None, limit: int | None) -> list[Cell]:
    """Corrupted training images at every level of C, under lambda_0 and every lambda of the grid."""
    grid = sorted({bench.trained_lambda, *(parse_lambdas(LAMBDAS) if lambdas is None else lambdas)})
    levels = CORRUPTIONS[corruption].levels(bench.dataset.family)
    return [
        bench.cell("train", limit, lambda_, corruption=corruption, level=level) for level in levels for lambda_ in grid
    ]


def points(records: Iterable[Record], lambda_0: float) -> list[Point]:
    """{lambda_c, r_c} from the records of `training_cells`, in any order: steps 6 and 10.

    A level without a record at lambda_0 has no residual, and gives no point.
    """
    levels: dict[float, list[Record]] = {}
    for record in records:
        levels.setdefault(float(record.cell.level or 0), []).append(record)
    return [
        _point(level, group, lambda_0)
        for level, group in sorted(levels.items())
        if any(record.cell.lambda_ == lambda_0 for record in group)
    ]


def _point(level: float, records: list[Record], lambda_0: float) -> Point:
    residual = next(record.metrics["residual"] for record in records if record.cell.lambda_ == lambda_0)
    best = best_record(records)
    return Point(level, residual, float(best.cell.lambda_ or 0), best.accuracy)


def fit_line(corruption: str, weights: str, at: Sequence[Point]) -> LambdaFit:
    """Step 12: linear least squares of lambda_c on r_c; a `UsageError` where all residuals are one."""
    if len({point.residual for point in at}) < 2:
        raise UsageError(f"no line through the points of {corruption}", expected="two residuals or more", got=len(at))
    residual, wanted = np.array([point.residual for point in at]), np.array([point.lambda_ for point in at])
    slope, intercept = np.polyfit(residual, wanted, 1)
    spread = float(((wanted - wanted.mean()) ** 2).sum())
    missed = float(((wanted - slope * residual - intercept) ** 2).sum())
    return LambdaFit(
        corruption=corruption,
        weights=weights,
        slope=float(slope),
        intercept=float(intercept),
        r_squared=1 - missed / spread if spread else None,
        points=tuple(at),
    )


def measure_adaptive(
    bench: Workbench,
    fits: Iterable[LambdaFit],
    severities: Iterable[int] = SEVERITIES,
    *,
    limit: int | None = None,
) -> list[Record]:
    """Steps 13 and 14: the residual of each test set at lambda_0 chooses the lambda it is classified with."""
    severities = list(severities)
    records = []
    for fit in fits:
        given = corrupted_cells(bench, "test", fit.corruption, severities, [None], limit)
        seen = bench.measure(given, f"residuals, {fit.corruption}")
        records += bench.measure([_choose(record, fit) for record in seen], f"adaptive lambda, {fit.corruption}")
    return records


def _choose(record: Record, fit: LambdaFit) -> Cell:
    return record.cell.model_copy(update={"lambda_": fit(record.metrics["residual"]), "rule": fit.rule})


def load_fits(bench: Workbench) -> dict[str, LambdaFit]:
    """The fits saved for this model, by corruption; one made for other weights is a `ModelError`."""
    fits: dict[str, LambdaFit] = {}
    for path in (bench.model.folder / FILE, bench.folder / FILE):  # what was published, then what was fitted here
        fits |= _read(path) if path.exists() else {}
        if any(fit.weights != bench.model.weights for fit in fits.values()):
            hint = f"Fit anew with `sdnet-bench fit-lambda {bench.model.name}`."
            raise ModelError(f"{path} belongs to another model", hint=hint)
    return fits


def require_fits(bench: Workbench, corruptions: Iterable[str]) -> list[LambdaFit]:
    """The saved fits of these corruptions, or a `ModelError` that says how to make the first that is missing."""
    require_csc_layers(bench.model.net)
    fits = load_fits(bench)
    for name in corruptions:
        if name not in fits:
            hint = f"Fit it with `sdnet-bench fit-lambda {bench.model.name} --corruption {name}`."
            raise ModelError(f"no fit of lambda for {name} noise on {bench.model.name}", hint=hint)
    return [fits[name] for name in corruptions]


def _read(path: Path) -> dict[str, LambdaFit]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: LambdaFit.model_validate(fit) for name, fit in content.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"cannot read {path}: {error}".splitlines()[0]) from None


def _save(folder: Path, fit: LambdaFit) -> None:
    path = folder / FILE
    known = _read(path) if path.exists() else {}
    same_model = {name: old for name, old in known.items() if old.weights == fit.weights}
    content = {name: each.model_dump() for name, each in sorted({**same_model, fit.corruption: fit}.items())}
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
