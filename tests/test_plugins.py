"""Plugins as they are installed: the example goes the whole path, in an environment of its own, beside hostile ones."""

from __future__ import annotations

import csv
import json
import os
import runpy
import shutil
import subprocess
import sysconfig
import venv
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from together import IN_TURN, read_rows

import sdnet_bench
from sdnet_bench.adaptations import ADAPTATIONS, setting_of
from sdnet_bench.api.requests import corruption_names
from sdnet_bench.attacks import ATTACKS
from sdnet_bench.backbones import BACKBONES
from sdnet_bench.conformance.adaptation import ADAPTATION_CHECKS
from sdnet_bench.conformance.attack import ATTACK_CHECKS
from sdnet_bench.conformance.backbone import BACKBONE_CHECKS
from sdnet_bench.conformance.corruption import CORRUPTION_CHECKS
from sdnet_bench.conformance.dataset import DATASET_CHECKS
from sdnet_bench.data import CORRUPTIONS, DATASETS, Corruption
from sdnet_bench.data.archives import ARCHIVES
from sdnet_bench.errors import UnknownNameError, UsageError
from sdnet_bench.records import NOISES
from sdnet_bench.registry import PluginWarning, Registry
from sdnet_bench.studies.workbench import Workbench

PYTHON = Path("Scripts" if os.name == "nt" else "bin", "python")
KINDS = ("backbone", "corruption", "attack", "adaptation", "dataset")
EXAMPLE = Path(__file__).parent / "example_plugin"
PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
RECIPE = """
dataset = "gratings"
epochs = 2
batch_size = 32

[backbone]
name = "tinycsc"

[schedule]
name = "onecycle"
"""
LOUD = """
print("hello")
from sdnet_bench.data import Corruption
loud = Corruption("loud", lambda pixels, level, generator: pixels * level, {"cifar": (0.9, 0.8, 0.7, 0.6, 0.5)})
"""
HOSTILE = {
    "loud": ("corruptions", "loud", LOUD),
    "leaver": ("corruptions", "leaver", "import sys\nsys.exit(3)\n"),
    "breaker": ("datasets", "breaker", "raise RuntimeError('no\\nluck')\n"),
    "narrow": ("attacks", "narrow", "def narrow(images): return images\n"),
    "stranger": ("corruptions", "stranger", "stranger = 3\n"),
    "wordy": ("adaptations", "wordy", "def wordy(window='large'): return None\n"),
    "needy": ("adaptations", "needy", "def needy(strength): return None\n"),
    "restater": ("adaptations", "bn", "def bn(): return None\n"),
    "retuner": ("adaptations", "lambda", "retune = None\n"),
    "thief": ("backbones", "sdnet18", "def sdnet18(num_classes, **options): return None\n"),
    "twin_a": ("attacks", "twin", "def twin(victim, images, labels, setting, restart): return images\n"),
    "twin_b": ("attacks", "twin", "def twin(victim, images, labels, setting, restart): return images\n"),
}
"""Distributions: the group and the name of their entry point, and the source of their module."""
STATES = {
    "breaker": "does not load: RuntimeError: no luck",
    "leaver": "does not load: SystemExit: 3",
    "needy": "does not load: TypeError: expected a bool, int or float as default of strength, "
    "got <class 'inspect._empty'>",
    "narrow": "does not load: TypeError: expected a function (victim, images, labels, setting, restart), got (images): "
    "too many positional arguments",
    "stranger": "does not load: TypeError: expected a sdnet_bench.data.Corruption, got 3",
    "restater": "the name is taken by sdnet-bench",
    "retuner": "the name is taken by sdnet-bench",
    "thief": "the name is taken by sdnet-bench",
    "twin_b": "the name is taken by twin_a",
    "wordy": "does not load: TypeError: expected a bool, int or float as default of window, got 'large'",
}
"""Of those that cannot be used."""
TAKEN = [
    "warning: attack 'twin' of twin_b is left out: the name is taken by twin_a",
    "warning: backbone 'sdnet18' of thief is left out: the name is taken by sdnet-bench",
    "warning: adaptation 'bn' of restater is left out: the name is taken by sdnet-bench",
    "warning: adaptation 'lambda' of retuner is left out: the name is taken by sdnet-bench",
]
"""What commands may say that look up an attack, a backbone or an adaptation; other plugins are not even loaded then."""


@pytest.fixture(scope="session")
def python(once: Any) -> Path:
    """The interpreter of an environment that borrows our packages and has the plugins installed."""
    return once("plugins", install) / "env" / PYTHON  # type: ignore[no-any-return]


