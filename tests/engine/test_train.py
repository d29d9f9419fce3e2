"""Training: a function of its seed that can be stopped anywhere, goes on bit by bit, and says when it fails."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from together import run_job
from torch import Tensor, nn

from sdnet_bench.config import STATE, Cosine, MultiStep, OneCycle, Recipe, Schedule
from sdnet_bench.csc import csc_layers
from sdnet_bench.csc.spectrum import MARGIN, power_iteration
from sdnet_bench.data import Dataset, open_dataset
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.engine.train import Training, save, saving, train
from sdnet_bench.errors import InterruptError, ModelError, RecordError, TrainingError
from sdnet_bench.progress import Progress, Task
from sdnet_bench.studies.training import with_backbone
from sdnet_bench.zoo.checkpoint import build_net
from sdnet_bench.zoo.initial import configure

TIMES = {"seconds", "images_per_second", "peak_memory"}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits", Path("nowhere"))


@pytest.fixture(scope="module")
def recipe(tiny_recipes: dict[str, Recipe]) -> Recipe:
    """Three epochs of three batches, width 2."""
    small = tiny_recipes["sdnet18-tiny"].replace(name="small", epochs=3, limit=96)
    return with_backbone(small, None, width=2)


class Run:
    """Trains into its own folder."""

    def __init__(self, folder: Path, dataset: Dataset, runtime: Runtime) -> None:
        self.folder, self.dataset, self.runtime = folder, dataset, runtime

    def __call__(self, recipe: Recipe, progress: Progress | None = None, *, resume: bool = False) -> Training:
        torch.manual_seed(recipe.seed)
        net = build_net(configure(recipe.backbone, self.dataset))
        return train(recipe, net, self.dataset, self.folder, self.runtime, progress or Progress(), resume=resume)


@pytest.fixture
def run(tmp_path: Path, digits: Dataset, runtime: Runtime) -> Run:
    return Run(tmp_path / "run", digits, runtime)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, digits: Dataset, runtime: Runtime, recipe: Recipe) -> Training:
    """What an uninterrupted run of the recipe gives."""
    return Run(tmp_path_factory.mktemp("finished"), digits, runtime)(recipe)


class CtrlC(Progress):
    """Interrupts in the middle of an epoch, or at its end where `within` says so."""

    def __init__(self, epoch: int, *, within: bool) -> None:
        self.epoch, self.within = f"epoch {epoch}/", within

    def note(self, text: str) -> None:
        if text.startswith(self.epoch) and not self.within:
            raise InterruptError("interrupted")

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        yield Stop() if title.startswith(self.epoch) and self.within else Task()


class Stop(Task):
    def advance(self, amount: int) -> None:
        raise InterruptError("interrupted")


def weights(training: Training) -> dict[str, list[Any]]:
    return {name: tensor.tolist() for name, tensor in training.net.state_dict().items()}


def without_times(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in TIMES}


def timeless(training: Training) -> list[dict[str, float]]:
    return [without_times(row) for row in training.history]


def test_the_same_seed_gives_the_same_network(run: Run, recipe: Recipe, finished: Training) -> None:
    again = run(recipe)
    assert weights(again) == weights(finished)
    assert timeless(again) == timeless(finished)


def test_another_seed_gives_another_network(run: Run, recipe: Recipe, finished: Training) -> None:
    assert weights(run(recipe.replace(seed=1))) != weights(finished)


@pytest.mark.parametrize(("epoch", "within"), [(1, True), (2, True), (3, False)])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    run: Run, recipe: Recipe, finished: Training, epoch: int, within: bool
) -> None:
    with pytest.raises(InterruptError):
        run(recipe, CtrlC(epoch, within=within))
    torch.manual_seed(12345)  # another process knows nothing of this one's generators
    resumed = run(recipe, resume=True)
    assert weights(resumed) == weights(finished)
    assert timeless(resumed) == timeless(finished)


TWO = """
import torch
from sdnet_bench.data import open_dataset
from sdnet_bench.engine.train import train
from sdnet_bench.progress import Progress
recipe, net = torch.load(folder / "all.pt", weights_only=False)
training = train(recipe, net, open_dataset("digits", folder), folder / "run", runtime, Progress(), resume=False)
torch.save((training.net.state_dict(), training.history), folder / f"{rank}.pt")
"""


def test_two_processes_have_one_network_and_one_history(
    tmp_path: Path, digits: Dataset, runtime: Runtime, recipe: Recipe
) -> None:
    torch.save((recipe, build_net(configure(recipe.backbone, digits))), tmp_path / "all.pt")
    run_job(TWO, tmp_path)
    (net, history), (other, same) = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    assert net.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in net.items())
    assert [without_times(row) for row in history] == [without_times(row) for row in same]


def test_resuming_says_where(run: Run, recipe: Recipe, finished: Training, told: Any) -> None:
    with pytest.raises(InterruptError):
        run(recipe, CtrlC(2, within=False))
    assert weights(run(recipe, told, resume=True)) == weights(finished)
    assert told.notes[0] == "resuming after epoch 2 of 3"
    assert [note[:10] for note in told.notes[1:]] == ["epoch 3/3 "]


def test_without_resume_a_run_starts_anew(run: Run, recipe: Recipe, finished: Training) -> None:
    with pytest.raises(InterruptError):
        run(recipe.replace(seed=1), CtrlC(2, within=False))
    assert weights(run(recipe)) == weights(finished)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"epochs": 4}, {"optimizer": {"lr": 0.2}}, {"batch_size": 16}, {"limit": 64}]
)
def test_the_state_of_another_recipe_is_refused(
    run: Run, recipe: Recipe, interrupted: bytes, change: dict[str, Any]
) -> None:
    run.folder.mkdir()
    (run.folder / STATE).write_bytes(interrupted)
    with pytest.raises(ModelError, match=r"training\.pt was left by another recipe\. .*--overwrite"):
        run(recipe.replace(**change), resume=True)


def test_the_state_of_other_classes_is_refused(run: Run, recipe: Recipe, digits: Dataset, finished: Training) -> None:
    with pytest.raises(InterruptError):
        run(recipe, CtrlC(1, within=False))
    run.dataset = replace(digits, classes=(*digits.classes[:8], "eighty", "ninety"))
    message = (
        r"left by a training on other classes, .* 8: 8, 9\), got 10 .* 8: eighty, ninety\)\. .*--data-dir, .*--overw"
    )
    with pytest.raises(ModelError, match=message):
        run(recipe, resume=True)
    without = saved(lambda state: state.pop("classes"))  # as earlier versions wrote it
    (run.folder / STATE).write_bytes(without((run.folder / STATE).read_bytes()))
    run.dataset = digits
    assert weights(run(recipe, resume=True)) == weights(finished)


def saved(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A damage that leaves a file that torch can read."""

    def damage(content: bytes) -> bytes:
        state = torch.load(BytesIO(content), weights_only=True)
        change(state)
        file = BytesIO()
        torch.save(state, file)
        return file.getvalue()

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"no state",
    "cut": lambda content: content[:-1000],
    "flipped": lambda content: content[:5000] + bytes(255 - byte for byte in content[5000:5100]) + content[5100:],
    "no recipe": saved(lambda state: state.pop("recipe")),
    "a number for classes": saved(lambda state: state.update(classes=7)),
    "no net": saved(lambda state: state.pop("net")),
    "a list as net": saved(lambda state: state.update(net=[1])),
    "a weight less": saved(lambda state: state["net"].popitem()),
    "no optimizer": saved(lambda state: state.update(optimizer=None)),
    "another optimizer": saved(lambda state: state["optimizer"]["param_groups"][0].pop("momentum")),
    "other moments": saved(lambda state: state["optimizer"]["state"][0].update(momentum_buffer=torch.zeros(7))),
    "moments of text": saved(lambda state: state["optimizer"]["state"].update({0: "x"})),
    "an empty schedule": saved(lambda state: state.update(scheduler={})),
    "a step of text": saved(lambda state: state["scheduler"].update(last_epoch="x")),
    "no vectors": saved(lambda state: state["projection"].update(vectors=[])),
    "no history": saved(lambda state: state.update(history=None)),
    "a history of text": saved(lambda state: state.update(history=["x"])),
    "an epoch too many": saved(lambda state: state.update(history=state["history"] * 4)),
    "a row without seconds": saved(lambda state: state["history"][0].pop("seconds")),
    "a time of text": saved(lambda state: state["history"][0].update(seconds="x")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_one_line(run: Run, recipe: Recipe, damage: str, interrupted: bytes) -> None:
    run.folder.mkdir()
    (run.folder / STATE).write_bytes(DAMAGES[damage](interrupted))
    with pytest.raises(ModelError, match=r"cannot read .*training\.pt: .*Train anew with --overwrite\.$") as caught:
        run(recipe, resume=True)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, digits: Dataset, runtime: Runtime, recipe: Recipe) -> bytes:
    """The state after the first epoch of three."""
    run = Run(tmp_path_factory.mktemp("interrupted"), digits, runtime)
    with pytest.raises(InterruptError):
        run(recipe, CtrlC(1, within=False))
    return (run.folder / STATE).read_bytes()


