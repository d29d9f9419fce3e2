"""Robust inference: lambda from the residual (paper, Algorithm 1), for a test set or for each image.

On training images with noise of every level c in C, the best lambda_c and the residual r_c at lambda_0 are measured,
and a line lambda(r) is fitted to them. On test images the residual at lambda_0 then gives lambda.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..config import LAMBDAS
from ..csc import require_csc_layers
from ..data import CORRUPTIONS, SEVERITIES, Batch, Stream, stream_of
from ..errors import ModelError, UsageError
from ..names import Per, Residual
from ..records import MIXED, NOISES, UNKNOWN, Cell, Images, Inference, Record, Severity
from ..records.lambda_fit import (
    LambdaFit,
    find_points,
    fit_line,
    fit_name,
    fitted_under,
    known_types_rule,
    mean_residual,
    pool,
    read_fits,
    save_fit,
    saved_fits as fits_in,
)
from .accuracy import corrupted_cells
from .race import Rules, race
from .workbench import Workbench

IMAGES = 2000
"""Default number of training images of a sweep."""


def fit_lambda(
    bench: Workbench,
    images: Images,
    corruption: str,
    lambdas: Sequence[float] | None = None,
    *,
    levels: Sequence[float] | None = None,
    search: Rules | None = None,
    residual: Residual = "norm",
    inference: Inference | None = None,
) -> LambdaFit:
    """Steps 3 to 12 of Algorithm 1; the fit is saved beside the model's records.

    Args:
        images: clean images of the training split.
        lambdas: the set Lambda, by default that of the paper's Figure 2; lambda_0 is added.
        levels: the set C, by default the corruption's `fit_levels`.
        search: None measures every lambda on every image; with rules a race is run.
        residual: "norm" for the mean of |x - A z|_2, "squared" for the mean of its square.
        inference: inference at lambda_0, by default with the FISTA iterations of training and no adaptation.
    """
    cells = level_cells(bench, images, corruption, levels, inference)
    grid = full_grid(bench, lambdas)
    if search is None:
        records = bench.measure(swept(cells, grid), f"Algorithm 1, {corruption}")
    else:
        records = [record for cell in cells for record in race(bench, cell, grid, search)]
    points = find_points(records, bench.trained_lambda, residual)
    how = f"race at confidence {search.confidence:g}, tolerance {search.tolerance:g}" if search else "grid"
    found = f"{how} on {len(bench.split_of(images)):,} training images, seed {images.seed}"
    by = cells[0].inference
    fit = fit_line(corruption, bench.model.weights, points, residual, by.steps, found, by.adaptation, by.classes)
    if fit.slope < 0:
        what = f"lambda falls as the residual of {corruption} grows, by {-fit.slope:.3g} per unit"
        bench.progress.warn(f"{what}: more noise gets less sparsity. Fit on more images, or with other --levels")
    _note_replaced(bench, fit)
    if bench.runtime.processes.is_main_process:
        save_fit(bench.folder, fit, bench.progress)
    bench.runtime.processes.wait_for_everyone()  # other processes may read it next
    return fit


def _note_replaced(bench: Workbench, fit: LambdaFit) -> None:
    """Notes which fit, of the run or published with the model, another one takes the place of."""
    old = fits_in([bench.model.folder, bench.folder]).get(fit.name)
    if old is not None and old.weights == fit.weights and old != fit:
        bench.progress.note(f"in the place of the fit of {fit.name} by a {old.found}, and of what rests on it")


def level_cells(
    bench: Workbench,
    images: Images,
    corruption: str,
    levels: Sequence[float] | None = None,
    inference: Inference | None = None,
) -> list[Cell]:
    """Cells of corrupted images at lambda_0, one for every level of C; a `UsageError` for levels <= 0."""
    require_csc_layers(bench.model.net)
    usual = CORRUPTIONS[corruption].levels(bench.dataset.family)  # an error where it has none
    wanted = usual if levels is None else levels
    if not all(math.isfinite(level) and level > 0 for level in wanted):
        raise UsageError("levels out of range", expected="finite numbers > 0", got=list(wanted))
    at = partial(bench.images, images.split, images.limit, corruption=corruption)
    return [bench.cell(at(level=float(level)), inference) for level in wanted]


def full_grid(bench: Workbench, lambdas: Sequence[float] | None) -> list[float]:
    """The set Lambda of Algorithm 1, ascending, with lambda_0."""
    return sorted({bench.trained_lambda, *(LAMBDAS if lambdas is None else lambdas)})


def swept(cells: Iterable[Cell], lambdas: Sequence[float]) -> list[Cell]:
    """Every cell at every lambda."""
    return [cell.with_inference(cell.inference.at(lambda_)) for cell in cells for lambda_ in lambdas]


def measure_adaptive(
    bench: Workbench,
    images: Images,
    fits: Iterable[LambdaFit],
    severities: Iterable[Severity] = SEVERITIES,
    *,
    per: Per = "set",
    archived: bool = False,
    inference: Inference | None = None,
) -> list[Record]:
    """Steps 13 and 14 for every severity of each fit's corruption; "mixed" is one stream of all severities.

    `images` are the clean ones, `archived` is that of `measure_corrupted`, and `per` that of `choose_and_measure`.
    `inference` is that at lambda_0, by default as in the fit.
    """
    severities, records = list(severities), []
    for fit in fits:
        by = inference or bench.inference(steps=fit.steps, adaptation=fit.adaptation)
        cells = corrupted_cells(bench, images, [fit.corruption], severities, by, archived=archived)
        records += choose_and_measure(bench, fit, cells, per)
    return records


def choose_and_measure(bench: Workbench, fit: LambdaFit, cells: Sequence[Cell], per: Per = "set") -> list[Record]:
    """Measures the images of cells at lambda_0 again, at the lambda that the fit gives for their residuals.

    Per "set", the mean residual of all images of a cell gives one lambda (Algorithm 1); per "image", the residual of
    each image gives its own lambda.
    """
    title = f"lambda per {per} by the fit of {fit.corruption}"
    if per == "image":
        rule = PerImage(fit)
        ruled = [cell.with_inference(cell.inference.by(rule.rule)) for cell in cells]
        return bench.measure(ruled, title, {rule.rule: rule})
    seen = bench.measure(cells, f"residuals for the fit of {fit.corruption}")
    for record in seen:
        _warn_outside(bench, fit, record)
    return bench.measure([by_residual(record, fit) for record in seen], title)


def measure_known_types(bench: Workbench, images: Images, fits: Sequence[LambdaFit]) -> Record:
    """Accuracy on the stream of all noises and severities, with a lambda per image by the fit of its noise type.

    `images` are the clean images; `fits` are those of the NOISES, in their order.
    """
    rule = PerImageOfType(tuple(fits), stream_of(UNKNOWN, MIXED, bench.dataset.family, bench.seed))
    by = bench.inference(steps=fits[0].steps, rule=rule.rule)
    cells = corrupted_cells(bench, images, [UNKNOWN], [MIXED], by)
    return bench.measure(cells, "lambda per image by the fit of its type", {rule.rule: rule})[0]


def by_residual(record: Record, fit: LambdaFit) -> Cell:
    """The cell of a record at the lambda that a fit gives for its residual."""
    inference = record.inference.by(fit.rule, fit(mean_residual(record, fit.residual)))
    return record.cell.with_inference(inference)


def _warn_outside(bench: Workbench, fit: LambdaFit, record: Record) -> None:
    residual, images = mean_residual(record, fit.residual), record.images
    if not fit.covers(residual):
        low, high = (extreme(point.residual for point in fit.points) for extreme in (min, max))
        what = f"{images.corruption or 'clean'} {images.severity or ''}".strip()
        where = f"outside {low:.6g} to {high:.6g}, where lambda(r) was fitted to {fit.corruption} noise"
        bench.progress.warn(f"the residual of {what}, {residual:.6g}, lies {where}")


def require_fits(bench: Workbench, corruptions: Iterable[str], inference: Inference | None = None) -> list[LambdaFit]:
    """The saved fits of these corruptions for `inference`, by default that of training; of "unknown" the pooled one.

    They agree with it in FISTA iterations and, but for the order of the stream, in the adaptation. A `ModelError` where
    one is missing.
    """
    require_csc_layers(bench.model.net)
    fits, by = saved_fits(bench), inference or bench.inference()
    return [
        pool(_each(bench, fits, NOISES, by)) if name == UNKNOWN else _each(bench, fits, [name], by)[0]
        for name in corruptions
    ]


def saved_fits(bench: Workbench) -> dict[str, LambdaFit]:
    """The saved fits for the classes compared, by name: those of the run override those published with the model."""
    return read_fits([bench.model.folder, bench.folder], bench.model.weights, bench.model.selected)


def _each(
    bench: Workbench, fits: dict[str, LambdaFit], corruptions: Iterable[str], inference: Inference
) -> list[LambdaFit]:
    steps, under = inference.steps, fitted_under(inference.adaptation)
    names = {name: fit_name(name, steps, under) for name in corruptions}
    for name, saved in names.items():
        if saved not in fits:
            extra = "" if steps is None else f" --inference-steps {steps}"
            extra += "" if under is None else f" --adapt {under.name}"
            extra += "" if under is None or under.batch_size is None else f" --batch-size {under.batch_size}"
            hint = f"Fit it with `sdnet-bench fit-lambda {bench.model.name} --corruption {name}{extra}`."
            raise ModelError(f"no fit of lambda for {saved} noise on {bench.model.name}", hint=hint)
    return [fits[saved] for saved in names.values()]


@dataclass(frozen=True)
class PerImage:
    """Algorithm 1 per image: each image's residual gives its lambda."""

    fit: LambdaFit

    def __call__(self, residual: Tensor, batch: Batch) -> Tensor:
        """`(N,)` norms |x - A z|_2 to `(N,)` lambdas, never below zero; NaN where the line is not finite."""
        r = residual**2 if self.fit.residual == "squared" else residual
        line = self.fit.slope * r + self.fit.intercept
        return line.clamp_min(0).where(line.isfinite(), torch.nan)

    @property
    def rule(self) -> str:
        """Name of this rule in records."""
        return self.fit.per_image_rule


@dataclass(frozen=True)
class PerImageOfType:
    """Algorithm 1 per image on a stream of several noise types, with the fit of each image's true type."""

    fits: tuple[LambdaFit, ...]
    """One fit per noise type of the stream, in its order."""
    stream: Stream

    def __call__(self, residual: Tensor, batch: Batch) -> Tensor:
        """`(N,)` norms |x - A z|_2 to `(N,)` lambdas, never below zero."""
        chosen = torch.stack([PerImage(fit)(residual, batch) for fit in self.fits])
        types = [self.stream.names.index(self.stream.draw(index)[0]) for index in batch.index.tolist()]
        return chosen[torch.tensor(types, device=chosen.device), torch.arange(len(types), device=chosen.device)]

    @property
    def rule(self) -> str:
        """Name of this rule in records."""
        return known_types_rule(self.fits)
