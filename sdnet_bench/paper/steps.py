"""Steps of the plans of studies: corrupted images at lambda_0, Algorithm 1, and the lambdas that it chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..records import NOISES, Cell, Inference, Record
from ..records.lambda_fit import fit_name, fitted_under
from ..studies.accuracy import corrupted_cells
from ..studies.algorithm1 import (
    IMAGES,
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
        title: description of the step.
        cells: cells that are known beforehand, without those of earlier steps.
        run: measures the missing cells and returns their records.
        later: number of images in cells whose lambda depends on earlier steps.
        passes: cost of an image in classified images; more than one under attack.
    """

    title: str
    cells: Sequence[Cell]
    run: Callable[[], Sequence[Record]]
    later: int = 0
    passes: int = 1


@dataclass(frozen=True)
class StudySize:
    """The sizes of a study. Images are spread evenly over their split.

    Args:
        tested: number of test images; None for all.
        swept: number of test images of each point of Figure 2; None for all.
        attacked: number of attacked test images of Table 4, and of attacked validation images.
        training_images: number of training images of Algorithm 1; None for all, in a race.
        lambdas: the lambdas; by default those of the paper's Figure 2. lambda_0 is added.
        swept_noises: the noises of Figure 2.
        archived: whether corrupted images are read from the data set's -C archive instead of made here.
        refit: whether Algorithm 1 also runs where there is a saved fit.
    """

    tested: int | None = None
    swept: int | None = 2000
    attacked: int = 1000
    training_images: int | None = IMAGES
    lambdas: Sequence[float] | None = None
    swept_noises: Sequence[str] = NOISES
    archived: bool = False
    refit: bool = False

    @classmethod
    def limited(cls, images: int | None, *, archived: bool = False) -> StudySize:
        """The sizes with `images` test images in every study; for None the defaults."""
        return cls(archived=archived) if images is None else cls(images, images, images, archived=archived)


def measuring_step(bench: Workbench, title: str, cells: Sequence[Cell]) -> PlanStep:
    """A step that measures the given cells."""
    return PlanStep(title, cells, lambda: bench.measure(cells, title))


def given_step(bench: Workbench, corruptions: Sequence[str], size: StudySize, steps: int | None = None) -> PlanStep:
    """The step of corrupted test images of every severity at lambda_0; `steps` is None for those of training."""
    tested, inference = bench.images("test", size.tested), bench.inference(steps=steps)
    cells = corrupted_cells(bench, tested, corruptions, inference=inference, archived=size.archived)
    return measuring_step(bench, "corrupted test images, lambda as in training", cells)


def fit_steps(
    bench: Workbench, corruptions: Sequence[str], size: StudySize, inference: Inference | None = None
) -> Iterator[PlanStep]:
    """The steps of Algorithm 1 on training images, for corruptions without a fit for `inference`."""
    by = inference or bench.inference()
    for name in corruptions:
        if size.refit or not _is_fitted(bench, name, by):
            yield _fit_step(bench, name, size, by)


def _fit_step(bench: Workbench, corruption: str, size: StudySize, inference: Inference) -> PlanStep:
    """The step of one fit. For a race the cells of the whole grid are an upper bound."""
    images, rules = bench.images("train", size.training_images), Rules() if size.training_images is None else None

    def run() -> Sequence[Record]:
        fit_lambda(bench, images, corruption, size.lambdas, search=rules, inference=inference)
        return []

    levels = level_cells(bench, images, corruption, inference=inference)
    grid = swept(levels, full_grid(bench, size.lambdas))
    title = f"Algorithm 1 on training images, {corruption}"
    return PlanStep(title, [], run, bench.work(grid)) if rules else PlanStep(title, grid, run)


def _is_fitted(bench: Workbench, corruption: str, inference: Inference) -> bool:
    return fit_name(corruption, inference.steps, fitted_under(inference.adaptation)) in saved_fits(bench)


def adaptive_step(bench: Workbench, corruptions: Sequence[str], size: StudySize, steps: int | None = None) -> PlanStep:
    """The step of test images at the lambda that Algorithm 1 gives for their residual at lambda_0."""
    given = given_step(bench, corruptions, size, steps).cells

    def run() -> Sequence[Record]:
        fits = require_fits(bench, corruptions, bench.inference(steps=steps))
        return measure_adaptive(bench, bench.images("test", size.tested), fits, archived=size.archived)

    later = _later(bench, corruptions, given, steps)
    return PlanStep("corrupted test images, lambda by Algorithm 1", given, run, bench.work(later))


def _later(bench: Workbench, corruptions: Sequence[str], given: Sequence[Cell], steps: int | None) -> Sequence[Cell]:
    """The missing cells at the lambdas that the residuals of `given` decide; all cells while these are unknown."""
    inference = bench.inference(steps=steps)
    if bench.missing(given) or not all(_is_fitted(bench, name, inference) for name in corruptions):
        return given
    fits = {fit.corruption: fit for fit in require_fits(bench, corruptions, inference)}
    return bench.missing(by_residual(bench.store[cell], fits[str(cell.images.corruption)]) for cell in given)