def test_a_loss_that_is_not_finite_ends_training(run: Run, recipe: Recipe) -> None:
    wild = recipe.replace(optimizer={"lr": 1e30}, schedule={"name": "cosine"})
    words = r"training diverged in epoch 1: not finite: the loss\. Lower the learning rate in the recipe\."
    with pytest.raises(TrainingError, match=words):
        run(wild)
    assert not (run.folder / STATE).exists()


def test_weights_that_the_last_step_of_an_epoch_spoilt_are_not_saved(run: Run, recipe: Recipe) -> None:
    """One step an epoch: its loss is that of the weights before it."""
    wild = recipe.replace(limit=32, optimizer={"lr": 1e30, "weight_decay": 1e30}, schedule={"name": "cosine"})
    words = r"training diverged in epoch 1: not finite: \S*weight.*, \.\.\.\. Lower the learning rate"
    with pytest.raises(TrainingError, match=words):
        run(wild)
    assert not (run.folder / STATE).exists()


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of resources")
def test_a_full_disk_is_one_line_and_leaves_the_earlier_state(tmp_path: Path, recipe: Recipe) -> None:
    training, said = Training.start(recipe, nn.Linear(100, 1000), 5), set()
    training.history = [{"epoch": 1}]
    save(tmp_path, training.state(recipe, ()))
    before = (tmp_path / STATE).read_bytes()
    for most in (0, 1, 1000, 200_000):
        with small_files(most), pytest.raises(RecordError) as caught:
            save(tmp_path, training.state(recipe, ()))
        said.add(str(caught.value))
    files = ("history.csv", STATE)
    assert said == {f"cannot write {tmp_path / name}: File too large. Name another folder." for name in files}
    assert (tmp_path / STATE).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", STATE]


