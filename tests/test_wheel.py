"""The wheel: what is in it, and that it works where nothing else of the project is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sdnet_bench.config import MODELS
from sdnet_bench.version import __version__

ROOT = Path(__file__).parents[1]
SMALL = ["--epochs", "1", "--limit", "64", "--width", "2", "--batch-size", "32", "--device", "cpu"]
DATA = {"data/archives/archives.toml", "data/corruptions/severities.toml", "paper/paper.toml", "py.typed"}
DATA |= {f"report/web/page.{kind}" for kind in ("css", "html.j2", "js")}
pytestmark = pytest.mark.slow


def pip(*words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="session")
def wheel(once: Any) -> Path:
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir"]
    (path,) = once("wheel", lambda folder: pip("wheel", *options, folder, ROOT)).glob("*.whl")
    return path


@pytest.fixture(scope="session")
def environment(wheel: Path, once: Any) -> Path:
    """The programs of an environment with the wheel in it, and the running environment's packages but for ours."""
    return once("environment", lambda folder: install(wheel, folder)) / "own" / "bin"


def install(wheel: Path, folder: Path) -> None:
    venv.create(folder / "own", symlinks=True)
    others = folder / "others"
    others.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "sdnet_bench" not in package.name and package.suffix != ".pth":
            (others / package.name).symlink_to(package)
    (own,) = (folder / "own").glob("lib/python*/site-packages")
    (own / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    pip("--python", folder / "own" / "bin" / "python", "install", "--no-deps", "--no-index", wheel)


def run(program: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program in a folder, as if nobody had set anything up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SDNET_BENCH_", "PYTHON"))}
    return subprocess.run([program, *words], cwd=cwd, env=kept, capture_output=True, text=True, check=False)


def test_the_wheel_carries_the_package_and_all_data_of_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sdnet_bench").rglob("*.py")}
    assert sources <= names
    assert {f"sdnet_bench/{name}" for name in DATA} <= names
    assert wheel.name.startswith(f"sdnet_bench-{__version__}-")
    assert wheel.stat().st_size < 60e6


def test_the_wheel_carries_every_model_folder_whole(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("sdnet_bench/models/")}
    assert names == {f"sdnet_bench/models/{path.relative_to(MODELS).as_posix()}" for path in MODELS.glob("*/*")}
    assert "sdnet_bench/models/sdnet18-cifar10-small/model.safetensors" in names
    assert not any(name.endswith(".py") for name in names)


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"sdnet_bench", f"sdnet_bench-{__version__}.dist-info"}


def test_what_runs_is_the_wheel(environment: Path, tmp_path: Path) -> None:
    script = "import sdnet_bench.config as config; print(config.__file__); print(config.MODELS)"
    told = run(environment / "python", "-c", script, cwd=tmp_path).stdout.splitlines()
    assert len(told) == 2
    assert all(Path(path).is_relative_to(environment.parent) for path in told)


def test_shipped_models_are_listed_and_load(environment: Path, tmp_path: Path) -> None:
    listed = run(environment / "sdnet-bench", "models", "list", "--json", cwd=tmp_path)
    assert {row["name"] for row in json.loads(listed.stdout)} == {path.name for path in MODELS.iterdir()}
    script = "import sdnet_bench; print(sdnet_bench.load_model('resnet18-cifar10-small').trained_lambda)"
    assert run(environment / "python", "-c", script, cwd=tmp_path).stdout == "None\n"


def test_a_shipped_recipe_trains_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    done = run(environment / "sdnet-bench", "train", "sdnet18-digits", *SMALL, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["n"] == 360
    assert (tmp_path / "runs" / "sdnet18-digits" / "README.md").exists()
