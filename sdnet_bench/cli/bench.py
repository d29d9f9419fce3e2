"""`sdnet-bench bench`."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from typing import Annotated

import typer

from ..api.screen import Screen
from ..errors import UsageError
from .completion import parts
from .screen import say
from .setup import Setup, sharing
from .show import show_rows


@sharing("device", "precision", "json")
def bench(
    setup: Setup,
    backbones: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BACKBONE",
            help="A name, or name,option=value,...; by default all networks of the paper.",
            autocompletion=parts("backbone"),
        ),
    ] = None,
    scale: Annotated[float, typer.Option(help="Times the width that a network has in its paper.")] = 0.25,
    batch_size: Annotated[int, typer.Option(min=1, max=2**16)] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="In each of which every network takes its turn.")] = 5,
    suite: Annotated[
        bool, typer.Option("--suite", help="Instead, all fast ways of this package beside the plain ones.")
    ] = False,
) -> None:
    """Measure training speed, inference speed and training memory of networks, beside those of a ResNet-18."""
    import torch

    from ..studies.speed import memory_means, run_bench
    from ..studies.suite import run_suite

    if suite and backbones:
        raise UsageError("the suite has its own networks", expected="--suite alone", got=", ".join(backbones))
    runtime, screen = setup.runtime(), Screen()
    data: dict[str, object]
    if suite:
        compared = run_suite(runtime, screen, scale=scale, batch_size=batch_size, rounds=rounds)
        rows, beside = [each.row() for each in compared], "other"
        data = {"comparisons": [asdict(each) for each in compared]}
    else:
        found = run_bench(backbones or [], runtime, screen, scale=scale, batch_size=batch_size, rounds=rounds)
        rows, beside = [each.row() for each in found], "ResNet-18"
        data = {"memory": memory_means(runtime), "networks": [each.data() for each in found]}
    if setup.json:
        where = runtime.provenance() | {"threads": torch.get_num_threads(), "batch_size": batch_size}
        say(dumps(where | data, indent=1))
    else:
        show_rows(rows, as_json=False)
        screen.note(f"x: beside the {beside} of the same round; the median over the rounds, and the least and the most")
