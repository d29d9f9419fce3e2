"""Captured steps: the same training as plain steps. What needs a CUDA device is marked: `pytest -m cuda -n 0`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.backbones import build
from sdnet_bench.config import Adam, Recipe
from sdnet_bench.data import Batch, Dataset, open_dataset
from sdnet_bench.engine.capture import CapturedStep, Compiled
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.engine.train import PlainStep, Training, train
from sdnet_bench.errors import InterruptError
from sdnet_bench.progress import Progress, Task
from sdnet_bench.studies.training import train_model
from sdnet_bench.zoo.checkpoint import build_net
from sdnet_bench.zoo.initial import configure

HOW_MANY = 10**9
"""Images of a training that is worth compiling."""


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits", Path("nowhere"))


@pytest.fixture(scope="module")
def recipe(tiny_recipes: dict[str, Recipe]) -> Recipe:
    return tiny_recipes["sdnet18-tiny"].replace(schedule={"name": "cosine"}, optimizer={"lr": 0.02})


def batches(count: int, size: int, device: torch.device, last: int | None = None) -> list[Batch]:
    """Random images and labels; the last batch may have another size."""
    torch.manual_seed(1)
    sizes = [size] * count if last is None else [size] * (count - 1) + [last]
    drawn = [(torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (n,))) for n in sizes]
    return [Batch(torch.arange(len(y)), x.to(device), y.to(device)) for x, y in drawn]


class Side:
    """A training with fresh weights, and the losses of its steps."""

    def __init__(self, recipe: Recipe, runtime: Runtime, net: nn.Module | None = None) -> None:
        torch.manual_seed(0)
        self.net = runtime.place(net or build("sdnet18", num_classes=10, width=4)).train()
        self.training, self.runtime = Training.start(recipe, self.net, 10), runtime
        self.plain = PlainStep(self.training, self.net, runtime)

    def captured(self, progress: Progress | None = None, *, images: int = 0) -> CapturedStep:
        forward = Compiled(self.net, images, progress or Progress())
        step = PlainStep(self.training, forward, self.runtime)
        return CapturedStep(step, self.training.optimizer, self.runtime.device, progress or Progress())

    def run(self, step: Any, given: list[Batch]) -> list[float]:
        losses = []
        for batch in given:
            loss, correct = step(batch)
            self.training.follow()
            losses.append(float(loss))
            assert 0 <= int(correct) <= len(batch.labels)
        return losses

    @property
    def weights(self) -> Tensor:
        return torch.cat([each.detach().double().flatten().cpu() for each in self.net.parameters()])


def test_a_step_on_static_buffers_is_the_plain_step_bit_by_bit(recipe: Recipe, runtime: Runtime) -> None:
    given = batches(13, 8, runtime.device, last=5)
    plain, static = Side(recipe, runtime), Side(recipe, runtime)
    assert plain.run(plain.plain, given) == static.run(static.captured(), given)
    states = [side.training.state(recipe, ()) for side in (plain, static)]
    for name in ("net", "projection", "optimizer", "scheduler"):
        torch.testing.assert_close(states[0][name], states[1][name], rtol=0, atol=0)


def test_the_images_given_are_not_kept(recipe: Recipe, runtime: Runtime) -> None:
    """Batches may come in memory that the next batch overwrites."""
    side = Side(recipe, runtime)
    step, (first, second) = side.captured(), batches(2, 4, runtime.device)
    step(first)
    before = first.images.clone()
    step(second)
    assert torch.equal(first.images, before)


def test_adam_steps_to_rounding_as_it_does_alone(recipe: Recipe, runtime: Runtime) -> None:
    chosen, given = recipe.replace(optimizer=Adam(name="adam").model_dump()), batches(5, 8, runtime.device)
    plain, static = Side(chosen, runtime), Side(chosen, runtime)
    assert plain.run(plain.plain, given) == pytest.approx(static.run(static.captured(), given), rel=1e-4)


def test_the_schedule_works_with_numbers_and_the_step_with_a_tensor(recipe: Recipe, runtime: Runtime) -> None:
    side, seen = Side(recipe, runtime), []
    (group,) = side.training.optimizer.param_groups
    before = dict(group)
    side.training.optimizer.register_step_pre_hook(lambda *_: seen.append(group["lr"]))
    side.run(side.captured(), batches(3, 4, runtime.device))
    assert all(isinstance(rate, Tensor) for rate in seen)
    assert group == before | {"lr": side.training.scheduler.get_last_lr()[0]}
    broken = CapturedStep(Broken(), side.training.optimizer, runtime.device, Progress())
    with pytest.raises(ZeroDivisionError):
        broken(batches(1, 4, runtime.device)[0])
    assert isinstance(group["lr"], float)


class Broken:
    how = ""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        raise ZeroDivisionError


def test_eigenvectors_stay_where_they_are(recipe: Recipe, runtime: Runtime) -> None:
    side = Side(recipe, runtime)
    (vector,) = side.training.projection.state_dict()["vectors"]
    before = vector.clone()
    side.run(side.plain, batches(1, 4, runtime.device))
    (after,) = side.training.projection.state_dict()["vectors"]
    assert after is vector
    assert not torch.equal(after, before)


@pytest.mark.slow
def test_a_long_training_is_compiled_and_a_short_one_is_not(runtime: Runtime) -> None:
    net, pixels = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(1800, 10)), torch.rand(2, 3, 32, 32)
    for images, expected in ((1000, False), (HOW_MANY, True)):
        forward = Compiled(net, images, Progress())
        torch.testing.assert_close(forward(pixels), net(pixels))
        assert forward.is_compiled == expected


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Tensor) -> Tensor:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(torch, "compile", lambda _: refuse)
    net, pixels = nn.Flatten(), torch.rand(2, 3, 32, 32)
    forward = Compiled(net, HOW_MANY, told)
    assert torch.equal(forward(pixels), net(pixels))
    assert torch.equal(forward(pixels), net(pixels))
    assert told.notes == ["the network is not compiled: Failed to find C compiler"]
    assert not forward.is_compiled


@pytest.fixture
def cuda() -> Runtime:
    return Runtime.create("cuda", "float32")


@pytest.mark.cuda
def test_a_hundred_captured_steps_have_the_losses_of_plain_ones(recipe: Recipe, cuda: Runtime) -> None:
    chosen, given = recipe.replace(epochs=10), batches(100, 32, cuda.device)
    plain, captured = Side(chosen, cuda), Side(chosen, cuda)
    step = captured.captured()
    expected = plain.run(plain.plain, given)
    assert captured.run(step, given) == pytest.approx(expected, rel=2e-3)
    assert step.how == "captured"
    assert len(set(expected)) == 100


@pytest.mark.cuda
def test_a_short_last_batch_and_adam_are_captured_too(recipe: Recipe, cuda: Runtime) -> None:
    chosen = recipe.replace(optimizer=Adam(name="adam").model_dump(), epochs=4)
    given = batches(20, 32, cuda.device) + batches(20, 32, cuda.device, last=7)
    plain, captured = Side(chosen, cuda), Side(chosen, cuda)
    step = captured.captured()
    assert captured.run(step, given) == pytest.approx(plain.run(plain.plain, given), rel=1e-2)
    assert step.how == "captured"


@pytest.mark.cuda
def test_float32_has_no_tf32_inside(recipe: Recipe, cuda: Runtime) -> None:
    """TF32 keeps 10 bits: its losses would be off by 1e-3 where those of float32 are by 1e-6."""
    given = batches(14, 32, cuda.device)
    exact = Side(recipe.replace(optimizer={"lr": 1e-9}), Runtime.create("cpu", "float32"))
    expected = exact.run(exact.plain, batches(14, 32, torch.device("cpu")))
    side = Side(recipe.replace(optimizer={"lr": 1e-9}), cuda)
    step = side.captured()
    assert side.run(step, given) == pytest.approx(expected, rel=3e-5)
    assert step.how == "captured"


@pytest.mark.cuda
def test_a_compiled_network_is_captured(recipe: Recipe, cuda: Runtime) -> None:
    given = batches(20, 32, cuda.device)
    plain, captured = Side(recipe, cuda), Side(recipe, cuda)
    step = captured.captured(images=HOW_MANY)
    assert captured.run(step, given) == pytest.approx(plain.run(plain.plain, given), rel=1e-2)
    assert step.how == "captured, compiled"


class Asking(nn.Module):
    """Asks the host in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.head(pixels.flatten(1))
        return logits if logits.sum() > 1e9 else logits * 1


