"""`sdnet-bench bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completion import parts
from .setup import Setup, sharing

if TYPE_CHECKING:
    from ..engine.runtime import Runtime
    from ..studies.speed import Measurement


@sharing("device", "precision", "json")
def bench(
    setup: Setup,
    backbones: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BACKBONE]...",
            help="A name, or name,option=value,...; by default all networks of the paper.",
            autocompletion=parts("backbone"),
        ),
    ] = None,
    scale: Annotated[float, typer.Option(help="Times the width that a network has in its paper.")] = 0.25,
    batch_size: Annotated[int, typer.Option(min=1, max=2**16)] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="In each of which every network takes its turn.")] = 5,
) -> None:
    """Measure training speed, inference speed and training memory of networks, beside those of a ResNet-18."""
    from ..api.screen import Screen
    from ..studies.speed import run_bench
    from .show import show_rows

    runtime, screen = setup.runtime(), Screen()
    found = run_bench(backbones or [], runtime, screen, scale=scale, batch_size=batch_size, rounds=rounds)
    if setup.json:
        _say_data(found, runtime, batch_size)
    else:
        show_rows([_row(measurement) for measurement in found], as_json=False)
        screen.note("x: beside the ResNet-18 of the same round; the median over the rounds, and the least and the most")


def _say_data(found: list[Measurement], runtime: Runtime, batch_size: int) -> None:
    """Prints the figures of all rounds, unrounded, with their provenance, as JSON."""
    import json
    from dataclasses import asdict

    import torch

    from ..studies.speed import memory_means
    from .screen import say

    where = runtime.provenance() | {"threads": torch.get_num_threads(), "batch_size": batch_size}
    networks = [
        {"contender" if name == "network" else name: value for name, value in asdict(measurement).items()}
        for measurement in found
    ]
    say(json.dumps({**where, "memory": memory_means(runtime), "networks": networks}, indent=1))


def _row(measurement: Measurement) -> dict[str, Any]:
    network = measurement.network
    return {
        "network": network.title,
        "width": network.options.get("width"),
        "parameters": f"{network.parameters:,}",
        "training images/s": f"{measurement.training.median:,.1f}",
        "x training": str(measurement.training.ratio),
        "inference images/s": f"{measurement.inference.median:,.1f}",
        "x inference": str(measurement.inference.ratio),
        "memory MB": f"{measurement.memory.median / 1e6:,.0f}",
        "x memory": str(measurement.memory.ratio),
    }
