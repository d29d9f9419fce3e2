"""`sdnet-bench sweep-lambda`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import options
from .setup import Setup, measuring

if TYPE_CHECKING:
    from ..records import Layers


@measuring()
def sweep_lambda(
    setup: Setup,
    corruption: options.Corruption = "gaussian",
    severity: options.Severity = "all",
    lambdas: options.Lambdas = options.LAMBDAS,
    layers: options.Layers = "all",
    limit: options.Limit = None,
) -> None:
    """Measure accuracy on corrupted test images as a function of lambda (Figure 2)."""
    from ..studies.accuracy import sweep_lambda as sweep
    from .shared import publish
    from .show import show_records, show_sweep

    names, severities = options.corruption_names(corruption), options.severity_levels(severity)
    grid = options.parse_lambdas(lambdas)
    tuned: Layers = options.one_of(layers, "choice of layers", ("all", "stem"))
    bench = setup.open()
    images = bench.images("test", limit)
    records = [record for name in names for record in sweep(bench, images, name, severities, grid, layers=tuned)]
    publish(bench)
    if setup.json:
        show_records(records, as_json=True)
    else:
        show_sweep(records)