def install(folder: Path) -> None:
    venv.create(folder / "env", with_pip=not any(distributions(name="pip")))
    interpreter = folder / "env" / PYTHON
    (site,) = (folder / "env").rglob("site-packages")
    borrowed = [sysconfig.get_path("purelib"), str(Path(sdnet_bench.__file__).parents[1])]
    (site / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    source = shutil.copytree(EXAMPLE, folder / "source")
    words = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", str(source)]
    subprocess.run([interpreter, *words], check=True, env=environment())
    for distribution, (group, name, module) in HOSTILE.items():
        (site / f"{distribution}.py").write_text(module, encoding="utf-8")
        info = site / f"{distribution}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[sdnet_bench.{group}]\n{name} = {distribution}:{name}\n")


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SDNET_BENCH_", "PYTHON"))}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, *words], cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def rows(python: Path, folder: Path, *commands: list[str]) -> list[list[dict[str, Any]]]:
    """What commands print with --json beside all those plugins, none of which they need."""
    done = run(python, folder, "-c", IN_TURN, json.dumps([[*words, "--json", "--device", "cpu"] for words in commands]))
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "warning" in line.lower() or line == "hello"]
    assert len(warned) == len({*warned})
    assert {*warned} <= {*TAKEN}
    return read_rows(done.stdout)  # type: ignore[no-any-return]


def test_the_list_says_of_every_plugin_how_it_is(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, "-m", "sdnet_bench", "plugins", "--json")
    assert done.returncode == 0, done.stderr
    listed = {(part["distribution"], part["name"]): part for part in json.loads(done.stdout)}
    for distribution, (group, name, _) in HOSTILE.items():
        part = listed[distribution, name]
        assert (part["kind"] + "s", part["version"]) == (group, "0.1")
        assert part["state"] == STATES.get(distribution, "ok")
    theirs = {name: part["state"] for (distribution, name), part in listed.items() if "example" in distribution}
    assert theirs == dict.fromkeys(["dead_columns", "fgsm", "flip", "gratings", "tinycsc"], "ok")
    assert listed["sdnet-bench", "sdnet18"]["state"] == "ok"
    said, *warned = sorted(done.stderr.splitlines(), key=lambda line: line != "hello")
    assert said == "hello"
    assert sorted(warned) == sorted(
        f"warning: {HOSTILE[who][0][:-1]} {HOSTILE[who][1]!r} of {who} is left out: {state}"
        for who, state in STATES.items()
    )


def test_help_loads_no_plugin(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, "-m", "sdnet_bench", "--help")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_example_is_trained_swept_corrupted_attacked_and_reported(python: Path, tmp_path: Path) -> None:
    (tmp_path / "example.toml").write_text(RECIPE, encoding="utf-8")
    noise = ["--corruption", "dead_columns"]
    (trained,), swept, corrupted, attacked, _, (mirrored,) = rows(
        python,
        tmp_path,
        ["train", "example.toml"],
        ["sweep-lambda", *noise, "--severity", "3", "--lambdas", "0.05,0.2"],
        ["evaluate", *noise],
        ["attack", "--attack", "fgsm", "--limit", "32", "--lambdas", "0.1"],
        ["evaluate", "--adapt", "median,flip"],
        ["evaluate", "--adapt", "flip:share=1"],
    )
    assert (trained["dataset"], trained["n"], trained["lambda_"]) == ("gratings", 200, 0.1)
    assert {row["lambda_"] for row in swept} >= {0.05, 0.2}
    assert {(row["corruption"], row["level"]) for row in swept} == {("dead_columns", 0.2)}
    assert [row["level"] for row in corrupted] == [0.05, 0.1, 0.2, 0.3, 0.4]
    assert corrupted[-1]["accuracy"] < trained["accuracy"]
    assert {row["attack"]["name"] for row in attacked} == {"fgsm"}
    assert all(row["accuracy"] <= row["clean"] for row in attacked)
    assert mirrored["accuracy"] < trained["accuracy"] - 30  # a mirror makes one diagonal of the other

    reported = run(python, tmp_path, "-m", "sdnet_bench", "report")
    assert reported.returncode == 0, reported.stderr
    with (tmp_path / "report" / "gratings-table1.csv").open(encoding="utf-8") as file:
        (row,) = [row for row in csv.DictReader(file) if row["row"] == "tinycsc" and row["column"] == "Top-1 Acc (%)"]
    assert (row["model"], float(row["ours"])) == ("example", pytest.approx(trained["accuracy"]))
    lines = (tmp_path / "runs" / "example" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    cells = [json.loads(line)["cell"] for line in lines]
    assert {cell["corruption"] for cell in cells} == {None, "dead_columns"}
    assert {cell["attack"]["name"] for cell in cells if cell["attack"] and cell["split"] == "test"} == {"fgsm"}
    adaptations = [cell["adaptation"] for cell in cells if "adaptation" in cell]
    assert [each["name"] for each in adaptations] == ["median,flip:share=0.5", "flip:share=1"]


def test_the_example_averages_an_image_and_its_mirror_image(sdnet: Workbench, register_part: Any) -> None:
    part = runpy.run_path(str(EXAMPLE / "sdnet_bench_example" / "adaptation.py"))["Flip"]
    register_part(ADAPTATIONS, "flip", part)
    settings = [setting_of(text) for text in ("flip", "flip:share=0", "flip:share=1")]
    cells = [sdnet.cell(sdnet.images("test", 128), sdnet.inference(adaptation=setting)) for setting in settings]
    mean, image, mirror = (record.correct for record in sdnet.measure(cells, "adapted"))

    (batch,) = sdnet.split("test", 128).batches(128, torch.device("cpu"))
    pixels = batch.images / 255
    with torch.no_grad():
        straight, mirrored = (sdnet.model.net(each) for each in (pixels, pixels.flip(3)))
    for correct, logits in ((mean, straight + mirrored), (image, straight), (mirror, mirrored)):
        assert np.array_equal(correct, (logits.argmax(1) == batch.labels).numpy())
    assert not np.array_equal(mean, image)


def test_settings_that_the_example_does_not_have_are_refused(register_part: Any) -> None:
    part = runpy.run_path(str(EXAMPLE / "sdnet_bench_example" / "adaptation.py"))["Flip"]
    register_part(ADAPTATIONS, "flip", part)
    with pytest.raises(UsageError, match=r"flip has no such setting, expected flip:share=0\.5, got half=1"):
        setting_of("flip:half=1")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, register_part: Any) -> None:
    """Two corruptions of plugins: one that cannot be loaded, and one with the name of a member of the archives."""
    broken = EntryPoint("broken", "no_such_module:broken", CORRUPTIONS.group)
    monkeypatch.setattr(CORRUPTIONS, "_plugins", {"broken": broken, "gaussian_noise": broken})
    part = Corruption("gaussian_noise", lambda pixels, *_: pixels, {"cifar": (1.0,) * 5}, group="noise", extra=False)
    register_part(CORRUPTIONS, "gaussian_noise", part)


