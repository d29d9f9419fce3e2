"""`sdnet-bench sweep-lambda`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import options

if TYPE_CHECKING:
    from ..records import Layers


def sweep_lambda(
    model: options.Model = None,
    corruption: options.Corruption = "gaussian",
    severity: options.Severity = "all",
    lambdas: options.Lambdas = options.LAMBDAS,
    layers: options.Layers = "all",
    limit: options.Limit = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
) -> None:
    """Measure accuracy on corrupted test images as a function of lambda (Figure 2)."""
    from ..studies.accuracy import sweep_lambda as sweep
    from .shared import open_bench, publish
    from .show import show_records, show_sweep

    names, severities, grid = (
        options.corruption_names(corruption),
        options.severity_levels(severity),
        options.parse_lambdas(lambdas),
    )
    tuned: Layers = options.one_of(layers, "choice of layers", ("all", "stem"))
    bench = open_bench(model, runs_dir, data_dir, device, precision, seed)
    images = bench.images("test", limit)
    records = [record for name in names for record in sweep(bench, images, name, severities, grid, layers=tuned)]
    publish(bench)
    if json:
        show_records(records, as_json=True)
    else:
        show_sweep(records)
