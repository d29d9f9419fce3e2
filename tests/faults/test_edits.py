"""Files that were damaged: a line that names the file, or the same figures as before; no traceback, and no hang."""

from __future__ import annotations

import resource
import shutil
import tarfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
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

from .commands import FEW, GRID, NET, World, register_archive
from .conftest import Once
from .damage import damage
from .process import run
from .tally import Tally, rounds
from .writes import die_at

pytestmark = pytest.mark.filterwarnings("default")
LONGEST = 10.0
"""Seconds that a damaged file may take."""
MEMORY = 4 << 30
"""Bytes of memory that a damaged file may take."""
ADD = ("models", "add", "nets.py:plain", "--dataset", "digits", "--weights", "plain.safetensors")
CONVERT = ("models", "convert", "authors.pth", "--as", "resnet18")
CORRUPTED = (NET, "--corruption", "gaussian", "--severity", "1", *FEW)


@dataclass(frozen=True)
class Answer:
    """What was said of a file: data, talk, and the errors that are none of ours."""

    figures: str
    talk: str
    fault: str | None = None


Ask = Callable[[Path], Answer]
"""Reads a world in which a file may be damaged."""


@dataclass(frozen=True)
class Target:
    """A file that is read, and how.

    Args:
        file: its path in the world, or a pattern of it.
        figures: whether figures must not change without a word. The user may say other things in files of his own.
    """

    name: str
    file: str
    ask: Ask
    figures: bool = True

    def __str__(self) -> str:
        return self.name


def command(*words: str) -> Ask:
    """A command, in this process."""

    def ask(world: Path) -> Answer:
        result = CliRunner().invoke(app, words)
        error = result.exception
        if isinstance(error, BenchError) or error is None or isinstance(error, SystemExit):
            failed = "" if result.exit_code == 0 else f"error: {error}"
            return Answer("" if failed else result.stdout, result.stderr + failed)
        told = traceback.format_exception(error)
        return Answer("", result.stderr, f"{told[-1].strip()[:300]} at {told[-2].strip()[:200]}")

    return ask


def reader(read: Callable[[Path], object]) -> Ask:
    """A reader of the package, which raises nothing but the package's errors."""

    def ask(world: Path) -> Answer:
        try:
            return Answer(str(read(world)), "")
        except BenchError as error:
            return Answer("", f"error: {error}")
        except Exception as error:
            told = traceback.format_exception(error)
            return Answer("", "", f"{told[-1].strip()[:300]} at {told[-2].strip()[:200]}")

    return ask


def _read_images(world: Path) -> int:
    split = open_dataset("imagefolder", world / "images").open("test")
    return sum(len(batch.labels) for batch in split.batches(8, torch.device("cpu")))