def epochs_of(folder: Path) -> int:
    """How many epochs the saved state has; 0 without one."""
    return len(torch.load(folder / STATE, weights_only=True)["history"]) if (folder / STATE).exists() else 0


def stop_after_two_epochs(training: Training, net: nn.Linear, late: Path, soon: Path, recipe: Recipe) -> None:
    """Ends by Ctrl-C in the middle of the third."""
    with saving(late) as take_late, saving(soon, every=0) as take_soon:
        for epoch in (1, 2):
            training.step(net(torch.rand(4, 2)).mean())
            training.history.append({"epoch": epoch, "weight": float(net.weight.detach()[0, 0])})
            take_late(training.state(recipe, ()))
            take_soon(training.state(recipe, ()))
            assert (epochs_of(late), epochs_of(soon)) == (0, epoch)
        training.step(net(torch.rand(4, 2)).mean())
        raise InterruptError("interrupted")


@pytest.mark.parametrize("schedule", [Cosine(), MultiStep(name="multistep", milestones=(1, 3))])
def test_the_state_is_written_when_it_is_time_and_at_the_end_as_it_was(
    tmp_path: Path, recipe: Recipe, schedule: Schedule
) -> None:
    net = nn.Linear(2, 1)
    training = Training.start(recipe.replace(schedule=schedule.model_dump()), net, 1)
    late, soon = tmp_path / "late", tmp_path / "soon"
    with pytest.raises(InterruptError):
        stop_after_two_epochs(training, net, late, soon, recipe)
    states = [torch.load(folder / STATE, weights_only=True) for folder in (late, soon)]
    for state in states:
        assert len(state["history"]) == 2
        assert float(state["net"]["weight"][0, 0]) == state["history"][1]["weight"] != float(net.weight.detach()[0, 0])
    for part in ("net", "optimizer", "scheduler", "projection"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)


def test_nothing_is_saved_of_a_first_epoch_that_did_not_end(tmp_path: Path) -> None:
    with pytest.raises(InterruptError), saving(tmp_path):
        raise InterruptError("interrupted")
    assert list(tmp_path.iterdir()) == []


def test_atoms_end_with_unit_norm_and_their_own_step_size(finished: Training) -> None:
    (layer,) = csc_layers(finished.net)
    assert layer.dictionary.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0] * layer.atoms, abs=1e-5)
    eigenvalue, _ = power_iteration(layer.operator)
    assert float(layer.step_size) == pytest.approx(MARGIN / float(eigenvalue), rel=0.05)


