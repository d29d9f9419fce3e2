"""`sdnet-bench fit-lambda`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from . import options
from .setup import Setup, measuring


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
        str, typer.Option(help="grid: every lambda on every image; race: drop those that cannot be the best.")
    ] = "grid",
    confidence: Annotated[float, typer.Option(help="Of a race.")] = 0.95,
    tolerance: Annotated[float, typer.Option(help="Of a race, in points of accuracy.")] = 1.0,
    residual: Annotated[str, typer.Option(help="norm or squared.")] = "norm",
    inference_steps: options.InferenceSteps = None,
    adapt: options.Adapt = None,
    batch_size: options.BatchSize = None,
) -> None:
    """Fit lambda as a line of the residual on corrupted training images (Algorithm 1, Figure 3)."""
    from ..records.lambda_fit import RESIDUALS
    from ..studies.algorithm1 import IMAGES
    from ..studies.algorithm1 import fit_lambda as fit
    from ..studies.race import Rules
    from .shared import publish
    from .show import show_fits

    grid = options.parse_lambdas(lambdas)
    wanted_levels = None if levels is None else options.parse_grid(levels, "levels")
    is_race = options.one_of(search, "search", ("grid", "race")) == "race"
    rules = Rules(confidence, tolerance / 100)
    measure = options.one_of(residual, "residual", RESIDUALS)
    names = options.corruption_names(corruption)
    adaptation, is_lambda = options.parse_adaptation(adapt, batch_size)
    if is_lambda:
        raise UsageError("lambda is what is fitted", expected="an adaptation that it is fitted under", got=adapt)
    if wanted_levels and len(names) > 1:
        raise UsageError("levels mean another thing for each corruption", expected="one corruption beside --levels")
    bench = setup.open()
    images = bench.images("train", limit if is_race else limit or IMAGES)
    inference, race = bench.inference(steps=inference_steps, adaptation=adaptation), rules if is_race else None
    fits = [
        fit(bench, images, name, grid, levels=wanted_levels, search=race, residual=measure, inference=inference)
        for name in names
    ]
    publish(bench)
    show_fits(fits, as_json=setup.json)
    given = {"inference-steps": inference_steps, "adapt": adapt, "batch-size": batch_size}
    same = "".join(f" --{option} {value}" for option, value in given.items() if value is not None)
    name = bench.model.name
    bench.progress.note(f"next: sdnet-bench evaluate {name} --corruption {corruption} --lambda adaptive{same}")
