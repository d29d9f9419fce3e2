"""`sdnet-bench train`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="[RECIPE]", help="A shipped recipe, or a .toml file.")
    ] = "sdnet18-digits",
    backbone: Annotated[str | None, typer.Option(help="Another network in the recipe.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Channels of the first stage; 64 in the paper.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    limit: options.Limit = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights and order of images.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run; by default the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of that name.")] = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
) -> None:
    """Train a model by its recipe, and measure its accuracy on clean test images."""
    from ..engine.runtime import Runtime
    from ..studies.training import find_recipe, train_model
    from .screen import Screen
    from .shared import publish
    from .show import show_records

    chosen = find_recipe(recipe).replace(name=name, epochs=epochs, batch_size=batch_size, limit=limit, seed=seed)
    chosen = chosen.with_backbone(backbone, width=width)
    runtime = Runtime.create(device, precision)
    bench = train_model(chosen, runs_dir, data_dir, runtime, Screen(), resume=resume, overwrite=overwrite)
    publish(bench)
    show_records([bench.store[bench.cell("test")]], as_json=json)
    has_lambda = bench.model.trained_lambda is not None
    command = "sweep-lambda --corruption gaussian" if has_lambda else "evaluate --corruption all"
    bench.progress.note(f"the model is in {bench.folder}; next: sdnet-bench {command}")
