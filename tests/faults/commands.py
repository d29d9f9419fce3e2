"""Every command that writes, as it is typed in a small world, and what of its work is compared."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hub_server import Hub
from huggingface_hub import constants

from sdnet_bench.data.archives import ARCHIVES, Archive, TarFile

from .process import Prepare

NET, OTHER, REPO = "sdnet18-tiny", "resnet18-tiny", "me/tiny"
FEW = ("--limit", "16", "--device", "cpu")
GRID = ("--lambdas", "0.1,0.5")
SMALL = ("--epochs", "2", "--limit", "64", "--width", "2", "--batch-size", "32", "--device", "cpu")
NETS = """\
from torch import nn


def plain(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))
"""
FACTS = ("cell", "n", "outcomes", "lost_to", "metrics")
"""What of a record is the same at every run."""
TIMED = {"images_per_second", "peak_memory", "seconds", "provenance", "times", "time", "checksum"}
"""What a clock decides: times, and the checksum of content that has times in it."""
EXACT = {".safetensors", ".npy", ".toml", ".pt", ".png"}
"""Files that are compared by the byte."""


@dataclass(frozen=True)
class Command:
    """A command, and what is typed where it was broken off; `prepare` is done in its process before."""

    name: str
    words: tuple[str, ...]
    more: tuple[str, ...] = ()
    prepare: tuple[Prepare, ...] = ()

    @property
    def again(self) -> tuple[str, ...]:
        return (*self.words, *self.more)

    def __str__(self) -> str:
        return self.name


def register_archive() -> None:
    """An archive of corrupted digits, which `data generate` makes."""
    if "Digits-C" not in ARCHIVES:
        members = dict.fromkeys(["gaussian_noise", "shot_noise", "labels"])
        file = TarFile("Digits-C.tar", "", 0.001, ("file:///nowhere",), members)
        ARCHIVES.register("Digits-C")(Archive("Digits-C", "npy", 10, 360, 32, (file,), "digits"))


COMMANDS = (
    Command("train", ("train", *SMALL, "--name", "new"), ("--resume",)),
    Command("evaluate", ("evaluate", NET, "--corruption", "gaussian", *FEW)),
    Command("sweep-lambda", ("sweep-lambda", NET, "--severity", "1", *GRID, *FEW)),
    Command("fit-lambda", ("fit-lambda", NET, "--corruption", "gaussian", *GRID, *FEW)),
    Command("attack", ("attack", NET, "--steps", "3", *GRID, *FEW)),
    Command("attack --save", ("attack", NET, "--steps", "3", "--protocol", "matched", "--save", *GRID, *FEW)),
    Command("audit", ("audit", NET, "--quick", "--other", OTHER, *FEW)),
    Command(
        "data generate",
        ("data", "generate", "Digits-C", "--corruption", "gaussian", "--limit", "16"),
        prepare=(register_archive,),
    ),
    Command("models add", ("models", "add", "nets.py:plain", "--dataset", "digits", "--weights", "plain.safetensors")),
    Command("models export", ("models", "export", NET, "out/copy", "--device", "cpu")),
    Command("report", ("report",)),
    Command("visualize", ("visualize", "dictionary", NET, "--device", "cpu")),
)


def pulling(hub: Hub) -> Command:
    """`models pull` of the repository `REPO` from a Hub of this machine."""
    return Command(
        "models pull", ("models", "pull", REPO, "--name", "pulled"), prepare=(partial(point_to, hub.endpoint),)
    )


def point_to(endpoint: str) -> None:
    """Lets the library of the Hub talk to this one."""
    constants.ENDPOINT = endpoint
    constants.HF_HUB_DISABLE_XET = True
    constants.HUGGINGFACE_CO_URL_TEMPLATE = endpoint + "/{repo_id}/resolve/{revision}/{filename}"


def fill_world(folder: Path, trained: Path) -> None:
    """The world in which commands run: two small networks in `runs/`, and a network of somebody else."""
    from safetensors.torch import save_file
    from torch import nn

    shutil.copytree(trained, folder / "runs")
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(NETS, names)
    net: nn.Module = names["plain"](10)
    save_file(net.state_dict(), folder / "plain.safetensors")


def seen(folder: Path) -> dict[str, object]:
    """What commands have made of a world: every path in it, and of each file what no clock decides."""
    paths = (path for path in folder.rglob("*") if path.suffix != ".lock")
    return {str(path.relative_to(folder)): _content(path) for path in paths}


def differences(found: dict[str, object], wanted: dict[str, object]) -> list[str]:
    """What is missing, too much or another."""
    return [
        *(f"{path} is missing" for path in sorted(wanted.keys() - found.keys())),
        *(f"{path} is left behind" for path in sorted(found.keys() - wanted.keys())),
        *(f"{path} differs" for path in sorted(wanted.keys() & found.keys()) if wanted[path] != found[path]),
    ]


def _content(path: Path) -> object:
    if path.is_dir():
        return None
    content = path.read_bytes()
    try:
        if path.name in ("records.jsonl", "results.json"):
            records = map(json.loads, content.splitlines()) if path.suffix == ".jsonl" else json.loads(content)
            return sorted(json.dumps([_timeless(record.get(name)) for name in FACTS]) for record in records)
        if path.suffix == ".json":
            return _timeless(json.loads(content))
        if path.suffix == ".csv":
            return [_timeless(row) for row in csv.DictReader(content.decode().splitlines())]
    except ValueError:
        return f"half a file of {len(content)} bytes"
    return hashlib.sha256(content).hexdigest() if path.suffix in EXACT else bool(content)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(each) for name, each in value.items() if name not in TIMED}
    return [_timeless(each) for each in value] if isinstance(value, list) else value
