"""`sdnet-bench bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
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
    suite: Annotated[
        bool, typer.Option("--suite", help="Instead, all fast ways of this package beside the plain ones.")
    ] = False,
) -> None:
    """Measure training speed, inference speed and training memory of networks, beside those of a ResNet-18."""
    from ..api.screen import Screen
    from ..studies.speed import run_bench
    from .show import show_rows

    if suite and backbones:
        raise UsageError("the suite has its own networks", expected="--suite alone", got=", ".join(backbones))
    runtime, screen = setup.runtime(), Screen()
    if suite:
        _suite(setup, runtime, scale=scale, batch_size=batch_size, rounds=rounds)
        return
    found = run_bench(backbones or [], runtime, screen, scale=scale, batch_size=batch_size, rounds=rounds)
    if setup.json:
        _say_data(_networks(found, runtime), runtime, batch_size)
    else:
        show_rows([_row(measurement) for measurement in found], as_json=False)
        screen.note("x: beside the ResNet-18 of the same round; the median over the rounds, and the least and the most")


def _suite(setup: Setup, runtime: Runtime, *, scale: float, batch_size: int, rounds: int) -> None:
    from dataclasses import asdict

    from ..api.screen import Screen
    from ..studies.suite import run_suite
    from .show import show_rows

    screen = Screen()
    found = run_suite(runtime, screen, scale=scale, batch_size=batch_size, rounds=rounds)
    if setup.json:
        _say_data({"comparisons": [asdict(comparison) for comparison in found]}, runtime, batch_size)
        return
    rows = [
        {
            "what": each.what,
            "images/s": f"{each.figure.median:,.1f}",
            "beside": each.beside,
            "its images/s": f"{each.plain.median:,.1f}",
            "x": str(each.figure.ratio),
        }
        for each in found
    ]
    show_rows(rows, as_json=False)
    screen.note("x: beside the other of the same round; the median over the rounds, and the least and the most")


def _networks(found: list[Measurement], runtime: Runtime) -> dict[str, Any]:
    from dataclasses import asdict

    from ..studies.speed import memory_means

    networks = [
        {"contender" if name == "network" else name: value for name, value in asdict(measurement).items()}
        for measurement in found
    ]
    return {"memory": memory_means(runtime), "networks": networks}


def _say_data(data: dict[str, Any], runtime: Runtime, batch_size: int) -> None:
    """Prints figures of all rounds, unrounded, with their provenance, as JSON."""
    import json

    import torch

    from .screen import say

    where = runtime.provenance() | {"threads": torch.get_num_threads(), "batch_size": batch_size}
    say(json.dumps(where | data, indent=1))


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
