"""Training speed, inference speed and training memory of backbones, side by side with ResNet-18.

The columns "Speed" and "Memory" of the paper's Tables 1 and 6 are of one machine. Ratios to ResNet-18 can be compared
between machines. In every round each network runs for a short time, and is compared with ResNet-18 in the same round.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import re
import signal
import statistics
import time
import tomllib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from ..backbones import build, count_parameters, defaults
from ..config import SGD, Backbone, MultiStep, Recipe
from ..data import Batch
from ..engine.memory import return_freed_blocks
from ..engine.runtime import Runtime, seed_everything
from ..engine.train import Training, loss_of
from ..errors import TrainingError, UsageError, first_fault
from ..progress import Progress

MEASURE = "resnet18"
"""The network that the others are compared with."""
NETWORKS = (
    MEASURE,
    "resnet34",
    "sdnet18",
    "sdnet34",
    "sdnet18_all",
    "sdnet18_all,gradient_checkpointing=true",
    "sdnet34_all",
    "scn18",
    "scn",
    "mdeq",
)
MOMENT = 0.3
"""Least number of seconds that a network runs in a round."""
SIDE, NUM_CLASSES = 32, 10
UNIFORM = {"mean": [0.5] * 3, "std": [12**-0.5] * 3}
"""Mean and standard deviation of pixels that are uniform in [0, 1]."""

Clock = Callable[[], float]
"""Returns a time in seconds."""


@dataclass(frozen=True)
class Network:
    """A network whose speed is measured: a backbone with options of its builder."""

    title: str
    """Name and options as given, such as `mdeq,width=8`."""
    name: str
    options: dict[str, Any]
    parameters: int = 0
    """Number of trainable parameters, counted by `parse`."""

    @classmethod
    def parse(cls, title: str, scale: float) -> Network:
        """Parses `name` or `name,option=value,...`, where values are TOML, and a bare word is text.

        Unless the options set them, the width is `scale` times the builder's default, at least 1, and the warm-up of
        training is over. Raises a `UsageError` where the network cannot be parsed or built.
        """
        name, _, rest = title.partition(",")
        options = _parse_options(rest, title)
        usual = defaults(name)
        if isinstance(usual.get("width"), int):
            options.setdefault("width", max(1, round(scale * usual["width"])))
        if "warmup" in usual:
            options.setdefault("warmup", 0)
        try:
            Backbone(name=name, options={"given": options})
        except ValidationError as error:
            raise UsageError(f"{title}: {first_fault(error)}") from None
        network = cls(title, name, options)
        return replace(network, parameters=count_parameters(network.build()))

    def build(self) -> nn.Module:
        """The network with fresh weights; for ten classes unless its options set another number."""
        return build(self.name, **{"num_classes": NUM_CLASSES, **UNIFORM, **self.options})


def _parse_options(text: str, title: str) -> dict[str, Any]:
    """Parses `option=value,...` as the content of an inline table of TOML; bare words are put in quotes."""
    table = re.sub(r"(?<==)(?!(?:true|false|inf|nan)\b)[A-Za-z_]\w*(?=,|$)", r'"\g<0>"', text)
    try:
        options: dict[str, Any] = tomllib.loads(f"options = {{{table}}}")["options"]
    except tomllib.TOMLDecodeError:
        raise UsageError("not a network", expected="name or name,option=value,...", got=title) from None
    return options


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of a figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """Median and range as text: "0.87 [0.84, 0.91]", or the number alone where all rounds agree."""
        if self.low == self.high:
            return show_ratio(self.median)
        return f"{show_ratio(self.median)} [{show_ratio(self.low)}, {show_ratio(self.high)}]"


def show_ratio(ratio: float) -> str:
    """A ratio with two decimals, or with two significant digits where it is small."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


