"""Training: projected stochastic gradient descent on the cross-entropy (paper, equation 5).

One epoch is one deterministic function of the seed and the epoch's number, so an interrupted run that goes on
ends where an uninterrupted one does.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import broadcast
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from ..backbones import HasAfterStep, convergence
from ..config import STATE, MultiStep, OneCycle, Recipe
from ..csc import DictionaryProjection
from ..data import Batch, Dataset, Split, limited
from ..errors import ModelError, TrainingError, listed
from ..files import reading, replacing
from ..progress import Progress, Task
from ..zoo.classes import first_difference
from .capture import CapturedStep, Compiled, Step
from .evaluate import evaluate, shard
from .runtime import Runtime, seed_everything
from .tracking import Report, Row, stem_figures

COLUMNS = {"epoch", "lr", "loss", "accuracy", "seconds", "images_per_second", "peak_memory", "validation_accuracy"}
"""What a row of the history has at least."""
SAVE_EVERY = 30.0
"""Seconds between two writings of the state; 90 MB after every epoch of a second would be much of a training."""
State = dict[str, Any]
"""What `training.pt` holds."""
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


@dataclass
class Training:
    """The state of a training: network, optimizer, schedule, projection and history."""

    net: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    projection: DictionaryProjection
    after_step: list[Callable[[], None]]
    """Callbacks of modules that follow the optimizer, called after every step."""
    history: list[Row] = field(default_factory=list)
    """One row per finished epoch."""
    how: str = ""
    """How steps were made: "captured" as a CUDA graph, "captured, compiled", or nothing for plain ones."""

    @classmethod
    def start(cls, recipe: Recipe, net: nn.Module, steps_per_epoch: int) -> Training:
        settings = recipe.optimizer.model_dump()
        if settings.get("momentum") == 0:
            settings["nesterov"] = False  # the same steps; torch refuses both
        optimizer = OPTIMIZERS[settings.pop("name")](net.parameters(), **settings)
        scheduler = _schedule(recipe, optimizer, steps_per_epoch)
        after_step = [module.after_step for module in net.modules() if isinstance(module, HasAfterStep)]
        return cls(net, optimizer, scheduler, DictionaryProjection(net), after_step)

    def step(self, loss: Tensor) -> None:
        """One step of projected SGD; nothing in it waits for the device."""
        self.update(loss)
        self.follow()

    def update(self, loss: Tensor) -> None:
        """The part of a step that is the device's."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.projection()

    def follow(self) -> None:
        """The part of a step that is Python's."""
        for act in self.after_step:
            act()
        self.scheduler.step()

    def state(self, recipe: Recipe, classes: tuple[str, ...]) -> State:
        """What `restore` restores; its tensors are those of the training."""
        parts = {name: getattr(self, name).state_dict() for name in self._PARTS}
        made_of = {"recipe": recipe.model_dump_json(), "classes": classes}
        return parts | made_of | {"history": self.history, "how": self.how}

    def restore(self, path: Path, recipe: Recipe, dataset: Dataset, device: torch.device) -> None:
        """Restores a saved state; a `ModelError` if it is damaged or belongs to another recipe or to other classes."""
        with reading(path, ModelError, hint="Train anew with --overwrite."):
            with ZipFile(path) as archive:
                if damaged := archive.testzip():  # torch does not compare the checksums
                    raise ValueError(f"the checksum of {damaged} differs")
            state = torch.load(path, map_location=device, weights_only=True)
            if state["recipe"] != recipe.model_dump_json():
                hint = "Give the options of that run again, or train anew with --overwrite."
                raise ModelError(f"{path} was left by another recipe", hint=hint)
            classes = tuple(state.get("classes", dataset.classes))  # earlier versions kept none
            if classes != dataset.classes:
                hint = "Name the folder of its own data with --data-dir, or train anew with --overwrite."
                faults = first_difference(classes, len(classes), dataset)
                raise ModelError(f"{path} was left by a training on other classes", **faults, hint=hint)
            for name in self._PARTS:
                part = getattr(self, name)
                if _form(state[name] | {"state": None}) != _form(part.state_dict() | {"state": None}):
                    raise ValueError(f"the state of another {name}")
                part.load_state_dict(state[name])
            for parameter, moments in self.optimizer.state.items():  # a fresh one has none to compare with
                if not all(each.shape in (parameter.shape, ()) for each in moments.values() if each is not None):
                    raise ValueError("the state of another optimizer")
            _check_history(state["history"], recipe.epochs)
            self.history, self.how = state["history"], str(state.get("how", self.how))

    _PARTS = ("net", "optimizer", "scheduler", "projection")


