"""Studies: the plan of a table or figure, and for a table its values and commands; and the steps of plans."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..csc import require_csc_layers
from ..data import SEVERITIES, stream_of
from ..engine.evaluate import BATCH_SIZE, evaluate
from ..records import MIXED, NOISES, Cell, Inference, Record
from ..records.lambda_fit import fit_name, fitted_under
from ..records.statistics import Value
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
from ..studies.race import Rules
from ..studies.workbench import Workbench
from .published import PaperRow, PaperTable, published
from .results import Results


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


@dataclass(frozen=True)
class Study:
    """The measurements of a table or figure.

    Args:
        name: `table1`, `figure2`, ..., or a word for a study that is not in the paper.
        plan: returns the steps of the measurement.
        needs_lambda: whether it applies only to networks with CSC-layers.
        on_archives: whether the paper, or the benchmark, measured it on the -C archives.
    """

    name: str
    plan: Callable[[Workbench, StudySize], Iterator[PlanStep]]
    needs_lambda: bool = False
    on_archives: bool = False

    def steps(self, bench: Workbench, size: StudySize | None = None) -> list[PlanStep]:
        """The steps in order, each cell only in the first step that needs it.

        A `UsageError` for a network without CSC-layers where the study needs lambda.
        """
        if self.needs_lambda:
            require_csc_layers(bench.model.net)
        steps: list[PlanStep] = []
        for step in self.plan(bench, size or StudySize()):
            known = {cell for earlier in steps for cell in earlier.cells}
            steps.append(replace(step, cells=[cell for cell in step.cells if cell not in known]))
        return steps


def study_command(name: str, model: Results) -> str | None:
    """The command that measures a study; None for results on archives, whose folder is not known."""
    return None if model.origin else f"sdnet-bench evaluate {model.name} --study {name}"


@dataclass(frozen=True, kw_only=True)
class TableStudy(Study):
    """A study with a table of our numbers beside those of `paper.toml`.

    Args:
        value: returns the number of a model in a row and column; None where it is not on record.
        command: returns the command that measures it, or None; by default `evaluate --study`.
        notes: returns notes on a model's numbers, besides those on the measurement.
        remark: returns a difference in conditions between a model's numbers and the paper's in a row.
        of_the_machine: columns whose numbers depend on the machine.
        optional: whether the table is left out while it has only clean accuracy.
        fixed: whether the table is only for the architectures of its rows.
    """

    value: Callable[[Results, PaperRow, str], Value | None]
    command: Callable[[Results, PaperRow, str], str | None] | None = None
    notes: Callable[[Results], Iterable[str]] = lambda model: ()
    remark: Callable[[Results, PaperRow], str | None] = lambda model, row: None
    of_the_machine: Collection[str] = ()
    optional: bool = False
    fixed: bool = False

    @property
    def published(self) -> PaperTable:
        """The rows and columns of the table, with the paper's numbers."""
        return published()[self.name]

    def filled_by(self, model: Results, row: PaperRow, column: str) -> str | None:
        """The command that measures a number of a model; None where there is none."""
        return self.command(model, row, column) if self.command else study_command(self.name, model)


def run(plan: Iterable[PlanStep]) -> list[Record]:
    """Runs all steps and returns their records, each once; cells on record are not measured again."""
    return list({record.cell.key: record for step in plan for record in step.run()}.values())


def images_per_second(bench: Workbench) -> float:
    """Images/s for adding Gaussian noise and classifying with this model, measured on one batch."""
    split, noise = bench.split("test", BATCH_SIZE), stream_of("gaussian", MIXED, bench.dataset.family, bench.seed)
    evaluate(bench.model.net, split, bench.runtime, transform=noise)  # the first pass also warms up
    started = time.perf_counter()
    evaluate(bench.model.net, split, bench.runtime, transform=noise)
    return len(split) / (time.perf_counter() - started)


def given_step(bench: Workbench, corruptions: Sequence[str], size: StudySize, steps: int | None = None) -> PlanStep:
    """The step of corrupted test images of every severity at lambda_0; `steps` is None for those of training."""
    tested, inference = bench.images("test", size.tested), bench.inference(steps=steps)
    cells = [
        bench.cell(corrupted, inference)
        for name in corruptions
        for corrupted in corrupted_images(bench, tested, name, SEVERITIES, archived=size.archived)
    ]
    return measuring_step(bench, "corrupted test images, lambda as in training", cells)


def measuring_step(bench: Workbench, title: str, cells: Sequence[Cell]) -> PlanStep:
    """A step that measures the given cells."""
    return PlanStep(title, cells, lambda: bench.measure(cells, title))


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