@dataclass(frozen=True)
class Figure:
    """A figure of a network in every round, and its ratio to that of ResNet-18 in the same round."""

    rounds: tuple[float, ...]
    ratio: Spread

    @classmethod
    def of(cls, rounds: Sequence[float], measure: Sequence[float]) -> Figure:
        return cls(tuple(rounds), Spread.of([own / other for own, other in zip(rounds, measure, strict=True)]))

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Measurement:
    """The figures of a network: images/s in training and in inference, and bytes of memory in training."""

    network: Network
    training: Figure
    inference: Figure
    memory: Figure

    def row(self) -> dict[str, Any]:
        """The figures as a line of a table."""
        return {
            "network": self.network.title,
            "width": self.network.options.get("width"),
            "parameters": f"{self.network.parameters:,}",
            "training images/s": f"{self.training.median:,.1f}",
            "x training": str(self.training.ratio),
            "inference images/s": f"{self.inference.median:,.1f}",
            "x inference": str(self.inference.ratio),
            "memory MB": f"{self.memory.median / 1e6:,.0f}",
            "x memory": str(self.memory.ratio),
        }

    def data(self) -> dict[str, Any]:
        """The figures of every round, unrounded."""
        fields = asdict(self)
        return {"contender": fields.pop("network"), **fields}


@dataclass(frozen=True)
class Loaded:
    """A network on the device with one batch of images.

    Steps are those of training, with SGD for every network and a learning rate so small that the weights hardly change.
    With fresh weights an MDEQ takes the largest number of solver steps; a trained one takes fewer.
    """

    training: Training
    batch: Batch
    runtime: Runtime

    @classmethod
    def of(cls, network: Network, batch_size: int, runtime: Runtime) -> Loaded:
        seed_everything(0)
        net = runtime.place(network.build())
        training = Training.start(_recipe(network, batch_size), net, 1)
        images = torch.randint(256, (batch_size, 3, SIDE, SIDE), dtype=torch.uint8).to(runtime.device)
        none = torch.zeros(batch_size, dtype=torch.int64, device=runtime.device)
        return cls(training, Batch(none, images, none), runtime)

    def train(self) -> None:
        """One training step; the network must be in training mode."""
        loss, _ = loss_of(self.training.net, self.batch, self.runtime)
        self.training.step(loss)

    @torch.no_grad()
    def classify(self) -> None:
        """Classifies one batch; the network must be in eval mode."""
        with self.runtime.autocast():
            self.training.net(self.runtime.to_pixels(self.batch.images))


def _recipe(network: Network, batch_size: int) -> Recipe:
    return Recipe(
        name="bench",
        dataset="noise",
        backbone=Backbone(name=network.name, options=network.options),
        epochs=1,
        batch_size=batch_size,
        optimizer=SGD(lr=1e-6),
        schedule=MultiStep(name="multistep", milestones=()),
    )


def run_bench(
    titles: Sequence[str], runtime: Runtime, progress: Progress, *, scale: float, batch_size: int, rounds: int
) -> list[Measurement]:
    """Measures the networks of these titles, by default `NETWORKS`; ResNet-18 is always measured, and first.

    `Network.parse` reads the titles; `scale` > 0 is a factor of the widths. At least one image and one round are taken.

    Raises:
        UsageError: a network cannot be read or built, or `scale` is out of range.
        TrainingError: the process that measures memory ended early.
    """
    if not 0 < scale < math.inf:
        raise UsageError("scale out of range", expected="a finite number > 0", got=scale)
    networks = [Network.parse(title, scale) for title in dict.fromkeys([MEASURE, *(titles or NETWORKS)])]
    progress.note(
        f"plan: {len(networks)} networks, batches of {batch_size} images of {SIDE}x{SIDE}, {runtime.precision} on "
        f"{runtime.device.type}; memory, then {rounds} rounds of training and {rounds} of inference"
    )
    progress.note(f"fresh weights, an SGD for every network; memory, measured once, is {memory_means(runtime)}")
    memory = _memory(networks, batch_size, runtime, progress)
    loaded = {network.title: Loaded.of(network, batch_size, runtime) for network in networks}
    training = _speeds(loaded, "training", rounds, progress)
    inference = _speeds(loaded, "inference", rounds, progress)
    return [
        Measurement(network, *(Figure.of(kind[network.title], kind[MEASURE]) for kind in (training, inference, memory)))
        for network in networks
    ]