def save(folder: Path, state: State) -> None:
    """Writes `history.csv`, then `training.pt`; after a crash between them the epochs are trained again."""
    with replacing(folder / "history.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, state["history"][0])
        writer.writeheader()
        writer.writerows(state["history"])
    with replacing(folder / STATE) as path:
        content = BytesIO()  # torch hides why it cannot write to a file
        torch.save(state, content)
        path.write_bytes(content.getbuffer())


@contextmanager
def saving(folder: Path, every: float = SAVE_EVERY) -> Iterator[Callable[[State], None]]:
    """Yields a function that takes the state after an epoch, and writes it if the last writing was long ago.

    Otherwise it keeps a copy, which is written when the block ends, also by Ctrl-C or an error.
    """
    kept: list[State] = []
    due = time.monotonic() + every

    def take(state: State) -> None:
        nonlocal due
        if time.monotonic() < due:
            kept[:] = [_copied(state)]
            return
        save(folder, state)
        kept.clear()
        due = time.monotonic() + every

    try:
        yield take
    finally:
        for state in kept:
            save(folder, state)


def train(
    recipe: Recipe,
    net: nn.Module,
    dataset: Dataset,
    folder: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    resume: bool,
    capture: bool = True,
    report: Report | None = None,
) -> Training:
    """Trains a network by a recipe and returns it with its history; it stays on the device, in eval mode.

    After an epoch the state goes to `folder / training.pt` and the history to `folder / history.csv`, every
    `SAVE_EVERY` seconds and at the end. With `capture` the steps of one process on CUDA are a `CapturedStep`;
    `report` takes the row of each epoch, with the figures of the stem.

    Raises:
        TrainingError: the loss or a weight is no longer finite, or there are fewer images than processes.
    """
    images, batch_size = _even_shard(limited(dataset.open("train"), recipe.limit), recipe.batch_size, runtime)
    validation = dataset.open("validation")
    net = runtime.place(net)
    runtime.reset_peak_memory()
    training = Training.start(recipe, net, max(1, len(images) // batch_size))
    finite = _finite(net)
    if resume and (folder / STATE).exists():
        training.restore(folder / STATE, recipe, dataset, runtime.device)
        progress.note(f"resuming after epoch {len(training.history)} of {recipe.epochs}")
    step = _step_of(training, recipe.epochs * len(images), runtime, progress, capture)
    with saving(folder) as take:
        for epoch in range(len(training.history), recipe.epochs):
            words = (recipe.seed, epoch, runtime.processes.process_index)
            seed = int(np.random.SeedSequence(words).generate_state(1)[0])
            seed_everything(seed)  # of what the network draws: dropout
            with progress.task(f"epoch {epoch + 1}/{recipe.epochs}", len(images)) as task, convergence(net) as solves:
                row = _run_epoch(training, step, images.augmented(batch_size, runtime.device, seed), runtime, task)
            broadcast(list(net.buffers()))  # in place: each process has statistics of its own since its last batch
            lost = finite - _finite(net) if math.isfinite(row["loss"]) else {"the loss"}
            if lost:
                what = f"training diverged in epoch {epoch + 1}: not finite: {listed(lost, 3)}"
                raise TrainingError(what, hint="Lower the learning rate in the recipe.")
            row |= solves.forward.summary() if solves.forward is not None else {}
            correct = evaluate(net, validation, runtime)[None].correct
            training.history.append({"epoch": epoch + 1, **row, "validation_accuracy": float(correct.mean())})
            training.how = step.how
            if runtime.processes.is_main_process:
                take(training.state(recipe, dataset.classes))
            if report:
                report(training.history[-1] | stem_figures(net, validation, runtime))
            progress.note(_line(training.history[-1], recipe.epochs))
    training.projection.settle()
    net.eval()
    return training


@dataclass(frozen=True)
class PlainStep:
    """A step of training as it is written, without the part of Python."""

    training: Training
    forward: Callable[[Tensor], Tensor]
    runtime: Runtime

    @property
    def how(self) -> str:
        return "compiled" if isinstance(self.forward, Compiled) and self.forward.is_compiled else ""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, correct = loss_of(self.forward, batch, self.runtime)
        self.training.update(loss)
        return loss.detach(), correct


def _step_of(training: Training, images: int, runtime: Runtime, progress: Progress, capture: bool) -> Step:
    """The step of a training that passes so many images: captured on CUDA in one process, if `capture` says so."""
    net = training.net
    if runtime.processes.num_processes > 1:
        return PlainStep(training, DistributedDataParallel(net), runtime)
    if not capture or runtime.device.type != "cuda":
        return PlainStep(training, net, runtime)
    if training.after_step:
        progress.note("training is not captured as a CUDA graph: a module of the network acts after every step")
        return PlainStep(training, net, runtime)
    step = PlainStep(training, Compiled(net, images, progress), runtime)
    return CapturedStep(step, training.optimizer, runtime.device, progress)


def _run_epoch(training: Training, step: Step, batches: Iterable[Batch], runtime: Runtime, task: Task) -> Row:
    """One pass over the training images of all processes; the device is read once, at the end."""
    training.net.train()
    started, images = time.perf_counter(), 0
    losses, hits = torch.zeros((), device=runtime.device), torch.zeros((), device=runtime.device)
    for batch in batches:
        loss, correct = step(batch)
        training.follow()
        losses += loss * len(batch.labels)
        hits += correct
        images += len(batch.labels)
        task.advance(len(batch.labels))
    images *= runtime.processes.num_processes
    mean_loss, accuracy = (runtime.sum(torch.stack((losses, hits))) / images).tolist()
    seconds = time.perf_counter() - started
    return {
        "lr": training.optimizer.param_groups[0]["lr"],
        "loss": mean_loss,
        "accuracy": accuracy,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "peak_memory": runtime.peak_memory(),
    }


def loss_of(forward: Callable[[Tensor], Tensor], batch: Batch, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy of a batch and how many of its images are classified correctly."""
    with runtime.autocast():
        logits = forward(runtime.to_pixels(batch.images))
    return F.cross_entropy(logits.float(), batch.labels), (logits.argmax(1) == batch.labels).sum()


def _schedule(recipe: Recipe, optimizer: Optimizer, steps_per_epoch: int) -> LRScheduler:
    """The recipe's schedule, stepped once per batch."""
    schedule, steps = recipe.schedule, recipe.epochs * steps_per_epoch
    if isinstance(schedule, MultiStep):
        return MultiStepLR(optimizer, [epoch * steps_per_epoch for epoch in schedule.milestones], schedule.gamma)
    if isinstance(schedule, OneCycle):
        return OneCycleLR(
            optimizer,
            recipe.optimizer.lr,
            total_steps=steps + 1,
            pct_start=max(schedule.warmup, 2 / (steps + 1)),  # at least one step up
            anneal_strategy="linear",
            cycle_momentum=False,
        )
    return CosineAnnealingLR(optimizer, steps, schedule.final_lr)


def _even_shard(split: Split, batch_size: int, runtime: Runtime) -> tuple[Split, int]:
    """The images of this process and its batch size, equal in all processes."""
    count = runtime.processes.num_processes
    even = split.subset(range(len(split) // count * count)) if len(split) % count else split
    share = shard(even, runtime)
    if not len(share):
        raise TrainingError("fewer training images than processes", got=len(split))
    return share, max(1, batch_size // count)


def images_per_step(recipe: Recipe, dataset: Dataset, runtime: Runtime) -> int:
    """Number of images of a step of training in this process."""
    images, batch_size = _even_shard(limited(dataset.open("train"), recipe.limit), recipe.batch_size, runtime)
    return min(batch_size, len(images))


def _line(row: Row, epochs: int) -> str:
    solved = "  equilibrium at {equilibrium_residual:.1e} after {equilibrium_steps:.1f} steps"
    return (
        f"epoch {row['epoch']:.0f}/{epochs}  loss {row['loss']:.3f}  train {row['accuracy']:.2%}  "
        f"validation {row['validation_accuracy']:.2%}  {row['images_per_second']:.0f} images/s"
        + (solved.format(**row) if "equilibrium_residual" in row else "")
    )


def _finite(net: nn.Module) -> set[str]:
    """The names of parameters and buffers whose values are all finite."""
    return {name for name, tensor in net.state_dict().items() if tensor.isfinite().all()}


def _copied(state: Any) -> Any:
    """A copy of a state on the CPU, which later steps do not change."""
    if isinstance(state, dict):
        twin = copy(state)  # of its own kind: MultiStepLR has a Counter
        for key, value in state.items():
            twin[key] = _copied(value)
        return twin
    if isinstance(state, list):
        return [_copied(value) for value in state]
    return state.to("cpu", copy=True) if isinstance(state, Tensor) else state


def _form(state: object) -> object:
    """The structure of a saved state: keys and lengths, shapes and types of tensors, types of other values."""
    if isinstance(state, Mapping):
        return {key: _form(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_form(value) for value in state]
    if isinstance(state, Tensor):
        return state.shape, state.dtype
    return float if isinstance(state, int) else type(state)


def _check_history(history: object, epochs: int) -> None:
    """Raises a ValueError where a saved history has not one row of numbers for each epoch."""
    rows = TypeAdapter(list[Row]).validate_python(history)
    is_whole = len({frozenset(row) for row in rows}) <= 1 and all(row.keys() >= COLUMNS for row in rows)
    if not is_whole or len(rows) > epochs or [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError("the history of another training")
