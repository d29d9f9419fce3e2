"""Robust inference on streams of mixed severity: lambda fixed, per set, per image, for known and unknown types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..records import MIXED, NOISES, UNKNOWN, Record
from ..records.lambda_fit import known_types_rule
from ..records.statistics import Value, percent
from ..studies.accuracy import corrupted_images
from ..studies.algorithm1 import choose_and_measure, measure_known_types, require_fits
from ..studies.workbench import Workbench
from .plan import Images, PlanStep, fit_steps, measuring_step
from .published import PaperRow
from .results import Results


def plan_inference(bench: Workbench, images: Images) -> Iterator[PlanStep]:
    """Streams of mixed severity and clean images, with lambda fixed, per set, per image, for known and unknown type."""
    yield from fit_steps(bench, NOISES)
    tested = bench.images("test", images.limit)
    clean = bench.cell(tested)
    types = [*NOISES, UNKNOWN]
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


def inference_value(model: Results, row: PaperRow, column: str) -> Value | None:
    """A stream of mixed severity, or, in the columns "... clean", clean images by the rule for that stream."""
    noise, _, is_clean = column.partition(" ")
    data = (None, None) if is_clean else (noise, MIXED)
    if row.rule is None:
        return percent([model.given(*data)])
    rule = _rule(model, row.rule, noise)
    return percent([model.chosen(rule, *data)]) if rule else None


KNOWN_TYPE = ("set", "image")
"""Rules that need to know the type of noise; on a stream of all types they mean little."""


def _rule(model: Results, kind: str, noise: str) -> str | None:
    """The name of a choice of lambda: "set" or "image" for a known type of noise, "unknown set", "unknown image"."""
    knowledge, _, per = kind.rpartition(" ")
    if noise == UNKNOWN and not knowledge:
        fits = tuple(fit for fit in map(model.fit, NOISES) if fit)
        return known_types_rule(fits) if per == "image" and len(fits) == len(NOISES) else None
    fit = model.pooled if knowledge else model.fit(noise)
    if fit is None:
        return None
    return fit.per_image_rule if per == "image" else fit.rule
