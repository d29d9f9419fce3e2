"""`sdnet-bench plugins`."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Annotated

import typer

from ..names import PARTS
from ..registry import OURS, Part
from ..version import __version__
from . import completion
from .setup import Setup, sharing
from .shared import show_findings
from .show import show_rows

app = typer.Typer(help="Backbones, corruptions, attacks, adaptations and data sets: list them, or check one.")


@app.callback(invoke_without_command=True)
@sharing("json")
def list_parts(setup: Setup, context: typer.Context) -> None:
    """List our own parts and those of plugins, with what keeps any of them from working."""
    if context.invoked_subcommand:
        return

    show_rows([asdict(part) for part in all_parts()], as_json=setup.json)


def all_parts() -> list[Part]:
    """Our own parts and those of plugins, sorted by kind and name; where there are plugins, loads them."""
    if any(entry_points(group=f"sdnet_bench.{kind}s") for kind in PARTS):
        from .. import conformance

        return conformance.all_parts()
    return [Part(name, kind, OURS, __version__) for kind, names in PARTS.items() for name in sorted(names)]


@app.command("check")
@sharing("data_dir", "json")
def check(
    setup: Setup,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Of a part, or a network such as timm:resnet18.", autocompletion=completion.every_part
        ),
    ],
    size: Annotated[int, typer.Option(min=1, help="Side of the images that a backbone is shown.")] = 32,
) -> None:
    """Check that a part keeps its contract; exit status 1 where it does not."""
    from ..conformance import check_part

    show_findings(check_part(name, side=size, data_dir=setup.data_dir), name, as_json=setup.json)
