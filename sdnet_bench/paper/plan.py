"""The plans of the studies: what each measures, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from ..adaptations import chain_of
from ..csc import csc_layers, require_csc_layers
from ..data import stream_of
from ..engine.batches import BATCH_SIZE
from ..engine.evaluate import evaluate
from ..errors import UnknownNameError, UsageError
from ..records import MIXED, NOISES, PROTOCOLS, UNKNOWN, AttackSetting, Cell, Protocol, Record
from ..studies.accuracy import corrupted_cells
from ..studies.adversarial import protocol_cells, run_attack, usable_cells
from ..studies.algorithm1 import (
    choose_and_measure,
    full_grid,
    measure_known_types,
    require_fits,
    swept,
)
from ..studies.protocols import adaptive_rules, attack_setting, matched_cells, transfer_cells
from ..studies.workbench import Workbench
from .adaptation import COLUMNS, Column, fitted_to
from .iterations import CORRUPTED, STEPS
from .noise import BENCHMARK
from .published import PaperRow, published
from .registry import STUDIES
from .robustness import THREATS
from .steps import PlanStep, StudySize, adaptive_step, fit_steps, given_step, measuring_step

PASSES = 3
"""Cost of an attack step in classified images: one forward pass, and a backward pass that costs two."""


def plan(bench: Workbench, name: str, size: StudySize | None = None) -> list[PlanStep]:
    """The steps of a study of STUDIES in order, each cell only in the first step that needs it.

    A `UsageError` for a network without CSC-layers where the study needs lambda, and for archives where it has none.
    """
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    if size and size.archived and not STUDIES[name].on_archives:
        on_archives = [study.name for study in STUDIES.values() if study.on_archives]
        raise UsageError(f"{name} is no study of an archive", expected=", ".join(on_archives))
    if STUDIES[name].needs_lambda:
        require_csc_layers(bench.model.net)
    steps: list[PlanStep] = []
    for step in PLANS[name](bench, size or StudySize()):
        known = {cell for earlier in steps for cell in earlier.cells}
        steps.append(replace(step, cells=[cell for cell in step.cells if cell not in known]))
    return steps


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


def _clean(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The step of Tables 1 and 6: clean test images."""
    yield measuring_step(bench, "clean test images", [bench.cell(bench.images("test", size.tested))])


