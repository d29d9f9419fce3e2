"""A file of every kind that is read, and what reads it."""

from __future__ import annotations

import shutil
import tarfile
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import tomli_w
import torch
from audits import an_audit
from PIL import Image
from typer.testing import CliRunner

from sdnet_bench.audit.render import write_audit
from sdnet_bench.cli.app import app
from sdnet_bench.config import Recipe
from sdnet_bench.data import open_dataset
from sdnet_bench.data.tarballs import unpack
from sdnet_bench.engine.adversarial_set import open_adversarial
from sdnet_bench.errors import BenchError
from sdnet_bench.progress import Progress
from sdnet_bench.zoo.checkpoint import read_model, write_model
from sdnet_bench.zoo.hub.validate import check

from .commands import FEW, GRID, NET, register_archive
from .process import run
from .writes import die_after

ADD = ("models", "add", "nets.py:plain", "--dataset", "digits", "--weights", "plain.safetensors")
CONVERT = ("models", "convert", "authors.pth", "--as", "resnet18")
CORRUPTED = (NET, "--corruption", "gaussian", "--severity", "1", *FEW)


@dataclass(frozen=True)
class Answer:
    """What was said of a file: figures, talk, and an error that is none of ours."""

    figures: str
    talk: str
    fault: str | None = None

    @classmethod
    def failed(cls, error: BaseException, talk: str = "") -> Answer:
        """Of an error: the line of one of ours, the end of the traceback of another."""
        if isinstance(error, BenchError | SystemExit):
            return cls("", f"{talk}error: {error}")
        told = traceback.format_exception(error)
        return cls("", talk, f"{told[-1].strip()[:300]} at {told[-2].strip()[:200]}")


Ask = Callable[[Path], Answer]
"""Reads a world in which a file may be damaged."""


@dataclass(frozen=True)
class Target:
    """A file that is read, and how.

    Args:
        file: its path in the world, or a pattern of it.
        own: the user may say other things in it, so that other figures are no fault.
        fewer: where parts of it are gone, so may be figures; none may be another.
    """

    name: str
    file: str
    ask: Ask
    own: bool = False
    fewer: bool = False

    def __str__(self) -> str:
        return self.name

    def path(self, world: Path) -> Path:
        """The file in a world."""
        return min(world.glob(self.file))


def command(*words: str) -> Ask:
    """A command, in this process."""

    def ask(world: Path) -> Answer:
        result = CliRunner().invoke(app, words)
        if result.exception is None:
            return Answer(result.stdout, result.stderr)
        return Answer.failed(result.exception, result.stderr)

    return ask


def reader(read: Callable[[Path], object]) -> Ask:
    """A reader of the package."""

    def ask(world: Path) -> Answer:
        try:
            return Answer(str(read(world)), "")
        except Exception as error:
            return Answer.failed(error)

    return ask


def _read_images(world: Path) -> int:
    split = open_dataset("imagefolder", world / "images").open("test")
    return sum(len(batch.labels) for batch in split.batches(8, torch.device("cpu")))


