"""Robust inference on streams of mixed severity: lambda fixed, per set, per image, for known and unknown types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..records import MIXED, NOISES, UNKNOWN, Record
from ..records.lambda_fit import known_types_rule
from ..records.statistics import Value, percent
from ..studies.accuracy import corrupted_images
from ..studies.algorithm1 import choose_and_measure, measure_known_types, require_fits
from ..studies.workbench import Workbench
from .plan import PlanStep, StudySize, TableStudy, fit_steps, measuring_step, study_command
from .published import PaperRow
from .results import Results

COLUMNS = {f"{noise}{clean}": (noise, bool(clean)) for noise in (*NOISES, UNKNOWN) for clean in ("", " clean")}
"""By column: the noise, and whether the column is of clean images with the lambda of that noise's rule."""


def _plan(bench: Workbench, size: StudySize) -> Iterator[PlanStep]:
    """The steps: streams of mixed severity and clean images, with lambda fixed, per set and per image."""
    yield from fit_steps(bench, NOISES, size)
    tested, types = bench.images("test", size.tested), [*NOISES, UNKNOWN]
    clean = bench.cell(tested)
    streams = [bench.cell(each) for name in types for each in corrupted_images(bench, tested, name, [MIXED])]
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


def _value(model: Results, row: PaperRow, column: str) -> Value | None:
    """Accuracy (%) on a stream of mixed severity, or on clean images with the same rule for lambda."""
    noise, is_clean = COLUMNS[column]
    corruption, severity = (None, None) if is_clean else (noise, MIXED)
    if row.rule is None:
        return percent([model.given(corruption, severity, beside=model.given(noise, MIXED))])
    rule = rule_of(model, row.rule, noise)
    return percent([model.chosen(rule, corruption, severity)]) if rule else None


def rule_of(model: Results, kind: str, noise: str) -> str | None:
    """The rule of a row kind: "set" or "image" for a known type of noise, "unknown set" or "unknown image"."""
    knowledge, _, per = kind.rpartition(" ")
    if noise == UNKNOWN and not knowledge:
        fits = tuple(fit for fit in map(model.fit, NOISES) if fit)
        return known_types_rule(fits) if per == "image" and len(fits) == len(NOISES) else None
    fit = model.pooled if knowledge else model.fit(noise)
    if fit is None:
        return None
    return fit.per_image_rule if per == "image" else fit.rule


def _command(model: Results, row: PaperRow, column: str) -> str | None:
    """The command of the study; None for the stream of all types with a rule that needs the type."""
    is_empty = COLUMNS[column][0] == UNKNOWN and row.rule in ("set", "image")
    return None if is_empty else study_command("inference", model)


INFERENCE = TableStudy("inference", _plan, value=_value, command=_command, needs_lambda=True, optional=True)
