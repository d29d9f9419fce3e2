"""What every test starts from: one thread, a known seed, and two small networks trained once for all workers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from sdnet_bench.config import SGD, Backbone, OneCycle, Recipe
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.progress import Progress, Task
from sdnet_bench.registry import Registry
from sdnet_bench.studies.training import train_model
from sdnet_bench.studies.workbench import Workbench

os.environ["OMP_NUM_THREADS"] = "1"  # the workers, and the processes that tests start
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
for place in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):  # of the user, that tests leave alone
    os.environ[place] = tempfile.mkdtemp(prefix="sdnet-bench-")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take long come first, or one worker would end long after the other."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.timeout(0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


class Told(Progress):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.images = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.notes.append(f"warning: {text}")

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        yield Count(self)


class Count(Task):
    def __init__(self, told: Told) -> None:
        self._told = told

    def advance(self, amount: int) -> None:
        self._told.images += amount


RegisterPart = Callable[[Registry[Any], str, object], None]


@pytest.fixture
def register_part(monkeypatch: pytest.MonkeyPatch) -> RegisterPart:
    """Registers a part for one test, unchecked, in place of any of its name: `register_part(ATTACKS, "spy", spy)`."""
    return lambda registry, name, part: monkeypatch.setitem(registry._parts, name, part)  # type: ignore[attr-defined]


@pytest.fixture
def told() -> Told:
    """A progress that remembers its notes and counts the images that tasks went through."""
    return Told()


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder that the first worker to ask for it fills: `once("trained", fill)`. Nobody writes to it afterwards."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        done = shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                folder = tempfile.mkdtemp(prefix=name, dir=shared)
                fill(Path(folder))
                done.write_text(folder, encoding="utf-8")
        return Path(done.read_text(encoding="utf-8"))

    return filled


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The CPU, in single precision."""
    return Runtime.create("cpu", "float32")


@pytest.fixture(scope="session")
def tiny_recipes() -> dict[str, Recipe]:
    """An SDNet-18 and a ResNet-18 of width 4, two epochs of digits from random weights."""
    return {
        f"{name}-tiny": Recipe(
            name=f"{name}-tiny",
            dataset="digits",
            backbone=Backbone(name=name, options={"width": 4}),
            epochs=2,
            batch_size=32,
            schedule=OneCycle(name="onecycle"),
        )
        for name in ("sdnet18", "resnet18")
    }


@pytest.fixture(scope="session")
def settled_recipes(tiny_recipes: dict[str, Recipe]) -> dict[str, Recipe]:
    """The same, for one epoch from weights that these recipes gave once, at a rate that hardly changes them.

    So the networks of the tests are the same on every machine: from random weights, rounding alone moves the accuracy
    of the ResNet by 8 points.
    """
    tiny = Path(__file__).parent / "tiny"
    return {
        name: recipe.replace(weights=str(tiny / f"{name}.safetensors"), optimizer=SGD(lr=1e-5), epochs=1)
        for name, recipe in tiny_recipes.items()
    }


@pytest.fixture(scope="session")
def trained_runs(once: Once, runtime: Runtime, settled_recipes: dict[str, Recipe]) -> Path:
    """A folder of runs with the models `sdnet18-tiny` and `resnet18-tiny`. Nobody writes to it: take `runs`.

    A second worker begins with the second network.
    """

    def trained(recipe: Recipe) -> Path:
        return once(recipe.name, lambda folder: train_model(recipe, folder, folder / "data", runtime, Progress()))

    def join(folder: Path) -> None:
        for recipe in settled_recipes.values():
            shutil.copytree(trained(recipe), folder, dirs_exist_ok=True)

    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
        trained(settled_recipes["resnet18-tiny"])
    return once("trained", join)


@pytest.fixture
def runs(trained_runs: Path, tmp_path: Path) -> Path:
    """A copy of the runs, to be written to."""
    return Path(shutil.copytree(trained_runs, tmp_path / "runs"))


Open = Callable[[str], Workbench]


@pytest.fixture
def open_bench(runs: Path, runtime: Runtime, told: Told) -> Open:
    """Opens a run afresh, as another command would: `open_bench("sdnet18-tiny")`."""
    return lambda name: Workbench.open(name, runs, runs / "data", runtime, told)


@pytest.fixture
def sdnet(open_bench: Open) -> Workbench:
    """The SDNet on the bench."""
    return open_bench("sdnet18-tiny")


@pytest.fixture
def resnet(open_bench: Open) -> Workbench:
    """The ResNet on the bench."""
    return open_bench("resnet18-tiny")


MeasuredOnce = Callable[[str, Callable[[Workbench], object]], Workbench]


@pytest.fixture
def measured_once(once: Once, trained_runs: Path, runs: Path, runtime: Runtime, open_bench: Open) -> MeasuredOnce:
    """The SDNet with records that are made once, in a copy for each test: `measured_once("noise", measure)`."""

    def opened(name: str, measure: Callable[[Workbench], object]) -> Workbench:
        def fill(folder: Path) -> None:
            shutil.copytree(trained_runs, folder, dirs_exist_ok=True)
            measure(Workbench.open("sdnet18-tiny", folder, folder / "data", runtime, Told()))

        shutil.copytree(once(name, fill), runs, dirs_exist_ok=True)
        return open_bench("sdnet18-tiny")

    return opened
