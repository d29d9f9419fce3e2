"""`sdnet-bench data`: the archives of corrupted images."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..api.screen import Screen
from . import completion, options
from .screen import say
from .setup import Setup, sharing
from .show import show_rows

app = typer.Typer(help="The -C archives: list, fetch, verify or generate them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as CIFAR-10-C, or the name of its data set.")]
Corruption = Annotated[
    str,
    typer.Option(
        help="A corruption, a group of them (noise, blur, weather, digital), or all.",
        autocompletion=completion.corruptions,
    ),
]


@app.command("list")
@sharing("data_dir", "json")
def list_archives(setup: Setup) -> None:
    """Show the archives: their files, where they come from, and what of them is here."""
    from ..data.archives import ARCHIVES

    rows = []
    for archive in ARCHIVES.values():
        here = [member for member in archive.members if archive.path(setup.data_dir, member).exists()]
        row = {"name": archive.name, "data set": archive.dataset, "here": f"{len(here)} of {len(archive.members)}"}
        for file in archive.files:
            rows.append({**row, "file": file.name, "GB": file.gigabytes, "from": file.urls[0]})
    show_rows(rows, as_json=setup.json)


@app.command("fetch")
@sharing("data_dir")
def fetch(
    setup: Setup,
    name: Name,
    corruption: Corruption = "all",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing; say what is missing.")] = False,
    keep: Annotated[bool, typer.Option("--keep/--remove", help="Keep the tar files that are downloaded.")] = False,
) -> None:
    """Download an archive, check it and unpack what is asked for; broken-off downloads go on where they were."""
    from ..api.requests import corruption_names
    from ..data.archives import fetch

    names = None if corruption == "all" else corruption_names(corruption)
    for path in fetch(name, setup.data_dir, names, offline=offline, keep=keep, progress=Screen()):
        say(str(path))


@app.command("verify")
@sharing("data_dir", "json")
def verify(setup: Setup, name: Name) -> None:
    """Read an archive, whole, and say of each part whether it is official, generated, unknown or damaged."""
    from ..data.archives import verify
    from ..errors import DataError

    found = verify(name, setup.data_dir, Screen())
    columns = ("name", "verdict", "shape", "dtype", "md5", "detail")
    rows = [asdict(member) for member in found.members]
    show_rows(rows if setup.json else [{column: row[column] for column in columns} for row in rows], as_json=setup.json)
    if found.damaged:
        names = ", ".join(member.name for member in found.damaged)
        hint = f"Remove them from {found.folder}, and fetch or generate them again."
        raise DataError(f"{found.archive} is damaged: {names}", hint=hint)


@app.command("generate")
@sharing("data_dir")
def generate(
    setup: Setup,
    name: Name,
    corruption: Corruption = "all",
    limit: options.Limit = None,
    seed: options.Seed = 0,
    processes: Annotated[int, typer.Option(min=1, help="How many work at it.")] = 1,
) -> None:
    """Make an archive of our own from the clean test images, laid out like the published one."""
    from ..api.requests import corruption_names
    from ..data.archives import generate

    names = None if corruption == "all" else corruption_names(corruption)
    made = generate(name, setup.data_dir, names, seed=seed, limit=limit, processes=processes, progress=Screen())
    for path in made:
        say(str(path))