def _read_adversarial(world: Path) -> int:
    images = open_dataset("digits", world).open("test")
    (folder,) = (path.parent for path in world.glob("runs/*/adversarial/*/attack.json"))
    places = [place * len(images) // 16 for place in range(16)]
    return len(open_adversarial(folder, images.subset(places))[0])


def _unpack(world: Path) -> None:
    archive = shutil.copy(world / "some.tar.gz", world / "copy.tar.gz")
    unpack(Path(archive), world / "unpacked", lambda name: name, Progress())


ADAPTIVE = command("evaluate", *CORRUPTED, "--lambda", "adaptive", "--json")
ATTACK_WORDS = ("attack", NET, "--steps", "3", "--protocol", "matched", *GRID, *FEW, "--json")
RESUME = ("train", "mine.toml", "--name", "new", "--resume", "--json", "--device", "cpu")
ARCHIVED = command("evaluate", *CORRUPTED, "--archive", "--json")
TARGETS = (
    Target("config", f"runs/{NET}/config.json", ADAPTIVE),
    Target("weights", f"runs/{NET}/model.safetensors", ADAPTIVE),
    Target("records", f"runs/{NET}/records.jsonl", ADAPTIVE),
    Target("records in a report", f"runs/{NET}/records.jsonl", command("report", NET)),
    Target("fits", f"runs/{NET}/lambda_fit.json", ADAPTIVE),
    Target("audit", f"runs/{NET}/audit-linf.json", ADAPTIVE),
    Target("published records", "shipped/results.json", command("evaluate", "shipped", "--json", *FEW)),
    Target("origin", "runs/added/origin.json", command("models", "show", "added", "--json"), figures=False),
    Target("card", f"runs/{NET}/README.md", command("models", "show", NET), figures=False),
    Target("recipe of a run", f"runs/{NET}/recipe.toml", ADAPTIVE),
    Target("recipe", "mine.toml", reader(lambda world: Recipe.read(world / "mine.toml")), figures=False),
    Target("index of shards", "sharded/model.safetensors.index.json", command("evaluate", "sharded", "--json", *FEW)),
    Target("a shard", "sharded/model-00001-of-*.safetensors", command("evaluate", "sharded", "--json", *FEW)),
    Target("journal", f"runs/{NET}/journal-*/0.jsonl", command(*ATTACK_WORDS)),
    Target("unfinished training", "runs/new/training.pt", command(*RESUME)),
    Target("adversarial images", f"runs/{NET}/adversarial/*/images.npy", reader(_read_adversarial), figures=False),
    Target("adversarial labels", f"runs/{NET}/adversarial/*/labels.npy", reader(_read_adversarial), figures=False),
    Target("adversarial setting", f"runs/{NET}/adversarial/*/attack.json", reader(_read_adversarial), figures=False),
    Target("manifest", "data/Digits-C/manifest.json", ARCHIVED, figures=False),
    Target("manifest, verified", "data/Digits-C/manifest.json", command("data", "verify", "Digits-C"), figures=False),
    Target("archive", "data/Digits-C/gaussian_noise.npy", ARCHIVED),
    Target("labels of an archive", "data/Digits-C/labels.npy", ARCHIVED),
    Target("digests", "data/Digits-C/.digests.json", ARCHIVED),
    Target(
        "foreign weights",
        "plain.safetensors",
        command(*ADD),
        figures=False,
    ),
    Target(
        "authors' checkpoint",
        "authors.pth",
        command(*CONVERT),
        figures=False,
    ),
    Target("PNG", "images/val/a/0.png", reader(_read_images), figures=False),
    Target("JPEG", "images/val/a/1.jpg", reader(_read_images), figures=False),
    Target("tar archive", "some.tar.gz", reader(_unpack), figures=False),
    *(
        Target(f"{file} from the Hub", f"shipped/{file}", reader(lambda world: check(world / "shipped")), figures=False)
        for file in ("config.json", "results.json", "README.md", "recipe.toml", "model.safetensors")
    ),
)


MADE_BY = (
    ("fit-lambda", NET, *GRID, *FEW),
    ("evaluate", *CORRUPTED, "--lambda", "adaptive"),
    ("evaluate", NET, *FEW),
    ("attack", NET, "--steps", "3", "--protocol", "matched", "--save", "--lambdas", "0.1", *FEW),
    ("data", "generate", "Digits-C", "--corruption", "gaussian", "--limit", "16"),
    ("evaluate", *CORRUPTED, "--archive"),
    (*ADD, "--name", "added"),
)
"""Commands that make files."""


@pytest.fixture(scope="session")
def many_files(once: Once, world: World) -> Path:
    """A world with a file of every kind that is read. Nobody writes to it."""
    return once("many", lambda folder: _fill(world(), folder)) / "world"


def _fill(folder: Path, into: Path) -> None:
    for words in MADE_BY:
        assert run(words, folder, (register_archive,)).complaints(0) == []
    _write_recipe(folder)
    _break_off(ATTACK_WORDS, folder, f"runs/{NET}/journal-*/0.jsonl")
    _break_off(RESUME, folder, "runs/new/training.pt")
    _copy_models(folder)
    _write_images(folder / "images")
    folder.rename(into / "world")


def _write_recipe(folder: Path) -> None:
    recipe = tomllib.loads((folder / "runs" / NET / "recipe.toml").read_text("utf-8"))
    (folder / "mine.toml").write_text(tomli_w.dumps(recipe | {"limit": 64}), encoding="utf-8")


def _break_off(words: tuple[str, ...], folder: Path, until: str) -> None:
    """Kills a command again and again, each time a little later, until a file is there."""
    for at in range(1, 100):
        run(words, folder, (partial(die_at, at),))
        if any(path.stat().st_size for path in folder.glob(until)):
            return
    raise AssertionError(f"{words} leaves no {until}")


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


@pytest.fixture
def careful() -> Iterator[None]:
    """Bounds the memory of this process."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


def judge(target: Target, path: Path, wanted: Answer, found: Answer, seconds: float) -> list[str]:
    """What is wrong with an answer."""
    is_named = any(name in found.talk for name in (path.name, path.stem, path.parent.name))
    told = f"{found.talk[-400:]!r}"
    return [
        *([f"took {seconds:.0f} s"] if seconds > LONGEST else []),
        *([f"an error of another library: {found.fault}"] if found.fault else []),
        *([f"the file is not named: {told}"] if "error: " in found.talk and not is_named else []),
        *(
            [f"other figures without a word: {told} {found.figures[:200]!r} instead of {wanted.figures[:200]!r}"]
            if target.figures and not found.fault and found.figures not in ("", wanted.figures) and not is_named
            else []
        ),
    ]


@rounds("target", TARGETS, plain=1, soak=100)
def test_a_damaged_file(
    target: Target,
    count: int,
    many_files: Path,
    tmp_path: Path,
    careful: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register_archive()
    tally = Tally("random edits", target.name)
    _, wanted, _ = _ask(target, many_files, tmp_path / "whole", monkeypatch)
    assert (wanted.fault, bool(wanted.figures)) == (None, target.figures or bool(wanted.figures))
    for draw in tally.draw(count):
        how, found, seconds = _ask(target, many_files, tmp_path / "world", monkeypatch, partial(damage, draw))
        tally.note(tally.wrong, judge(target, _file(target, many_files), wanted, found, seconds), how)
    tally.settle()


def _file(target: Target, world: Path) -> Path:
    return min(world.glob(target.file))


def _ask(
    target: Target,
    many_files: Path,
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[Path], str] = str,
) -> tuple[str, Answer, float]:
    """How a file was damaged in a copy of the world, the answer there, and the seconds that it took."""
    shutil.copytree(many_files, world)
    monkeypatch.chdir(world)
    how = harm(_file(target, world))
    began = time.perf_counter()
    answer = target.ask(world)
    seconds = time.perf_counter() - began
    monkeypatch.chdir(world.parent)
    shutil.rmtree(world)
    return how, answer, seconds
