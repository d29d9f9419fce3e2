"""How well equilibria are found is said: in training, in evaluations, on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from found import there

from sdnet_bench.backbones import convergence
from sdnet_bench.config import Adam, Backbone, OneCycle, Recipe
from sdnet_bench.data import open_dataset
from sdnet_bench.engine.evaluate import evaluate
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.engine.train import Training, train
from sdnet_bench.errors import InterruptError
from sdnet_bench.progress import Progress, Task
from sdnet_bench.studies.accuracy import measure_clean, measure_corrupted
from sdnet_bench.studies.training import train_model
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.checkpoint import build_net
from sdnet_bench.zoo.initial import configure

METRICS = {"equilibrium_residual", "equilibrium_steps", "equilibrium_unconverged"}
STEPS = 5


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Three epochs of two batches, the first of them and half of the second a warm-up."""
    options = {"width": 4, "downsampling": 2, "steps": STEPS, "backward_steps": 3, "warmup": 3, "dropout": 0.25}
    return Recipe(
        name="mdeq-small",
        dataset="digits",
        backbone=Backbone(name="mdeq_tiny", options=options),
        epochs=3,
        batch_size=32,
        limit=64,
        optimizer=Adam(name="adam", lr=0.01),
        schedule=OneCycle(name="onecycle"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mdeq")


@pytest.fixture(scope="module")
def trained(recipe: Recipe, folder: Path, runtime: Runtime) -> Workbench:
    return train_model(recipe, folder, folder / "data", runtime, Progress())


@pytest.fixture
def bench(trained: Workbench, folder: Path, runtime: Runtime, told: Any) -> Workbench:
    return Workbench.open(trained.model.name, folder, folder / "data", runtime, told)


class Stopped(Progress):
    """Interrupts after the second epoch."""

    def note(self, text: str) -> None:
        if text.startswith("epoch 2/"):
            raise InterruptError("interrupted")

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        yield Task()


def run(recipe: Recipe, folder: Path, runtime: Runtime, progress: Progress, *, resume: bool = False) -> Training:
    dataset = open_dataset("digits", folder)
    torch.manual_seed(recipe.seed)
    net = build_net(configure(recipe.backbone, dataset))
    return train(recipe, net, dataset, folder, runtime, progress, resume=resume)


def test_training_says_how_well_equilibria_are_found(
    recipe: Recipe, tmp_path: Path, runtime: Runtime, told: Any
) -> None:
    history = run(recipe, tmp_path, runtime, told).history
    assert all(set(row) >= METRICS for row in history)
    assert [row["equilibrium_steps"] for row in history] == [10, (10 + STEPS) / 2, STEPS]
    last = history[-1]
    ending = f"  equilibrium at {last['equilibrium_residual']:.1e} after {STEPS}.0 steps"
    assert told.notes[-1].endswith(ending)
    header = (tmp_path / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert set(header.split(",")) >= METRICS


def test_an_interrupted_run_keeps_its_warm_up_and_its_dropout(recipe: Recipe, tmp_path: Path, runtime: Runtime) -> None:
    whole = run(recipe, tmp_path, runtime, Progress())
    with pytest.raises(InterruptError):
        run(recipe, tmp_path / "again", runtime, Stopped())
    torch.manual_seed(12345)
    resumed = run(recipe, tmp_path / "again", runtime, Progress(), resume=True)
    assert int(resumed.net.get_buffer("equilibrium.warmup")) == 0
    ours, theirs = resumed.net.state_dict(), whole.net.state_dict()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("batch_size", [7, 250])
def test_an_evaluation_measures_every_image(
    bench: Workbench, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", batch_size)
    split, net = bench.split("test", 30), bench.model.net
    (batch,) = split.batches(30, torch.device("cpu"))
    with convergence(net) as meter, torch.no_grad():
        hits = net(batch.images.float() / 255).argmax(1) == batch.labels
    outcome = evaluate(net, split, runtime)[None]
    assert outcome.convergence is not None
    assert meter.forward is not None
    assert np.array_equal(outcome.correct, hits.numpy())
    torch.testing.assert_close(outcome.convergence.residual, meter.forward.residual, rtol=0.05, atol=1e-4)
    assert outcome.convergence.steps.tolist() == meter.forward.steps.tolist()


def test_a_network_without_equilibria_has_no_convergence(sdnet: Workbench) -> None:
    outcomes = evaluate(sdnet.model.net, sdnet.split("test", 20), sdnet.runtime, lambdas=[None, 0.4])
    assert [outcome.convergence for outcome in outcomes.values()] == [None, None]
    assert METRICS.isdisjoint(measure_clean(sdnet).metrics)


def test_convergence_is_on_record(bench: Workbench) -> None:
    record = measure_clean(bench)
    outcome = evaluate(bench.model.net, bench.split("test"), bench.runtime)[None]
    summary = there(outcome.convergence).summary()
    assert {name: record.metrics[name] for name in METRICS} == pytest.approx(summary)
    assert summary["equilibrium_unconverged"] > 0


def test_it_is_said_for_how_many_images_there_is_no_equilibrium(bench: Workbench, told: Any) -> None:
    (record,) = measure_corrupted(bench, bench.images("test", 40), ["gaussian"], [2])
    missed = round(40 * record.metrics["equilibrium_unconverged"])
    residual = record.metrics["equilibrium_residual"]
    assert missed > 0
    assert told.notes[-1] == f"gaussian 2: no equilibrium for {missed} of 40, mean residual {residual:.1e}"


def test_nothing_is_said_where_all_are_found(bench: Workbench, told: Any) -> None:
    with torch.no_grad():
        for leave in bench.model.net.equilibrium.transform.exits:  # type: ignore[union-attr]
            leave.norm.weight.zero_()  # type: ignore[operator, union-attr]
    (record,) = measure_corrupted(bench, bench.images("test", 40), ["impulse"], [2])
    assert record.metrics["equilibrium_unconverged"] == 0
    assert not [note for note in told.notes if "no equilibrium" in note]
