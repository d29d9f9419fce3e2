"""The paper's tables and figures as plans: what has to be measured, how much of it is missing, and how to do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..csc import csc_layers, require_csc_layers
from ..data import CORRUPTIONS, MIXED, NOISES, SEVERITIES, UNKNOWN, stream_of
from ..engine.evaluate import BATCH_SIZE, evaluate
from ..errors import UnknownNameError, UsageError
from ..records import Cell, Record
from .accuracy import corrupted_cells
from .adaptive_lambda import (
    IMAGES,
    by_residual,
    choose_and_measure,
    fit_lambda,
    full_grid,
    level_cells,
    measure_adaptive,
    measure_known_types,
    name_of_fit,
    require_fits,
    saved_fits,
    swept,
)
from .workbench import Workbench

STEPS = (2, 4, 8)
"""FISTA iterations of the paper's Table 5."""
TABLE5 = ("gaussian", "shot", "impulse")
SWEPT = 2000
"""Test images behind each point of Figure 2 by default."""


@dataclass(frozen=True)
class Stage:
    """One part of a study.

    Args:
        title: what is done.
        cells: those that can be told beforehand, less those of earlier stages.
        run: measures what is missing.
        later: images to classify in cells whose lambda is not known before the stages above have run.
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


Planner = Callable[[Workbench, Images], Iterator[Stage]]


def plan(bench: Workbench, study: str, images: Images | None = None) -> list[Stage]:
    """The stages of a study of STUDIES, in their order; a `UsageError` where the network has no lambda for it."""
    images = images or Images()
    if study not in STUDIES:
        raise UnknownNameError("study", study, STUDIES)
    if images.archived and study not in ON_ARCHIVES:
        raise UsageError(f"{study} is no study of an archive", expected=", ".join(ON_ARCHIVES))
    stages: list[Stage] = []
    for stage in STUDIES[study](bench, images):
        known = {cell for earlier in stages for cell in earlier.cells}
        stages.append(replace(stage, cells=[cell for cell in stage.cells if cell not in known]))
    return stages


def run(bench: Workbench, stages: Iterable[Stage]) -> list[Record]:
    """The records of all stages, each once; what is on record is not measured again."""
    return list({record.cell.key: record for stage in stages for record in stage.run()}.values())


def images_per_second(bench: Workbench) -> float:
    """How fast this machine makes Gaussian noise and classifies it with this model, from one batch."""
    split, noise = bench.split("test", BATCH_SIZE), stream_of("gaussian", MIXED, bench.dataset.family, bench.seed)
    evaluate(bench.model.net, split, bench.runtime, view=noise)  # the first pass also warms up
    started = time.perf_counter()
    evaluate(bench.model.net, split, bench.runtime, view=noise)
    return len(split) / (time.perf_counter() - started)


def _noise(bench: Workbench, corruptions: Sequence[str], images: Images) -> Iterator[Stage]:
    """At lambda_0, and by Algorithm 1 where there is a lambda: Tables 2 and 3."""
    yield _given(bench, corruptions, images)
    if csc_layers(bench.model.net):
        yield from _fits(bench, corruptions)
        yield _adaptive(bench, corruptions, images)


def _given(bench: Workbench, corruptions: Sequence[str], images: Images, steps: int | None = None) -> Stage:
    cells = [
        cell
        for name in corruptions
        for cell in corrupted_cells(
            bench, "test", name, SEVERITIES, [None], images.limit, steps=steps, archived=images.archived
        )
    ]
    return _stage(bench, "corrupted test images, lambda as in training", cells)


def _stage(bench: Workbench, title: str, cells: Sequence[Cell]) -> Stage:
    return Stage(title, cells, lambda: bench.measure(cells, title))


def _fits(bench: Workbench, corruptions: Sequence[str], steps: int | None = None) -> Iterator[Stage]:
    """Algorithm 1 on training images for those corruptions that have no fit yet."""
    for name in corruptions:
        if not _is_fitted(bench, name, steps):
            cells = swept(level_cells(bench, name, None, IMAGES, steps), full_grid(bench, None))
            yield Stage(f"Algorithm 1 on training images, {name}", cells, _fit(bench, name, steps))


def _fit(bench: Workbench, corruption: str, steps: int | None) -> Callable[[], Sequence[Record]]:
    def run() -> Sequence[Record]:
        fit_lambda(bench, corruption, steps=steps)
        return []

    return run


def _is_fitted(bench: Workbench, corruption: str, steps: int | None) -> bool:
    return name_of_fit(bench, corruption, steps) in saved_fits(bench)


def _adaptive(bench: Workbench, corruptions: Sequence[str], images: Images, steps: int | None = None) -> Stage:
    """Test images under the lambda that their residual at lambda_0 chooses."""
    given = _given(bench, corruptions, images, steps).cells

    def run() -> Sequence[Record]:
        fits = require_fits(bench, corruptions, steps)
        return measure_adaptive(bench, fits, limit=images.limit, archived=images.archived)

    later = _later(bench, corruptions, given, steps)
    return Stage("corrupted test images, lambda by Algorithm 1", given, run, bench.work(later))


def _later(bench: Workbench, corruptions: Sequence[str], given: Sequence[Cell], steps: int | None) -> Sequence[Cell]:
    """The cells that the residuals of `given` will ask for, less those on record; all where none is known yet."""
    if bench.missing(given) or not all(_is_fitted(bench, name, steps) for name in corruptions):
        return given
    fits = {fit.corruption: fit for fit in require_fits(bench, corruptions, steps)}
    return bench.missing(by_residual(bench.store[cell], fits[str(cell.corruption)]) for cell in given)


def _table2(bench: Workbench, images: Images) -> Iterator[Stage]:
    yield from _noise(bench, ["gaussian"], images)


def _table3(bench: Workbench, images: Images) -> Iterator[Stage]:
    yield from _noise(bench, NOISES, images)


def _table5(bench: Workbench, images: Images) -> Iterator[Stage]:
    """Clean and noisy test images with 2, 4 and 8 FISTA iterations at inference."""
    require_csc_layers(bench.model.net)
    for steps in STEPS:
        yield _stage(bench, f"clean test images, {steps} iterations", [bench.cell("test", images.limit, steps=steps)])
        yield from _fits(bench, TABLE5, steps)
        yield _adaptive(bench, TABLE5, images, steps)


def _figure2(bench: Workbench, images: Images) -> Iterator[Stage]:
    for name in NOISES:
        cells = corrupted_cells(bench, "test", name, SEVERITIES, full_grid(bench, None), images.limit or SWEPT)
        yield _stage(bench, f"lambda sweep, {name}", cells)


def _figure3(bench: Workbench, images: Images) -> Iterator[Stage]:
    yield from _fits(bench, NOISES)


def _inference(bench: Workbench, images: Images) -> Iterator[Stage]:
    """Streams of mixed severity and clean images, with lambda fixed, per set, per image, for known and unknown type."""
    yield from _fits(bench, NOISES)
    clean = bench.cell("test", images.limit)
    types = [*NOISES, UNKNOWN]
    streams = [cell for name in types for cell in corrupted_cells(bench, "test", name, [MIXED], [None], images.limit)]
    yield _stage(bench, "clean images and streams of mixed severity, lambda as in training", [clean, *streams])

    def run() -> Sequence[Record]:
        records: list[Record] = []
        fits = require_fits(bench, types)
        pooled = fits[-1]
        for fit, stream in zip(fits, streams, strict=True):
            for per in ("set", "image"):
                records += choose_and_measure(bench, fit, [clean, stream], per)
                records += choose_and_measure(bench, pooled, [stream], per)
        return [*records, measure_known_types(bench, fits[:-1], limit=images.limit)]

    choices = 2 * (3 * len(types) - 1) + 1
    yield Stage("lambda per set and per image", [], run, later=choices * bench.work([clean]))


def _corruptions(bench: Workbench, images: Images) -> Iterator[Stage]:
    """The fifteen that the mean corruption error is taken over, at lambda_0."""
    yield _given(bench, [name for name, part in CORRUPTIONS.ours.items() if not part.extra], images)


ON_ARCHIVES = ("table2", "table3", "table5", "corruptions")
"""Those that the paper, or the benchmark, made from the -C archives."""

STUDIES: dict[str, Planner] = {
    "table2": _table2,
    "table3": _table3,
    "table5": _table5,
    "figure2": _figure2,
    "figure3": _figure3,
    "inference": _inference,
    "corruptions": _corruptions,
}