@pytest.mark.cuda
def test_a_network_that_asks_the_host_is_trained_step_by_step(recipe: Recipe, cuda: Runtime, told: Any) -> None:
    given = batches(20, 8, cuda.device)
    plain, other = Side(recipe, cuda, Asking()), Side(recipe, cuda, Asking())
    step = other.captured(told)
    assert other.run(step, given) == pytest.approx(plain.run(plain.plain, given), rel=1e-3)
    assert step.how == ""
    (note,) = told.notes
    assert note.startswith("training is not captured as a CUDA graph: test_capture.py, line ")


class Trained:
    """Trains digits on CUDA into a folder of its own."""

    def __init__(self, recipe: Recipe, dataset: Dataset, folder: Path) -> None:
        self.recipe, self.dataset, self.folder = recipe, dataset, folder

    def __call__(self, name: str, precision: str, progress: Progress | None = None, **options: bool) -> Training:
        torch.manual_seed(0)
        net = build_net(configure(self.recipe.backbone, self.dataset))
        runtime, options = Runtime.create("cuda", precision), {"resume": False} | options
        return train(self.recipe, net, self.dataset, self.folder / name, runtime, progress or Progress(), **options)


@pytest.fixture
def trained(recipe: Recipe, digits: Dataset, tmp_path: Path) -> Trained:
    return Trained(recipe, digits, tmp_path)


