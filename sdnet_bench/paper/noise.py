"""Tables 2 and 3, Figures 2 and 3, and the mean corruption error: accuracy on corrupted images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from ..csc import csc_layers
from ..data import CORRUPTIONS, SEVERITIES
from ..records import NOISES
from ..records.statistics import Value, percent
from ..studies.accuracy import corrupted_images
from ..studies.algorithm1 import full_grid, swept
from ..studies.workbench import Workbench
from .plan import Images, PlanStep, adaptive_step, fit_steps, given_step, measuring_step
from .published import PaperRow, alexnet
from .results import Results

SWEPT = 2000
"""Test images behind each point of Figure 2 by default."""


def plan_noise(bench: Workbench, corruptions: Sequence[str], images: Images) -> Iterator[PlanStep]:
    """At lambda_0, and by Algorithm 1 where there is a lambda: Tables 2 and 3."""
    yield given_step(bench, corruptions, images)
    if csc_layers(bench.model.net):
        yield from fit_steps(bench, corruptions)
        yield adaptive_step(bench, corruptions, images)


def plan_table2(bench: Workbench, images: Images) -> Iterator[PlanStep]:
    """Gaussian noise, at lambda_0 and by Algorithm 1."""
    yield from plan_noise(bench, ["gaussian"], images)


def plan_table3(bench: Workbench, images: Images) -> Iterator[PlanStep]:
    """The four noises, at lambda_0 and by Algorithm 1."""
    yield from plan_noise(bench, NOISES, images)


def plan_figure2(bench: Workbench, images: Images) -> Iterator[PlanStep]:
    """Accuracy against lambda, for each of the four noises."""
    for name in NOISES:
        corrupted = corrupted_images(bench, bench.images("test", images.limit or SWEPT), name, SEVERITIES)
        cells = swept(map(bench.cell, corrupted), full_grid(bench, None))
        yield measuring_step(bench, f"lambda sweep, {name}", cells)


def plan_figure3(bench: Workbench, images: Images) -> Iterator[PlanStep]:
    """The lines lambda(r) of the four noises."""
    yield from fit_steps(bench, NOISES)


def plan_corruptions(bench: Workbench, images: Images) -> Iterator[PlanStep]:
    """The fifteen that the mean corruption error is taken over, at lambda_0."""
    yield given_step(bench, [name for name, part in CORRUPTIONS.ours.items() if not part.extra], images)


def table2_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) under Gaussian noise of the severity that the column names, or the lambda behind it."""
    find = model.adaptive if row.rule == "adaptive" else model.given
    record = find("gaussian", int(column))
    if row.shows == "lambda":
        return Value(float(record.inference.lambda_ or 0)) if record else None
    return percent([record])


def table3_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) over all severities of the noise that the column names."""
    return model.mean(column, adaptive=row.rule == "adaptive")


def corruptions_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Errors (%), unlike everywhere else: that is what mCE is made of. None unless all fifteen are on record."""
    mean = model.error(list(alexnet()))
    if mean is None or column == "mean":
        return mean
    if column != "mCE":
        return model.error([column])
    errors = {name: model.error([name]) for name in alexnet()}
    relative = [error.value / alexnet()[name] for name, error in errors.items() if error]
    return Value(100 * fmean(relative)) if model.config.dataset == "imagenet" else None
