"""`sdnet-bench visualize`: the pictures of Appendices B to D, and those of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..api.screen import Screen
from ..errors import UsageError
from . import options
from .setup import Setup, measuring
from .show import show_rows

app = typer.Typer(help="Draw atoms, images rebuilt from codes, and how sparse codes are.", no_args_is_help=True)

Layer = Annotated[int, typer.Option(min=1, help="Of the CSC-layers, in their order; 1 is the stem.")]
Lambda = Annotated[float | None, typer.Option("--lambda", help="A number; by default as in training.")]
Output = Annotated[Path, typer.Option(help="Where the pictures go.", callback=options.at_home)]


@app.command("dictionary")
@measuring(seed=0, precision="float32")
def dictionary(
    setup: Setup,
    layer: Layer = 1,
    atoms: Annotated[int, typer.Option(min=1, help="At most so many.")] = 64,
    output: Output = options.OUTPUT,
) -> None:
    """Draw the atoms of a layer as patches of an image (Figure 5)."""
    from ..report.pictures import write_dictionary

    bench = setup.open()
    found = bench.dictionary(layer, atoms=atoms)
    _note(write_dictionary(found, output, bench.name))
    shown, _, height, width = found.patches.shape
    row = {"layer": layer, "atoms": found.total, "shown": shown, "height": height, "width": width}
    show_rows([row], as_json=setup.json)


@app.command("features")
@measuring(seed=0, precision="float32")
def features(
    setup: Setup,
    images: Annotated[str, typer.Option(help="Places in the test split, with commas.")] = "0,1,2,3,4",
    layers: Annotated[
        str | None, typer.Option(help="Numbers with commas; by default all that lead back to the image.")
    ] = None,
    lambda_: Lambda = None,
    output: Output = options.OUTPUT,
) -> None:
    """Draw test images, and what the codes of each layer rebuild of them (Figure 4)."""
    from ..report.pictures import feature_rows, write_features

    places, numbers = _numbers(images, "images"), None if layers is None else _numbers(layers, "layers")
    bench = setup.open()
    found = bench.features(places, numbers, lambda_=lambda_)
    _note(write_features(found, output, bench.name))
    show_rows(feature_rows(found), as_json=setup.json)


@app.command("sparsity")
@measuring(seed=0, precision="float32")
def sparsity(
    setup: Setup, layer: Layer = 1, lambda_: Lambda = None, limit: options.Limit = None, output: Output = options.OUTPUT
) -> None:
    """Draw the values of a layer's codes over the test images, and count the zeros of every layer (Figure 6)."""
    from ..report.pictures import write_sparsity

    bench = setup.open()
    found = bench.sparsity(layer, lambda_=lambda_, limit=limit)
    _note(write_sparsity(found, output, bench.name))
    rows = [
        {"layer": number, "values": each.total, "zeros": each.zeros, "share_of_zeros": each.share_of_zeros}
        for number, each in found.layers.items()
    ]
    show_rows(rows, as_json=setup.json)


@app.command("examples")
@measuring(precision="float32")
def examples(setup: Setup) -> None:
    """Keep four test images, noisy and attacked, and what A z rebuilds at each lambda, for `report --format html`."""
    found = setup.open().examples()
    row = {"images": len(found.places), "scenes": len(found.scenes), "lambdas": len(found.lambdas)}
    show_rows([row], as_json=setup.json)


def _numbers(text: str, what: str) -> list[int]:
    """Parses integers separated by commas, each once; a `UsageError` otherwise."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"not a list of {what}", expected="numbers with commas, such as 1,5,9", got=text) from None


def _note(written: Sequence[Path]) -> None:

    Screen().note(f"written: {', '.join(map(str, written))}")