def distance(one: Training, other: Training) -> float:
    """Between the parameters of two networks, relative to their norm."""
    first, second = (torch.cat([each.detach().flatten() for each in net.parameters()]) for net in (one.net, other.net))
    return float((first - second).norm() / first.norm())


@pytest.mark.cuda
def test_weights_after_two_epochs_are_those_of_plain_steps_within_the_noise_of_bfloat16(trained: Trained) -> None:
    captured, plain = trained("captured", "bfloat16"), trained("plain", "bfloat16", capture=False)
    noise = distance(plain, trained("exact", "float32", capture=False))
    assert (captured.how, plain.how) == ("captured", "")
    assert distance(captured, plain) < 2 * noise


class CtrlC(Progress):
    """Interrupts in the second epoch."""

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        if title.startswith("epoch 2/"):
            raise InterruptError("interrupted")
        yield Task()


@pytest.mark.cuda
def test_an_interrupted_training_goes_on_captured(trained: Trained) -> None:
    with pytest.raises(InterruptError):
        trained("run", "float32", CtrlC())
    resumed, whole = trained("run", "float32", resume=True), trained("whole", "float32")
    assert resumed.how == "captured"
    assert distance(resumed, whole) < distance(whole, trained("noise", "bfloat16"))


@pytest.mark.cuda
def test_the_record_of_a_training_says_how_its_steps_were_made(recipe: Recipe, tmp_path: Path, told: Any) -> None:
    runtime = Runtime.create("cuda")
    found = {}
    for name, backbone, capture in (("a", "sdnet18", True), ("b", "sdnet18", False), ("c", "mdeq_tiny", True)):
        chosen = recipe.replace(name=name, backbone={"name": backbone}, epochs=1, limit=512)
        bench = train_model(chosen, tmp_path, tmp_path, runtime, told, capture=capture)
        (training,) = [record for record in bench.store if record.cell.kind == "training"]
        found[name] = training.provenance.get("step")
    assert found == {"a": "captured", "b": None, "c": None}
    assert (
        told.notes.count("training is not captured as a CUDA graph: a module of the network acts after every step") == 1
    )