def _noises(corruptions: Sequence[str], bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of Tables 2 and 3: test images at lambda_0, and by Algorithm 1 where there is a lambda."""
    yield given_step(bench, corruptions, size)
    if csc_layers(bench.model.net):
        yield from fit_steps(bench, corruptions, size)
        yield adaptive_step(bench, corruptions, size)


def _sweep(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of Figure 2: accuracy at every lambda, one step per noise."""
    images, grid = bench.images("test", size.swept), full_grid(bench, size.lambdas)
    for name in size.swept_noises:
        yield measuring_step(bench, f"lambda sweep, {name}", swept(corrupted_cells(bench, images, [name]), grid))


def _attacks(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of Table 4: PGD under both threats by every protocol, after Algorithm 1 on the four noises."""
    protocols: Sequence[Protocol] = ("matched",)
    if csc_layers(bench.model.net):
        protocols = PROTOCOLS
        yield from fit_steps(bench, NOISES, size)
        yield _clean_step(bench, size)
    for threat in THREATS.values():
        setting = attack_setting(threat)
        yield from (_attack_step(bench, setting, protocol, size) for protocol in protocols)


def _clean_step(bench: Workbench, size: StudySize) -> PlanStep:
    """The step that measures clean validation images, which decide the usable lambdas of the ensemble."""
    cells = usable_cells(bench, bench.images("validation", size.attacked), full_grid(bench, size.lambdas))

    def run() -> Sequence[Record]:
        bench.measure(cells, "clean validation images")
        return []

    return PlanStep("clean validation images", cells, run)


def _attack_step(bench: Workbench, setting: AttackSetting, protocol: Protocol, size: StudySize) -> PlanStep:
    def run() -> Sequence[Record]:
        return run_attack(bench, setting, bench.images("test", size.attacked), [protocol], size.lambdas)

    cells, later = _foreseen(bench, setting, protocol, size)
    networks = len(full_grid(bench, size.lambdas)) if protocol == "ensemble" else 1
    passes = PASSES * setting.steps * setting.restarts * networks
    return PlanStep(f"{setting.name} {setting.norm} attack, {protocol}", cells, run, later, passes)


def _foreseen(
    bench: Workbench, setting: AttackSetting, protocol: Protocol, size: StudySize
) -> tuple[Sequence[Cell], int]:
    """The cells of a protocol that are known beforehand, and the number of attacked images of the others."""
    tested, validation = bench.images("test", size.attacked), bench.images("validation", size.attacked)
    count = len(bench.split_of(tested))
    if not csc_layers(bench.model.net):
        return matched_cells(bench, setting, tested, [None]), 0
    grid, rules = full_grid(bench, size.lambdas), adaptive_rules(bench)
    if protocol == "ensemble" and bench.missing(usable_cells(bench, validation, grid)):
        return [], count
    if protocol == "adaptive" and not rules:
        return [], 2 * count  # with the gradient of the rule, and without
    cells = protocol_cells(bench, setting, protocol, tested, grid)
    if protocol == "transfer":
        return [*transfer_cells(bench, setting, validation, grid), *cells], 0 if rules else count
    return cells, 0


def _iterations(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of Table 5: clean and noisy test images with 2, 4 and 8 FISTA iterations at inference."""
    tested = bench.images("test", size.tested)
    for steps in STEPS:
        inference = bench.inference(steps=steps)
        yield measuring_step(bench, f"clean test images, {steps} iterations", [bench.cell(tested, inference)])
        yield from fit_steps(bench, CORRUPTED, size, inference)
        yield adaptive_step(bench, CORRUPTED, size, steps)


def _inference(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of robust inference: streams and clean images, with lambda fixed, per set and per image."""
    yield from fit_steps(bench, NOISES, size)
    tested, types = bench.images("test", size.tested), [*NOISES, UNKNOWN]
    clean = bench.cell(tested)
    streams = corrupted_cells(bench, tested, types, [MIXED])
    yield measuring_step(bench, "clean images and streams of mixed severity, lambda as in training", [clean, *streams])

    def run() -> Sequence[Record]:
        records: list[Record] = []
        fits = require_fits(bench, types)
        pooled = fits[-1]
        for fit, stream in zip(fits, streams, strict=True):
            for per in ("set", "image"):
                records += choose_and_measure(bench, fit, [clean, stream], per)
                records += choose_and_measure(bench, pooled, [stream], per)
        return [*records, measure_known_types(bench, tested, fits[:-1])]

    choices = 2 * (3 * len(types) - 1) + 1
    yield PlanStep("lambda per set and per image", [], run, later=choices * bench.work([clean]))


def _adaptation(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of adaptations: the images of all columns, for each row of the network."""
    for row in _rows(bench):
        if row.rule is None:
            cells = [cell for column in COLUMNS.values() for cell in _cells(bench, row, column, size)]
            yield measuring_step(bench, row.name, cells)
        else:
            yield from fit_steps(bench, NOISES, size, bench.inference(adaptation=row.adaptation()))
            yield _rule_step(bench, row, size)


def _rows(bench: Workbench) -> list[PaperRow]:
    """The rows of the network: those of its architecture, or those of one with or without CSC-layers."""
    rows, name = published()["adaptation"].rows, bench.model.config.backbone.architecture
    usual = "sdnet18" if csc_layers(bench.model.net) else "resnet18"
    own = [row for row in rows if row.backbone == name] or [row for row in rows if row.backbone == usual]
    return [row for row in own if _applies(bench, row)]


def _applies(bench: Workbench, row: PaperRow) -> bool:
    """Whether the network can be adapted as a row says; a note where it cannot, as without batch norm."""
    setting, net = row.adaptation(), bench.model.net
    try:
        with chain_of(setting)(net, net) if setting else nullcontext():
            return True
    except UsageError as error:
        bench.progress.note(f"left out: {row.name}: {error}")
        return False


def _cells(bench: Workbench, row: PaperRow, column: Column, size: StudySize) -> list[Cell]:
    """The cells of a row in a column, at lambda_0."""
    inference = bench.inference(adaptation=column.adaptation(row))
    found = [bench.images("test", size.tested, corruption=name, severity=level) for name, level in column.places]
    return [bench.cell(images, inference) for images in found]


def _rule_step(bench: Workbench, row: PaperRow, size: StudySize) -> PlanStep:
    """The step of a row whose lambda a rule chooses."""
    chosen = {name: column for name, column in COLUMNS.items() if fitted_to(row, column)}
    cells = {name: _cells(bench, row, column, size) for name, column in chosen.items()}

    def run() -> Sequence[Record]:
        records: list[Record] = []
        for name, column in chosen.items():
            by = cells[name][0].inference
            (fit,) = require_fits(bench, [str(fitted_to(row, column))], by)
            records += choose_and_measure(bench, fit, cells[name], "image" if "image" in str(row.rule) else "set")
        return records

    flat = list(dict.fromkeys(cell for each in cells.values() for cell in each))
    return PlanStep(row.name, flat, run, later=bench.work(flat))


def _benchmark(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps of the mean corruption error: its fifteen corruptions at lambda_0."""
    yield given_step(bench, BENCHMARK, size)


PLANS: dict[str, Callable[[Workbench, StudySize], Iterator[PlanStep]]] = {
    "table1": _clean,
    "table2": partial(_noises, ["gaussian"]),
    "table3": partial(_noises, NOISES),
    "table4": _attacks,
    "table5": _iterations,
    "table6": _clean,
    "figure2": _sweep,
    "figure3": lambda bench, size: fit_steps(bench, NOISES, size),
    "inference": _inference,
    "adaptation": _adaptation,
    "corruptions": _benchmark,
}
"""The steps of each study, by its name."""
