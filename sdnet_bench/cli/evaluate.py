"""`sdnet-bench evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..api.screen import Screen
from ..errors import UsageError
from ..names import GROUPS, PER, STREAMS, STUDIES
from . import completion, options
from .setup import Setup, measuring
from .show import show


@measuring()
def evaluate(
    setup: Setup,
    data: options.Data = None,
    corruption: Annotated[
        str,
        typer.Option(
            help="none, a name, all (the four noises), noise, blur, weather, digital, bar, or unknown.",
            autocompletion=completion.parts("corruption", *GROUPS, "unknown"),
        ),
    ] = "none",
    severity: Annotated[str, typer.Option(help="1 to 5, all, or mixed: each image has its own.")] = "all",
    lambda_: Annotated[str | None, typer.Option("--lambda", help="A number, or adaptive (Algorithm 1).")] = None,
    per: Annotated[
        str,
        options.choice("unit of an adaptive lambda", PER, "An adaptive lambda for the set, or for each image."),
    ] = "set",
    adapt: options.Adapt = None,
    batch_size: options.BatchSize = None,
    stream: Annotated[
        str | None,
        options.choice(
            "stream",
            STREAMS,
            "Of an adaptation: shuffled, sorted by label, mixed severities, or unknown types as well.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        options.choice("study", STUDIES, "All that a table or figure needs instead."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what a study has to measure, and stop.")] = False,
    inference_steps: options.InferenceSteps = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Corrupted images from the data set's -C archive; see `data`.")
    ] = False,
    limit: options.Limit = None,
) -> None:
    """Measure accuracy on clean or corrupted test images, or all that a table or figure needs."""
    given = [corruption != "none", severity != "all", lambda_, per != "set", adapt, batch_size, stream, inference_steps]
    if study and any(given):
        raise UsageError("a study says itself what is measured", expected="--limit or --archive alone beside --study")
    if not study and dry_run:
        raise UsageError("a dry run without a study", expected="--study table2, table3, ... beside --dry-run")
    bench = setup.open(data)
    if study:
        plan = bench.plan(study, limit=limit, archive=archive)
        Screen().note(plan.estimate)
        show(plan if dry_run else plan.measure(), as_json=setup.json)
        return
    found = bench.evaluate(
        corruption,
        severity,
        lambda_=lambda_,
        per=per,
        adapt=adapt,
        batch_size=batch_size,
        stream=stream,
        inference_steps=inference_steps,
        archive=archive,
        limit=limit,
    )
    show(found, as_json=setup.json)
