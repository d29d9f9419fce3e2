"""`sdnet-bench train`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..api.screen import Screen
from ..names import TRACKERS
from . import completion, options
from .setup import Setup, sharing
from .show import show


@sharing("device", "precision", "data_dir", "runs_dir", "json")
def train(
    setup: Setup,
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="A shipped recipe, or a .toml file.", autocompletion=completion.recipes),
    ] = "sdnet18-digits",
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Another network in the recipe, also torchvision:resnet18, timm:..., nets.py:function.",
            callback=options.at_home,
            autocompletion=completion.parts("backbone"),
        ),
    ] = None,
    csc_stem: Annotated[
        bool, typer.Option("--csc-stem", help="A CSC-layer in the place of the network's first convolution.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Start from these: pretrained, a name of published ones, a .safetensors file or a checkpoint.",
            callback=options.at_home,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Channels of the first stage; 64 in the paper.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    limit: options.Limit = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the weights and of the order of images.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Any field of the recipe, such as optimizer.lr=0.05; may be given several times.",
            autocompletion=completion.fields,
        ),
    ] = None,
    log: Annotated[
        str | None, options.choice("tracker", TRACKERS, "Log each epoch live, in the folder of the run.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the run; by default the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of that name.")] = False,
    eager: Annotated[
        bool, typer.Option("--eager", help="On CUDA, no captured steps: each as Python takes it.")
    ] = False,
) -> None:
    """Train a model by its recipe, and measure its accuracy on clean test images."""
    from ..api.training import train

    setup.runtime()  # has the process from now on
    bench = train(
        recipe,
        backbone=backbone,
        csc_stem=csc_stem,
        weights=weights,
        epochs=epochs,
        width=width,
        batch_size=batch_size,
        limit=limit,
        seed=seed,
        set_=options.parse_fields(set_ or []),
        log=log,
        name=name,
        resume=resume,
        overwrite=overwrite,
        eager=eager,
        device=setup.device,
        precision=setup.precision,
        data_dir=setup.data_dir,
        runs_dir=setup.runs_dir,
        progress=Screen(),
    )
    show(bench.evaluate(), as_json=setup.json)
    command = "evaluate --corruption all" if bench.trained_lambda is None else "sweep-lambda --corruption gaussian"
    Screen().note(f"the model is in {bench.folder}; next: sdnet-bench {command}")
