"""`sdnet-bench evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from . import options


def evaluate(
    model: options.Model = None,
    corruption: options.Corruption = "none",
    severity: options.Severity = "all",
    lambda_: Annotated[str | None, typer.Option("--lambda", help="A number, or adaptive (Algorithm 1).")] = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
) -> None:
    """Measure accuracy on clean or corrupted test images (Tables 2 and 3)."""
    from ..studies.accuracy import measure_clean, measure_corrupted
    from ..studies.adaptive_lambda import measure_adaptive, require_fits
    from .shared import open_bench, publish
    from .show import show_records

    names = [] if corruption == "none" else options.corruption_names(corruption)
    severities = options.severity_levels(severity)
    fixed = None if lambda_ in (None, "adaptive") else options.number(lambda_, "lambda")
    bench = open_bench(model, runs_dir, data_dir, device, precision, seed)
    if lambda_ == "adaptive":
        if not names:
            raise UsageError("an adaptive lambda needs a type of noise", hint="Add --corruption gaussian, or all.")
        records = measure_adaptive(bench, require_fits(bench, names), severities, limit=limit)
    elif names:
        records = measure_corrupted(bench, names, severities, lambda_=fixed, limit=limit)
    else:
        records = [measure_clean(bench, lambda_=fixed, limit=limit)]
    publish(bench)
    show_records(records, as_json=json)