def test_the_constraint_holds_after_every_step(recipe: Recipe, digits: Dataset) -> None:
    training = Training.start(recipe, build_net(configure(recipe.backbone, digits)), 5)
    (layer,) = csc_layers(training.net)
    for _ in range(3):
        before = layer.dictionary.detach().clone()
        training.step(training.net(torch.rand(8, 3, 16, 16)).square().mean())
        assert not torch.equal(before, layer.dictionary)
        assert layer.dictionary.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0] * layer.atoms, abs=1e-5)


def test_training_learns_and_leaves_the_network_in_eval_mode(finished: Training) -> None:
    assert not any(module.training for module in finished.net.modules())
    assert finished.history[-1]["loss"] < finished.history[0]["loss"]


def test_each_epoch_gets_a_row_of_history_and_a_line(run: Run, recipe: Recipe, told: Any) -> None:
    training = run(recipe, told)
    with (run.folder / "history.csv").open(encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == training.history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"lr", "loss", "accuracy", "validation_accuracy", *TIMES} <= set(rows[0])
    assert [note[:10] for note in told.notes] == ["epoch 1/3 ", "epoch 2/3 ", "epoch 3/3 "]
    assert all("validation" in note and "images/s" in note for note in told.notes)
    assert told.images == 3 * 96


def test_the_configuration_of_a_network_knows_its_data(recipe: Recipe, digits: Dataset) -> None:
    config = configure(recipe.backbone, digits)
    assert (config.num_classes, config.dataset) == (10, "digits")
    assert config.backbone.options["mean"] == digits.mean
    assert config.backbone.options["width"] == 2


def rates(recipe: Recipe, schedule: Schedule, epochs: int, steps_per_epoch: int) -> list[float]:
    """The learning rate of every step, and the one that is left at the end."""
    chosen = recipe.replace(epochs=epochs, schedule=schedule.model_dump(), optimizer={"lr": 0.8})
    net = nn.Linear(2, 1)
    training = Training.start(chosen, net, steps_per_epoch)
    found = []
    for _ in range(epochs * steps_per_epoch):
        found.append(training.optimizer.param_groups[0]["lr"])
        training.step(net(torch.rand(4, 2)).mean())
    return [*found, training.optimizer.param_groups[0]["lr"]]


def test_cosine_falls_from_the_rate_to_zero(recipe: Recipe) -> None:
    found = rates(recipe, Cosine(), epochs=4, steps_per_epoch=5)
    assert found == pytest.approx([0.4 * (1 + math.cos(math.pi * step / 20)) for step in range(21)], abs=1e-9)


def test_one_cycle_climbs_to_the_rate_and_falls_to_zero(recipe: Recipe) -> None:
    found = rates(recipe, OneCycle(name="onecycle", warmup=0.25), epochs=4, steps_per_epoch=5)
    peak = found.index(max(found))
    assert max(found) == pytest.approx(0.8, rel=0.1)  # the peak may lie between two steps
    assert peak == pytest.approx(0.25 * 20, abs=1)
    assert found[-1] == pytest.approx(0, abs=1e-4)
    steps = torch.tensor(found).diff()
    assert torch.allclose(steps[: peak - 1], steps[: peak - 1].mean())
    assert torch.allclose(steps[peak + 1 :], steps[peak + 1 :].mean())


def test_multistep_falls_after_its_epochs(recipe: Recipe) -> None:
    schedule = MultiStep(name="multistep", milestones=(1, 3), gamma=0.1)
    found = rates(recipe, schedule, epochs=4, steps_per_epoch=5)
    assert found == pytest.approx([0.8] * 5 + [0.08] * 10 + [0.008] * 6)


def test_without_momentum_the_steps_are_plain(recipe: Recipe) -> None:
    net = nn.Linear(1, 1, bias=False)
    before = net.weight.detach().clone()
    settings = {"lr": 0.1, "momentum": 0, "weight_decay": 0}
    training = Training.start(recipe.replace(optimizer=settings, schedule={"name": "cosine"}), net, 10)
    training.step(net(torch.tensor([[2.0]])).mean())
    assert torch.allclose(net.weight, before - 0.1 * 2.0)


def test_momentum_and_weight_decay_are_those_of_the_recipe(recipe: Recipe) -> None:
    """The first step of Nesterov's method by hand: (1 + momentum) (gradient + decay weight)."""
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.5, "nesterov": True}
    net = nn.Linear(1, 1, bias=False)
    before = net.weight.detach().clone()
    training = Training.start(recipe.replace(optimizer=settings, schedule={"name": "cosine"}), net, 10)
    inputs: Tensor = torch.tensor([[2.0]])
    training.step(net(inputs).mean())
    assert torch.allclose(net.weight, before - 0.1 * 1.9 * (2.0 + 0.5 * before))
