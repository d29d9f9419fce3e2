"""`sdnet-bench models`."""

from __future__ import annotations

from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from ..api.screen import Screen
from ..config import CARD, MODELS
from ..errors import BenchError, ModelError
from ..files import reading, text_of
from . import completion
from .options import at_home
from .screen import say
from .setup import Setup, sharing
from .shared import refuse
from .show import show, show_rows

app = typer.Typer(help="Trained models: here, on the Hub, and those of others.", no_args_is_help=True)

Repository = Annotated[str, typer.Argument(metavar="REPO", help="On the Hugging Face Hub: owner/name.")]
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A run, a shipped model or a folder.", autocompletion=completion.models),
]
Name = Annotated[str | None, typer.Option(help="Of the run; by default that of the model.")]


@app.command("list")
@sharing("runs_dir", "json")
def list_models(setup: Setup) -> None:
    """Show the runs and the shipped models, with what is on record of them."""
    from ..report.inventory import list_all

    left_out: list[BenchError] = []
    show_rows(list(list_all(setup.runs_dir, left_out)), as_json=setup.json)
    refuse(left_out)


@app.command("show")
@sharing("model", "runs_dir", "json")
def show_model(setup: Setup) -> None:
    """Print the card of a model; as JSON where it comes from, its configuration and its main figures."""
    from ..report.inventory import describe
    from ..zoo.find import find_model

    folder = find_model(setup.name, setup.runs_dir, Screen())
    say(dumps(describe(folder, setup.runs_dir), indent=1) if setup.json else _card(folder))


@app.command("pull")
@sharing("runs_dir")
def pull_model(
    setup: Setup,
    repo: Repository,
    name: Name = None,
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit; by default the latest.")] = None,
) -> None:
    """Bring a model from the Hub, check it, and make it a run."""
    from ..zoo.checkpoint import check_run_name
    from ..zoo.hub.download import pull
    from ..zoo.hub.layout import folder_name

    say(str(pull(repo, setup.runs_dir / check_run_name(name or folder_name(repo)), Screen(), revision)))


@app.command("push")
@sharing("runs_dir", "json")
def push_model(
    setup: Setup,
    model: Model,
    repo: Repository,
    private: Annotated[bool, typer.Option("--private", help="Others may not see it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it and show what would go; send nothing.")] = False,
) -> None:
    """Publish a model on the Hub, after it has been checked."""
    from ..zoo.find import find_model
    from ..zoo.hub.upload import plan_push, push

    upload = plan_push(find_model(model, setup.runs_dir), repo, private=private)
    if dry_run:
        show_rows([{"file": path.name, "bytes": path.stat().st_size} for path in upload.files], as_json=setup.json)
        Screen().note(f"this would go to {upload}; nothing was sent")
    else:
        say(push(upload, Screen()))


@app.command("export")
@sharing("device", "precision", "data_dir", "runs_dir", "json")
def export_model(
    setup: Setup,
    model: Model,
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Of the copy; its name becomes the copy's.", callback=at_home),
    ],
) -> None:
    """Copy a model in half its size: parameters in bfloat16, in files of at most 16 MB; measure it anew."""
    from ..api.values import Measured

    bench = replace(setup, model=model).open()
    copy = bench.export(folder)
    show(Measured((bench.evaluate().record, copy.evaluate().record)), as_json=setup.json)


@app.command("adopt")
@sharing("device", "data_dir", "runs_dir")
def adopt_model(
    setup: Setup,
    model: Model,
    into: Annotated[
        Path, typer.Option(help="Where shipped models lie.", show_default=False, callback=at_home)
    ] = MODELS,
) -> None:
    """Ship a run with the package: draw its figures, write its card, copy weights, records and all into models/."""
    from ..api.publishing import publish
    from ..report.pictures import illustrate
    from ..zoo.adopt import adopt
    from ..zoo.find import find_model

    folder = find_model(model, setup.runs_dir, Screen())
    bench = replace(setup, model=str(folder), runs_dir=folder.parent).open().workbench
    illustrate(bench)
    publish(bench)
    say(str(adopt(folder, into)))


@app.command("merge")
@sharing("runs_dir")
def merge(
    setup: Setup,
    model: Model,
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER", help="Run folders of the same network, from other machines.")
    ],
) -> None:
    """Add what other machines have on record of a model, and their fits of lambda, to its run; each cell once."""
    from ..api.merging import merge_runs

    screen = Screen()
    run, added = merge_runs(model, [at_home(each) for each in folders], setup.runs_dir, screen)
    say(str(run))
    screen.note(f"{added:,} records were new")


@app.command("add")
@sharing("data_dir", "runs_dir")
def add(
    setup: Setup,
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="Such as torchvision:resnet50 or timm:resnet18.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Whose images it classifies; by default ImageNet's.", autocompletion=completion.parts("dataset")
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="pretrained, a name of published ones, a .safetensors file or a checkpoint.", callback=at_home
        ),
    ] = "pretrained",
    csc_stem: Annotated[
        bool,
        typer.Option(
            "--csc-stem", help="A CSC-layer in the place of its first convolution; such a network has to be trained on."
        ),
    ] = False,
    name: Name = None,
) -> None:
    """Make a run of somebody else's trained network."""
    from ..data import open_dataset
    from ..zoo.adding import add_model

    screen = Screen()
    images = open_dataset(dataset, setup.data_dir, screen) if dataset else None
    folder = add_model(network, setup.runs_dir, screen, dataset=images, weights=weights, csc_stem=csc_stem, name=name)
    say(str(folder))
    screen.note(f"next: sdnet-bench evaluate {folder.name}")


@app.command("convert")
@sharing("runs_dir")
def convert_model(
    setup: Setup,
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Of the authors' release, such as *.pth.tar.", callback=at_home),
    ],
    backbone: Annotated[str, typer.Option("--as", help="What it is, such as sdnet18.")],
    dataset: Annotated[
        str | None, typer.Option(help="cifar10, cifar100 or imagenet; by default the one with as many classes.")
    ] = None,
    name: Name = None,
) -> None:
    """Make a run of a checkpoint that the paper's authors have released; code in it is refused, not run."""
    from ..paper.results import Results
    from ..report.card import write_card
    from ..zoo.authors import convert

    screen = Screen()
    folder = convert(checkpoint, backbone, setup.runs_dir, screen, dataset=dataset, name=name)
    write_card(folder, Results.read(folder, setup.runs_dir))
    say(str(folder))
    screen.note(f"next: sdnet-bench evaluate {folder.name}")


def _card(folder: Path) -> str:
    """The card in a model's folder."""
    hint = f"`sdnet-bench evaluate {folder.name}` writes one."
    with reading(f"the card {folder / CARD}", ModelError, hint=hint):
        return text_of(folder / CARD).rstrip()