def _read_adversarial(world: Path) -> int:
    images = open_dataset("digits", world).open("test")
    places = [place * len(images) // 16 for place in range(16)]
    return len(open_adversarial(min(world.glob("runs/*/adversarial/*")), images.subset(places))[0])


def _unpack(world: Path) -> None:
    unpack(world / "some.tar.gz", world / "unpacked", lambda name: name, Progress())


ADAPTIVE = command("evaluate", *CORRUPTED, "--lambda", "adaptive", "--json")
ATTACK_WORDS = ("attack", NET, "--steps", "3", "--protocol", "matched", *GRID, *FEW, "--json")
RESUME = ("train", "mine.toml", "--name", "new", "--resume", "--json", "--device", "cpu")
ARCHIVED = command("evaluate", *CORRUPTED, "--archive", "--json")
TARGETS = (
    Target("config", f"runs/{NET}/config.json", ADAPTIVE),
    Target("weights", f"runs/{NET}/model.safetensors", ADAPTIVE),
    Target("records", f"runs/{NET}/records.jsonl", ADAPTIVE),
    Target("records in a report", f"runs/{NET}/records.jsonl", command("report", NET), fewer=True),
    Target("fits", f"runs/{NET}/lambda_fit.json", ADAPTIVE),
    Target("audit", f"runs/{NET}/audit-linf.json", ADAPTIVE),
    Target("published records", "shipped/results.json", command("evaluate", "shipped", "--json", *FEW)),
    Target("origin", "runs/added/origin.json", command("models", "show", "added", "--json"), own=True),
    Target("card", f"runs/{NET}/README.md", command("models", "show", NET), own=True),
    Target("recipe of a run", f"runs/{NET}/recipe.toml", ADAPTIVE),
    Target("recipe", "mine.toml", reader(lambda world: Recipe.read(world / "mine.toml")), own=True),
    Target("index of shards", "sharded/model.safetensors.index.json", command("evaluate", "sharded", "--json", *FEW)),
    Target("a shard", "sharded/model-00001-of-*.safetensors", command("evaluate", "sharded", "--json", *FEW)),
    Target("journal", f"runs/{NET}/journal-*/0.jsonl", command(*ATTACK_WORDS)),
    Target("unfinished training", "runs/new/training.pt", command(*RESUME)),
    Target("adversarial images", f"runs/{NET}/adversarial/*/images.npy", reader(_read_adversarial), own=True),
    Target("adversarial labels", f"runs/{NET}/adversarial/*/labels.npy", reader(_read_adversarial), own=True),
    Target("adversarial setting", f"runs/{NET}/adversarial/*/attack.json", reader(_read_adversarial), own=True),
    Target("manifest", "data/Digits-C/manifest.json", ARCHIVED, own=True),
    Target("manifest, verified", "data/Digits-C/manifest.json", command("data", "verify", "Digits-C"), own=True),
    Target("archive", "data/Digits-C/gaussian_noise.npy", ARCHIVED),
    Target("labels of an archive", "data/Digits-C/labels.npy", ARCHIVED),
    Target("foreign weights", "plain.safetensors", command(*ADD), own=True),
    Target("authors' checkpoint", "authors.pth", command(*CONVERT), own=True),
    Target("PNG", "images/val/a/0.png", reader(_read_images), own=True),
    Target("JPEG", "images/val/a/1.jpg", reader(_read_images), own=True),
    Target("tar archive", "some.tar.gz", reader(_unpack), own=True),
    *(
        Target(f"{file} from the Hub", f"shipped/{file}", reader(lambda world: check(world / "shipped")), own=True)
        for file in ("config.json", "results.json", "README.md", "recipe.toml", "model.safetensors")
    ),
)


MADE_BY = (
    ("fit-lambda", NET, *GRID, *FEW),
    ("evaluate", *CORRUPTED, "--lambda", "adaptive"),
    ("attack", NET, "--steps", "3", "--protocol", "matched", "--save", "--lambdas", "0.1", *FEW),
    ("data", "generate", "Digits-C", "--corruption", "gaussian", "--limit", "16"),
    ("evaluate", *CORRUPTED, "--archive"),
    (*ADD, "--name", "added"),
)
"""Commands that make files."""


def make_files(folder: Path, into: Path) -> None:
    """Makes of a world one with a file of every kind that is read, in another folder."""
    for words in MADE_BY:
        complaints = run(words, folder, (register_archive,)).complaints(0)
        assert not complaints, f"{words}: {complaints}"
    _write_recipe(folder)
    run(ATTACK_WORDS, folder, (partial(die_after, f"runs/{NET}/journal-*/0.jsonl"),))
    run(RESUME, folder, (partial(die_after, "runs/new/training.pt"),))
    _copy_models(folder)
    _write_images(folder / "images")
    folder.rename(into / "world")


def _write_recipe(folder: Path) -> None:
    recipe = tomllib.loads((folder / "runs" / NET / "recipe.toml").read_text("utf-8"))
    (folder / "mine.toml").write_text(tomli_w.dumps(recipe | {"limit": 64}), encoding="utf-8")


def _copy_models(folder: Path) -> None:
    """A model as it is shipped, one in shards, and one as the authors of the paper released theirs."""
    shutil.copytree(folder / "runs" / NET, folder / "shipped")
    (folder / "shipped" / "records.jsonl").unlink()
    whole = read_model(folder / "shipped")
    recipe = Recipe.read(folder / "shipped" / "recipe.toml")
    write_model(folder / "sharded", recipe, whole.config, whole.net, shard="20KB")
    write_audit(folder / "runs" / NET, an_audit(weights=whole.weights))
    torch.save({"state_dict": whole.net.state_dict(), "epoch": 3}, folder / "authors.pth")
    with tarfile.open(folder / "some.tar.gz", "w:gz") as tar:
        tar.add(folder / "shipped", "shipped")


def _write_images(folder: Path) -> None:
    """Image files of two classes."""
    pixels = np.random.default_rng(0).integers(256, size=(72, 72, 3), dtype=np.uint8)
    for part, name in product(("train", "val"), ("a", "b")):
        (folder / part / name).mkdir(parents=True)
        for number, end in enumerate(("png", "jpg")):
            Image.fromarray(pixels).save(folder / part / name / f"{number}.{end}")
