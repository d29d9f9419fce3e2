"""`sdnet-bench fit-lambda`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..config import LAMBDAS
from . import options


def fit_lambda(
    model: options.Model = None,
    corruption: options.Corruption = "gaussian",
    lambdas: options.Lambdas = LAMBDAS,
    limit: Annotated[int, typer.Option(min=1, help="Training images to sweep, spread evenly.")] = 2000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
) -> None:
    """Fit lambda as a line of the residual on corrupted training images (Algorithm 1, Figure 3)."""
    from ..studies.adaptive_lambda import fit_lambda as fit
    from ..studies.lambda_sweep import parse_lambdas
    from .shared import open_bench, publish
    from .show import show_fits

    names, grid = options.corruption_names(corruption), parse_lambdas(lambdas)
    bench = open_bench(model, runs_dir, data_dir, device, precision, seed)
    fits = [fit(bench, name, grid, limit=limit) for name in names]
    publish(bench)
    show_fits(fits, as_json=json)
    bench.progress.note(f"next: sdnet-bench evaluate --corruption {corruption} --lambda adaptive")