@pytest.mark.usefixtures("installed")
def test_groups_archives_and_studies_are_made_of_our_own_corruptions() -> None:
    assert set(corruption_names("noise")) == set(NOISES)
    for archive in ARCHIVES.values():
        if archive.dataset:
            assert {*archive.members} - {"labels"} <= {part.archive_name for part in CORRUPTIONS.ours.values()}
        with pytest.raises(UsageError, match="has no gaussian_noise"):
            archive.member("gaussian_noise")
    assert len([part for part in CORRUPTIONS.ours.values() if not part.extra]) == 15


@pytest.mark.usefixtures("installed")
def test_a_corruption_that_does_not_load_is_an_unknown_name() -> None:
    with (
        pytest.warns(PluginWarning, match="corruption 'broken' of an unknown distribution is left out: does not load"),
        pytest.raises(UnknownNameError, match="unknown corruption 'broken'"),
    ):
        corruption_names("broken")


@pytest.mark.parametrize(
    ("registry", "part", "expected"),
    [
        (
            ATTACKS,
            lambda images: images,
            "expected a function (victim, images, labels, setting, restart), got (images)",
        ),
        (DATASETS, lambda: None, "expected a function (data_dir, progress), got ()"),
        (CORRUPTIONS, lambda pixels, level: pixels, "expected a sdnet_bench.data.Corruption, got <function"),
        (
            CORRUPTIONS,
            Corruption("odd", lambda pixels: pixels, {}),  # type: ignore[arg-type, misc]
            "expected a function (pixels, level, generator) as what it applies, got (pixels)",
        ),
        (CORRUPTIONS, Corruption("other", lambda pixels, *_: pixels, {}), "expected 'odd' as its own name too, got"),
        (BACKBONES, lambda num_classes: None, "mean"),
        (ADAPTATIONS, lambda window="large": None, "expected a bool, int or float as default of window, got 'large'"),
        (ADAPTATIONS, 3, "3 is not a callable object"),
    ],
)
def test_what_is_no_such_part_is_refused_with_what_was_expected(
    registry: Registry[Any], part: object, expected: str
) -> None:
    with pytest.raises(TypeError) as refused:
        registry.register("odd")(part)
    assert expected in str(refused.value)


@pytest.mark.parametrize("file", ["pyproject.toml", *(f"sdnet_bench_example/{name}.py" for name in KINDS)])
def test_the_page_about_plugins_shows_the_example_as_it_is(file: str) -> None:
    language = "toml" if file.endswith(".toml") else "python"
    source = (EXAMPLE / file).read_text(encoding="utf-8")
    assert f"```{language}\n{source}```\n" in PAGE.read_text(encoding="utf-8")


def test_the_page_names_every_group_and_every_check() -> None:
    text = PAGE.read_text(encoding="utf-8")
    checks = [*BACKBONE_CHECKS, *CORRUPTION_CHECKS, *ATTACK_CHECKS, *ADAPTATION_CHECKS, *DATASET_CHECKS]
    assert [check.name for check in checks if f"| {check.name} |" not in text] == []
    assert [kind for kind in KINDS if f"`sdnet_bench.{kind}s`" not in text] == []


@pytest.mark.parametrize("kind", ["backbone", "adaptation"])
def test_a_backbone_or_an_adaptation_is_twenty_lines_at_most(kind: str) -> None:
    assert len((EXAMPLE / "sdnet_bench_example" / f"{kind}.py").read_text(encoding="utf-8").splitlines()) <= 20
