"""`sdnet-bench audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..api.screen import Screen
from ..errors import BenchError
from . import completion, options
from .screen import say
from .setup import Setup, measuring


@measuring(precision="float32")
def audit(
    setup: Setup,
    norm: options.Norm = "linf",
    eps: options.Eps = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Test images to attack; 500 by default, 100 with --quick.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small budgets and no AutoAttack: a few minutes.")] = False,
    other: Annotated[
        list[str] | None,
        typer.Option(
            help="A network to transfer to; may be given several times. By default the ResNet of an SDNet and vice "
            "versa.",
            autocompletion=completion.models,
        ),
    ] = None,
) -> None:
    """Check what a robust accuracy is worth: thirteen checks; exit status 1 where one fails."""
    from ..audit.render import to_markdown

    found = setup.open().audit(norm, options.parse_eps(eps), limit=limit, quick=quick, other=other or [])
    if found.accuracies.autoattack is None:
        Screen().note("no AutoAttack here, so the export for RobustBench has no autoattack_acc")
    say(found.model_dump_json(indent=1) if setup.json else to_markdown(found).rstrip())
    if found.failed:
        raise BenchError(f"the audit of {found.model} failed {', '.join(found.failed)}")
