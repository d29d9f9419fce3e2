"""What the plans of tables and figures share: steps that say what is measured, how much is missing, and do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .. import records
from ..data import SEVERITIES, stream_of
from ..engine.evaluate import BATCH_SIZE, evaluate
from ..records import MIXED, Cell, Inference, Record
from ..records.lambda_fit import fit_name
from ..studies.accuracy import corrupted_images
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
from ..studies.workbench import Workbench


@dataclass(frozen=True)
class PlanStep:
    """One part of a study.

    Args:
        title: what is done.
        cells: those that can be told beforehand, less those of earlier steps.
        run: measures what is missing.
        later: images to classify in cells whose lambda is not known before the steps above have run.
    """

    title: str
    cells: Sequence[Cell]
    run: Callable[[], Sequence[Record]]
    later: int = 0


@dataclass(frozen=True)
class Images:
    """Which test images a study is about.

    Args:
        limit: so many, spread evenly; None for all.
        archived: corrupted ones from the data set's -C archive, instead of made here.
    """

    limit: int | None = None
    archived: bool = False


Planner = Callable[[Workbench, Images], Iterator[PlanStep]]


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


def given_step(bench: Workbench, corruptions: Sequence[str], images: Images, steps: int | None = None) -> PlanStep:
    """Corrupted test images of every severity at lambda_0; `steps` FISTA iterations, None for those of training."""
    clean, inference = bench.images("test", images.limit), bench.inference(steps=steps)
    cells = [
        bench.cell(corrupted, inference)
        for name in corruptions
        for corrupted in corrupted_images(bench, clean, name, SEVERITIES, archived=images.archived)
    ]
    return measuring_step(bench, "corrupted test images, lambda as in training", cells)


def measuring_step(bench: Workbench, title: str, cells: Sequence[Cell]) -> PlanStep:
    """A step that measures given cells."""
    return PlanStep(title, cells, lambda: bench.measure(cells, title))


def fit_steps(bench: Workbench, corruptions: Sequence[str], steps: int | None = None) -> Iterator[PlanStep]:
    """Algorithm 1 on training images for those corruptions that have no fit yet."""
    for name in corruptions:
        if not _is_fitted(bench, name, steps):
            images, inference = bench.images("train", IMAGES), bench.inference(steps=steps)
            cells = swept(level_cells(bench, images, name, inference=inference), full_grid(bench, None))
            yield PlanStep(f"Algorithm 1 on training images, {name}", cells, _fit(bench, images, name, inference))


def _fit(
    bench: Workbench, images: records.Images, corruption: str, inference: Inference
) -> Callable[[], Sequence[Record]]:
    def run() -> Sequence[Record]:
        fit_lambda(bench, images, corruption, inference=inference)
        return []

    return run


def _is_fitted(bench: Workbench, corruption: str, steps: int | None) -> bool:
    return fit_name(corruption, bench.inference(steps=steps).steps) in saved_fits(bench)


def adaptive_step(bench: Workbench, corruptions: Sequence[str], images: Images, steps: int | None = None) -> PlanStep:
    """Test images under the lambda that their residual at lambda_0 chooses."""
    given = given_step(bench, corruptions, images, steps).cells

    def run() -> Sequence[Record]:
        fits = require_fits(bench, corruptions, bench.inference(steps=steps))
        return measure_adaptive(bench, bench.images("test", images.limit), fits, archived=images.archived)

    later = _later(bench, corruptions, given, steps)
    return PlanStep("corrupted test images, lambda by Algorithm 1", given, run, bench.work(later))


def _later(bench: Workbench, corruptions: Sequence[str], given: Sequence[Cell], steps: int | None) -> Sequence[Cell]:
    """The cells that the residuals of `given` will ask for, less those on record; all where none is known yet."""
    if bench.missing(given) or not all(_is_fitted(bench, name, steps) for name in corruptions):
        return given
    fits = {fit.corruption: fit for fit in require_fits(bench, corruptions, bench.inference(steps=steps))}
    return bench.missing(by_residual(bench.store[cell], fits[str(cell.images.corruption)]) for cell in given)
