"""`sdnet-bench sweep-lambda`."""

from __future__ import annotations

from . import options
from .setup import Setup, measuring
from .show import show


@measuring()
def sweep_lambda(
    setup: Setup,
    data: options.Data = None,
    corruption: options.Corruption = "gaussian",
    severity: options.Severity = "all",
    lambdas: options.Lambdas = options.LAMBDAS,
    layers: options.Layers = "all",
    limit: options.Limit = None,
) -> None:
    """Measure accuracy on corrupted test images as a function of lambda (Figure 2)."""
    grid = options.parse_lambdas(lambdas)
    found = setup.open(data).sweep_lambda(corruption, severity, lambdas=grid, layers=layers, limit=limit)
    show(found, as_json=setup.json)
