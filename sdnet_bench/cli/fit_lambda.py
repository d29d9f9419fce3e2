"""`sdnet-bench fit-lambda`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..api.screen import Screen
from ..names import RESIDUALS, SEARCHES
from . import options
from .setup import Setup, measuring
from .show import show


@measuring()
def fit_lambda(
    setup: Setup,
    corruption: options.Corruption = "gaussian",
    lambdas: options.Lambdas = options.LAMBDAS,
    levels: Annotated[
        str | None, typer.Option(help="Of noise, as a grid; by default from below severity 1 to above 5.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Training images, spread evenly; 2000 by default, all of them in a race.")
    ] = None,
    search: Annotated[
        str,
        options.choice(
            "search", SEARCHES, "grid: every lambda on every image; race: drop those that cannot be the best."
        ),
    ] = "grid",
    confidence: Annotated[float, typer.Option(help="Of a race.")] = 0.95,
    tolerance: Annotated[float, typer.Option(help="Of a race, in points of accuracy.")] = 1.0,
    residual: Annotated[str, options.choice("residual", RESIDUALS, "The mean of |x - A z| or of its square.")] = "norm",
    inference_steps: options.InferenceSteps = None,
    adapt: options.Adapt = None,
    batch_size: options.BatchSize = None,
) -> None:
    """Fit lambda as a line of the residual on corrupted training images (Algorithm 1, Figure 3)."""
    bench = setup.open()
    found = bench.fit_lambda(
        corruption,
        lambdas=options.parse_lambdas(lambdas),
        levels=None if levels is None else options.parse_grid(levels, "levels"),
        limit=limit,
        search=search,
        confidence=confidence,
        tolerance=tolerance,
        residual=residual,
        inference_steps=inference_steps,
        adapt=adapt,
        batch_size=batch_size,
    )
    show(found, as_json=setup.json)
    given = {"inference-steps": inference_steps, "adapt": adapt, "batch-size": batch_size}
    same = "".join(f" --{option} {value}" for option, value in given.items() if value is not None)
    Screen().note(f"next: sdnet-bench evaluate {bench.name} --corruption {corruption} --lambda adaptive{same}")