def _speeds(loaded: Mapping[str, Loaded], what: str, rounds: int, progress: Progress) -> dict[str, list[float]]:
    """Images/s of each network in every round; `what` is "training" or "inference"."""
    for each in loaded.values():
        each.training.net.train(what == "training")
    first = loaded[MEASURE]
    steps = {title: each.train if what == "training" else each.classify for title, each in loaded.items()}
    seconds = take_turns(steps, rounds, clock_of(first.runtime), progress, what)
    return {title: [len(first.batch.labels) / each for each in times] for title, times in seconds.items()}


def take_turns(
    steps: Mapping[str, Callable[[], object]], rounds: int, clock: Clock, progress: Progress, what: str
) -> dict[str, list[float]]:
    """Seconds per step of each network in every round.

    The networks run one after another, and each round begins with another one. Before the first round each runs twice,
    to warm up and to find the number of runs in a `MOMENT`.
    """
    with progress.task(f"{what}, warming up", len(steps), "turns") as task:
        guesses = {}
        for title, step in steps.items():
            step()
            guesses[title] = _time(step, 1, clock)
            task.advance(1)
    progress.note(f"{what}: {rounds} rounds of {sum(max(MOMENT, guess) for guess in guesses.values()):.0f} s or so")
    seconds: dict[str, list[float]] = {title: [] for title in steps}
    order = deque(steps)
    for number in range(1, rounds + 1):
        with progress.task(f"{what}, round {number} of {rounds}", len(steps), "turns") as task:
            for title in order:
                runs = math.ceil(max(MOMENT, guesses[title]) / guesses[title])
                seconds[title].append(_time(steps[title], runs, clock))
                task.advance(1)
        order.rotate(-1)
    return seconds


def _time(step: Callable[[], object], runs: int, clock: Clock) -> float:
    """Seconds per run."""
    started = clock()
    for _ in range(runs):
        step()
    return (clock() - started) / runs


def clock_of(runtime: Runtime) -> Clock:
    """A clock that first synchronises with the device."""
    synchronize = getattr(torch, runtime.device.type).synchronize

    def clock() -> float:
        synchronize()
        return time.perf_counter()

    return clock


def memory_means(runtime: Runtime) -> str:
    """The meaning of a figure of memory on this device, in words."""
    if runtime.device.type == "cuda":
        return "the peak that is allocated on the device in a step of training"
    return "the peak resident set of a process that trains the network, less what it held before"


def _memory(
    networks: Sequence[Network], batch_size: int, runtime: Runtime, progress: Progress
) -> dict[str, list[float]]:
    """Bytes of memory of each network, by title; see `memory_means`."""
    peak = _peak_allocated if runtime.device.type == "cuda" else peak_resident
    found = {}
    with progress.task("memory", len(networks), "networks") as task:
        for network in networks:
            found[network.title] = [float(peak(network, batch_size, runtime))]
            task.advance(1)
    return found


def _peak_allocated(network: Network, batch_size: int, runtime: Runtime) -> int:
    """Peak bytes allocated on the device by a training step, with the optimiser's state and no other network."""
    gc.collect()
    each = Loaded.of(network, batch_size, runtime)
    each.train()
    runtime.reset_peak_memory()
    each.train()
    return runtime.peak_memory()


def peak_resident(network: Network, batch_size: int, runtime: Runtime) -> int:
    """Peak bytes of two training steps, measured in a separate process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(sender, network, batch_size, replace(runtime)), daemon=True)
    process.start()
    sender.close()
    try:
        peak: int = receiver.recv()
    except EOFError:
        hint = "Give a smaller --batch-size or --scale."
        raise TrainingError(f"the process that trained {network.title} ended early", hint=hint) from None
    finally:
        process.kill()
        process.join()
    return peak


def _send_peak(sender: Connection, network: Network, batch_size: int, runtime: Runtime) -> None:
    """The separate process: trains a narrow ResNet-18 first, so that torch's libraries are loaded before measuring."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    return_freed_blocks()
    Loaded.of(Network.parse(f"{MEASURE},width=1", 1), 1, runtime).train()
    gc.collect()
    runtime.reset_peak_memory()
    before = runtime.peak_memory()
    each = Loaded.of(network, batch_size, runtime)
    for _ in range(2):
        each.train()
    sender.send(runtime.peak_memory() - before)
