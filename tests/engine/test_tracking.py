"""Live logs of a training: read back by TensorBoard's own reader; the training is the same with them."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sdnet_bench
from sdnet_bench.config import STATE, Recipe
from sdnet_bench.csc import csc_layers
from sdnet_bench.data import open_dataset
from sdnet_bench.engine import tracking
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.engine.tracking import check_tracker, stem_figures
from sdnet_bench.errors import InterruptError, TrainingError, UsageError
from sdnet_bench.progress import Progress
from sdnet_bench.studies.workbench import Workbench

Scalars = dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def recipe(tiny_recipes: dict[str, Recipe]) -> Recipe:
    """Three epochs of three batches, width 2."""
    fields = {"name": "small", "epochs": 3, "limit": 96, "backbone.options.width": 2}
    return tiny_recipes["sdnet18-tiny"].set(fields)


def read(run: Path) -> Scalars:
    """The steps and values of every figure in the logs of a run."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(run / "logs" / run.name)).Reload()
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


class Stops(Progress):
    """Interrupts a training after an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def note(self, text: str) -> None:
        if text.startswith(f"epoch {self.epoch}/"):
            raise InterruptError("interrupted")


def train(recipe: Recipe, runs: Path, *, log: str | None = "tensorboard", stop: int = 0, resume: bool = False) -> Path:
    pytest.importorskip("tensorboard")
    if resume:
        time.sleep(1)  # files of logs are named and read by their second
    if stop:
        with pytest.raises(InterruptError):
            sdnet_bench.train(recipe, log=log, runs_dir=runs, progress=Stops(stop), resume=resume, device="cpu")
    else:
        sdnet_bench.train(recipe, log=log, runs_dir=runs, progress=False, resume=resume, device="cpu")
    return runs / recipe.name


@pytest.fixture(scope="module")
def logged(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run with logs."""
    return train(recipe, tmp_path_factory.mktemp("logged"))


def test_the_logs_are_the_history_and_the_stem_by_epoch(logged: Path) -> None:
    with (logged / "history.csv").open(encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    found = read(logged)
    stem = {f"stem/{name}" for name in ("lambda", "residual", "share_of_zeros", "step_size")}
    assert found.keys() == history[0].keys() - {"epoch"} | stem
    for name in history[0].keys() - {"epoch"}:
        expected = [(int(row["epoch"]), pytest.approx(float(row[name]))) for row in history]
        assert found[name] == expected
    assert found["stem/lambda"] == [(epoch, pytest.approx(0.1)) for epoch in (1, 2, 3)]
    assert {path.name for path in logged.parent.iterdir()} == {logged.name}


def test_the_settings_are_those_of_the_recipe(logged: Path) -> None:
    (settings,) = (logged / "logs").rglob("hparams.yml")
    lines = settings.read_text(encoding="utf-8").splitlines()
    assert {"name: small", "epochs: 3", "backbone.options.width: 2", "optimizer.nesterov: true"} <= set(lines)


def test_the_weights_are_the_same_with_logs_and_without(recipe: Recipe, logged: Path, tmp_path: Path) -> None:
    silent = train(recipe, tmp_path, log=None)
    assert (logged / "model.safetensors").read_bytes() == (silent / "model.safetensors").read_bytes()
    assert not (silent / "logs").exists()


def test_a_training_that_goes_on_logs_on_and_logs_an_epoch_that_is_trained_again_once(
    recipe: Recipe, logged: Path, tmp_path: Path
) -> None:
    whole = read(logged)
    run = train(recipe, tmp_path, stop=1)
    first = (run / STATE).read_bytes()
    parts = [read(train(recipe, tmp_path, stop=2, resume=True))]
    (run / STATE).write_bytes(first)  # as after a crash behind the second epoch, before its state was written
    parts.append(read(train(recipe, tmp_path, resume=True)))
    for name in ("loss", "stem/residual"):
        assert [part[name] for part in parts] == [whole[name][:2], whole[name]]


def test_the_figures_of_the_stem_are_those_of_its_codes(sdnet: Workbench, runtime: Runtime) -> None:
    net, split = runtime.place(sdnet.model.net).eval(), open_dataset("digits", Path()).open("validation")
    codes: list[tuple[Tensor, Tensor]] = []
    stem = csc_layers(net)[0]
    hook = stem.register_forward_hook(lambda _, inputs, code: codes.append((inputs[0], code)))
    with torch.no_grad():
        net(runtime.to_pixels(next(split.batches(250, runtime.device)).images))
        hook.remove()
        ((image, code),) = codes
        rest = (image - stem.operator.synthesize(code, image.shape[-2:])).flatten(1).norm(dim=1)
    assert stem_figures(net, split, runtime) == {
        "stem/lambda": pytest.approx(0.1),
        "stem/step_size": float(stem.step_size),
        "stem/residual": pytest.approx(float(rest.mean())),
        "stem/share_of_zeros": pytest.approx(float((code == 0).float().mean())),
    }
    assert 0 < float((code == 0).float().mean()) < 1


def test_a_network_without_csc_layers_has_no_stem(resnet: Workbench, runtime: Runtime) -> None:
    assert stem_figures(resnet.model.net, open_dataset("digits", Path()).open("validation"), runtime) == {}


def test_a_tracker_that_fails_is_one_line_and_the_epoch_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / recipe.name).mkdir()
    (tmp_path / recipe.name / "logs").write_text("a file", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"^tensorboard cannot log: File exists\. Go on with --resume"):
        sdnet_bench.train(recipe, log="tensorboard", runs_dir=tmp_path, progress=False, resume=True, device="cpu")
    sdnet_bench.train(recipe, runs_dir=tmp_path, progress=False, resume=True, device="cpu")
    assert len((tmp_path / recipe.name / "history.csv").read_text(encoding="utf-8").splitlines()) == 4


def test_a_missing_package_is_one_line_before_anything_is_made(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "get_available_trackers", list)
    with pytest.raises(UsageError, match=r"^wandb is not installed\. Install it with `pip install wandb`\.$"):
        sdnet_bench.train(recipe, log="wandb", runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"^unknown tracker 'wanbd'\. Did you mean 'wandb'"):
        check_tracker("wanbd")
