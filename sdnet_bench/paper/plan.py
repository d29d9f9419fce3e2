"""What the plans of tables and figures share: steps that say what is measured, how much is missing, and do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..data import SEVERITIES, stream_of
from ..engine.evaluate import BATCH_SIZE, evaluate
from ..records import MIXED, NOISES, Cell, Record
from ..records.lambda_fit import fit_name
from ..studies import algorithm1
from ..studies.accuracy import corrupted_images
from ..studies.algorithm1 import (
    by_residual,
    fit_lambda,
    full_grid,
    level_cells,
    measure_adaptive,
    require_fits,
    saved_fits,
    swept,
)
from ..studies.race import Rules
from ..studies.workbench import Workbench


@dataclass(frozen=True)
class PlanStep:
    """One part of a study.

    Args:
        title: what is done.
        cells: those that can be told beforehand, less those of earlier steps.
        run: measures what is missing.
        later: images to classify in cells whose lambda is not known before the steps above have run.
        passes: how many classified images one of its images costs; more than one where it is attacked.
    """

    title: str
    cells: Sequence[Cell]
    run: Callable[[], Sequence[Record]]
    later: int = 0
    passes: int = 1


@dataclass(frozen=True)
class Extent:
    """How much of a study is measured. Images are spread evenly over their split.

    Args:
        tested: test images; None for all.
        swept: test images behind each point of Figure 2; None for all.
        attacked: test images of Table 4, and as many for validation.
        training_images: those of Algorithm 1; None for all of them, in a race.
        lambdas: that are tried; by default those of the paper's Figure 2. lambda_0 joins them.
        swept_noises: the noises of Figure 2.
        archived: corrupted images are those of the data set's -C archive, instead of made here.
        refit: Algorithm 1 runs also where there is a fit.
    """

    tested: int | None = None
    swept: int | None = 2000
    attacked: int = 1000
    training_images: int | None = algorithm1.IMAGES
    lambdas: Sequence[float] | None = None
    swept_noises: Sequence[str] = NOISES
    archived: bool = False
    refit: bool = False

    @classmethod
    def limited(cls, images: int | None, *, archived: bool = False) -> Extent:
        """So many test images of everything; for None as many as each study takes by itself."""
        return cls(archived=archived) if images is None else cls(images, images, images, archived=archived)


def run(plan: Iterable[PlanStep]) -> list[Record]:
    """The records of all steps, each once; what is on record is not measured again."""
    return list({record.cell.key: record for step in plan for record in step.run()}.values())


def images_per_second(bench: Workbench) -> float:
    """How fast this machine makes Gaussian noise and classifies it with this model, from one batch."""
    split, noise = bench.split("test", BATCH_SIZE), stream_of("gaussian", MIXED, bench.dataset.family, bench.seed)
    evaluate(bench.model.net, split, bench.runtime, transform=noise)  # the first pass also warms up
    started = time.perf_counter()
    evaluate(bench.model.net, split, bench.runtime, transform=noise)
    return len(split) / (time.perf_counter() - started)


def given_step(bench: Workbench, corruptions: Sequence[str], extent: Extent, steps: int | None = None) -> PlanStep:
    """Corrupted test images of every severity at lambda_0; `steps` FISTA iterations, None for those of training."""
    tested, inference = bench.images("test", extent.tested), bench.inference(steps=steps)
    cells = [
        bench.cell(corrupted, inference)
        for name in corruptions
        for corrupted in corrupted_images(bench, tested, name, SEVERITIES, archived=extent.archived)
    ]
    return measuring_step(bench, "corrupted test images, lambda as in training", cells)


def measuring_step(bench: Workbench, title: str, cells: Sequence[Cell]) -> PlanStep:
    """A step that measures given cells."""
    return PlanStep(title, cells, lambda: bench.measure(cells, title))


def fit_steps(
    bench: Workbench, corruptions: Sequence[str], extent: Extent, steps: int | None = None
) -> Iterator[PlanStep]:
    """Algorithm 1 on training images for those corruptions that have no fit yet."""
    for name in corruptions:
        if extent.refit or not _is_fitted(bench, name, steps):
            yield _fit_step(bench, name, extent, steps)


def _fit_step(bench: Workbench, corruption: str, extent: Extent, steps: int | None) -> PlanStep:
    """What a race has to measure shows on the way; the grid of all lambdas is the most."""
    images, inference = bench.images("train", extent.training_images), bench.inference(steps=steps)
    rules = Rules() if extent.training_images is None else None

    def run() -> Sequence[Record]:
        fit_lambda(bench, images, corruption, extent.lambdas, search=rules, inference=inference)
        return []

    levels = level_cells(bench, images, corruption, inference=inference)
    grid = swept(levels, full_grid(bench, extent.lambdas))
    title = f"Algorithm 1 on training images, {corruption}"
    return PlanStep(title, [], run, bench.work(grid)) if rules else PlanStep(title, grid, run)


def _is_fitted(bench: Workbench, corruption: str, steps: int | None) -> bool:
    return fit_name(corruption, bench.inference(steps=steps).steps) in saved_fits(bench)


def adaptive_step(bench: Workbench, corruptions: Sequence[str], extent: Extent, steps: int | None = None) -> PlanStep:
    """Test images under the lambda that their residual at lambda_0 chooses."""
    given = given_step(bench, corruptions, extent, steps).cells

    def run() -> Sequence[Record]:
        fits = require_fits(bench, corruptions, bench.inference(steps=steps))
        return measure_adaptive(bench, bench.images("test", extent.tested), fits, archived=extent.archived)

    later = _later(bench, corruptions, given, steps)
    return PlanStep("corrupted test images, lambda by Algorithm 1", given, run, bench.work(later))


def _later(bench: Workbench, corruptions: Sequence[str], given: Sequence[Cell], steps: int | None) -> Sequence[Cell]:
    """The cells that the residuals of `given` will ask for, less those on record; all where none is known yet."""
    if bench.missing(given) or not all(_is_fitted(bench, name, steps) for name in corruptions):
        return given
    fits = {fit.corruption: fit for fit in require_fits(bench, corruptions, bench.inference(steps=steps))}
    return bench.missing(by_residual(bench.store[cell], fits[str(cell.images.corruption)]) for cell in given)
