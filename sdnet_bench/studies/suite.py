"""The fast ways of this package beside the plain ones, in turns: `sdnet-bench bench --suite`.

Training and inference are timed on random images of 32x32. Everything else is timed on handwritten digits, with a small
SDNet that is trained first. Both ways have the same images, weights and random numbers.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..attacks import AttackRun
from ..attacks.draws import ImageDraws
from ..attacks.victim import ChannelsLast
from ..config import LAMBDAS
from ..data import CORRUPTIONS, Augmentation, Noise, Split, TensorSplit
from ..engine.batches import BATCH_SIZE
from ..engine.evaluate import evaluate
from ..engine.robust import RobustEval, robust_evaluate
from ..engine.runtime import Runtime
from ..progress import Progress
from ..records import AttackSetting, Threat
from .algorithm1 import full_grid, swept
from .protocols import attack_setting
from .race import race
from .speed import MEASURE, SIDE, Figure, Loaded, Network, clock_of, take_turns
from .training import find_recipe, train_model
from .workbench import Workbench

RADIUS = 32 / 255
"""Of the attack, under Linf: digits fall to it as CIFAR-10 does to 8/255."""
SEVERITY = 3
Step = Callable[[], object]


@dataclass(frozen=True)
class SuiteSize:
    """The sizes of the suite: images of an epoch, of a lambda sweep and of a race, attacked images; epochs before."""

    trained: int = 1024
    tested: int = 360
    raced: int = 1000
    attacked: int = 100
    epochs: int = 4
    width: int = 8


@dataclass(frozen=True)
class Comparison:
    """Images/s of one way to a result in every round, and their ratio to those of another way."""

    what: str
    beside: str
    figure: Figure
    plain: Figure

    def row(self) -> dict[str, str]:
        """The comparison as a line of a table."""
        return {
            "what": self.what,
            "images/s": f"{self.figure.median:,.1f}",
            "beside": self.beside,
            "its images/s": f"{self.plain.median:,.1f}",
            "x": str(self.figure.ratio),
        }


@dataclass(frozen=True)
class Suite:
    """Times ways in turns."""

    runtime: Runtime
    progress: Progress
    rounds: int

    def compare(self, what: str, images: int, steps: Mapping[str, Step]) -> list[Comparison]:
        """Each step beside the last one; a step works on `images` images."""
        *ours, beside = steps
        clock = clock_of(self.runtime)
        seconds = take_turns(steps, self.rounds, clock, self.progress, what)
        rates = {name: [images / each for each in times] for name, times in seconds.items()}
        plain = Figure.of(rates[beside], rates[beside])
        return [Comparison(name, beside, Figure.of(rates[name], rates[beside]), plain) for name in ours]


def run_suite(
    runtime: Runtime, progress: Progress, *, scale: float, batch_size: int, rounds: int, size: SuiteSize | None = None
) -> list[Comparison]:
    """All comparisons; `scale` is a factor of the widths of the networks that are trained on random images."""
    suite, size = Suite(runtime, progress, rounds), size or SuiteSize()
    networks = {title: Network.parse(title, scale) for title in ("sdnet18", MEASURE)}
    with TemporaryDirectory() as folder:
        return [
            *_networks(suite, networks, batch_size),
            *_training(suite, networks[MEASURE], batch_size, size.trained),
            *_measuring(suite, _trained(Path(folder), runtime, progress, size), size),
        ]


def _networks(suite: Suite, networks: Mapping[str, Network], batch_size: int) -> Iterator[Comparison]:
    """One step of training and of inference of an SDNet-18 beside a ResNet-18."""
    loaded = {title: Loaded.of(network, batch_size, suite.runtime) for title, network in networks.items()}
    for what in ("training", "inference"):
        for each in loaded.values():
            each.training.net.train(what == "training")
        steps = {
            f"{what}, {title}": each.train if what == "training" else each.classify for title, each in loaded.items()
        }
        yield from suite.compare(what, batch_size, steps)


def _training(suite: Suite, network: Network, batch_size: int, images: int) -> list[Comparison]:
    """An epoch as `train` runs it, beside one of torchvision's transforms in a `DataLoader`, in float32 and NCHW."""
    loaded = Loaded.of(network, batch_size, suite.runtime)
    pixels, labels = torch.randint(256, (images, 3, SIDE, SIDE), dtype=torch.uint8), torch.arange(images) % 10
    split = TensorSplit(pixels, labels, torch.arange(images), Augmentation())
    net = network.build().to(suite.runtime.device)
    with _loader(pixels, labels, batch_size) as loader:
        steps = {
            "training loop": partial(_our_epoch, loaded, split, batch_size),
            "DataLoader, float32, NCHW": partial(_plain_epoch, net, loader, suite.runtime.device),
        }
        return suite.compare("training loop", images // batch_size * batch_size, steps)


def _our_epoch(loaded: Loaded, split: Split, batch_size: int) -> None:
    loaded.training.net.train()
    for batch in split.augmented(batch_size, loaded.runtime.device, 0):
        replace(loaded, batch=batch).train()


def _plain_epoch(net: nn.Module, loader: DataLoader[Any], device: torch.device) -> None:
    optimizer = torch.optim.SGD(net.train().parameters(), 1e-6, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for images, labels in loader:
        loss = F.cross_entropy(net(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@contextmanager
def _loader(pixels: Tensor, labels: Tensor, batch_size: int) -> Iterator[DataLoader[Any]]:
    """A loader of pictures with the usual augmentation of CIFAR-10, one worker per core, at most four."""
    count = min(4, os.cpu_count() or 1)
    loader = DataLoader(
        Pictures(pixels, labels), batch_size, shuffle=True, drop_last=True, num_workers=count, persistent_workers=True
    )
    yield loader
    loader._iterator = None  # ends its workers


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images `(N, 3, H, W)` uint8 as torchvision's CIFAR-10 gives them: cropped, flipped and in [0, 1]."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        from PIL import Image
        from torchvision import transforms as T

        self._pictures = [Image.fromarray(image) for image in pixels.permute(0, 2, 3, 1).numpy()]
        self._labels = labels.tolist()
        self._transform = T.Compose([T.RandomCrop(SIDE, padding=4), T.RandomHorizontalFlip(), T.ToTensor()])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self._transform(self._pictures[place]), self._labels[place]


def _trained(folder: Path, runtime: Runtime, progress: Progress, size: SuiteSize) -> Workbench:
    """A small SDNet-18 for digits."""
    recipe = find_recipe("sdnet18-digits").replace(epochs=size.epochs)
    options = recipe.backbone.options | {"width": size.width}
    recipe = recipe.replace(backbone={"name": recipe.backbone.name, "options": options})
    return train_model(recipe, folder, folder / "data", runtime, progress)


def _measuring(suite: Suite, bench: Workbench, size: SuiteSize) -> Iterator[Comparison]:
    """Sweep, race, attack and noise."""
    split, level = bench.split("test", size.tested), CORRUPTIONS["gaussian"].level(bench.dataset.family, SEVERITY)
    noise, count = Noise("gaussian", level), len(split)
    measure = partial(evaluate, bench.model.net, split, bench.runtime)
    sweep = {
        f"sweep of {len(LAMBDAS)} lambdas": lambda: measure(lambdas=LAMBDAS, transform=noise),
        "an evaluation of each": lambda: [measure(lambdas=[each], transform=noise) for each in LAMBDAS],
    }
    yield from suite.compare("sweep", len(LAMBDAS) * count, sweep)
    yield from _race(suite, bench, size.raced)
    yield from _attack(suite, bench, size.attacked)
    apart: dict[str, Step] = {
        "noise alone": lambda: [noise(batch) for batch in split.batches(BATCH_SIZE, torch.device("cpu"))],
        "noise and forward": lambda: measure(transform=noise),
        "forward alone": measure,
    }
    yield from suite.compare("noise", count, apart)


def _race(suite: Suite, bench: Workbench, limit: int) -> list[Comparison]:
    """The best of all lambdas on training images by a race, and by a grid; an image counts once for each lambda."""
    grid, fresh = full_grid(bench, None), (bench.folder / str(number) for number in itertools.count())
    level = CORRUPTIONS["gaussian"].level(bench.dataset.family, SEVERITY)
    cell = bench.cell(bench.images("train", limit, corruption="gaussian", level=level))

    def measure(way: Callable[[Workbench], object]) -> None:
        way(replace(bench, folder=next(fresh), progress=Progress()))

    steps = {
        "race": partial(measure, lambda empty: race(empty, cell, grid)),
        "grid": partial(measure, lambda empty: empty.measure(swept([cell], grid), "grid")),
    }
    return suite.compare("race", len(grid) * len(bench.split_of(cell.images)), steps)


def _attack(suite: Suite, bench: Workbench, limit: int) -> list[Comparison]:
    """PGD, in float32, by the survival loop and by a plain call of torchattacks."""
    split, setting = bench.split("test", limit), attack_setting(Threat("linf", RADIUS))
    bench = replace(bench, runtime=replace(bench.runtime, precision="float32"))
    steps = {
        "attack": lambda: surviving(bench, split, setting),
        "torchattacks": lambda: plainly_attacked(bench.model.net, split, setting, bench.runtime),
    }
    return suite.compare("attack", len(split), steps)


def surviving(bench: Workbench, split: Split, setting: AttackSetting) -> list[bool]:
    """Which images are robust, by the survival loop."""
    score = lambda pixels, batch: _classify(bench.model.net, pixels) == batch.labels  # noqa: E731
    evaluation = RobustEval(bench.model.net, setting, {"net": score}, "net", bench.runtime, bench.dataset.num_classes)
    lost = robust_evaluate(evaluation, split)["net"]
    return (~np.logical_or.reduce(list(lost.values()))).tolist()  # type: ignore[no-any-return]


def plainly_attacked(net: nn.Module, split: Split, setting: AttackSetting, runtime: Runtime) -> list[bool]:
    """Which images are robust, every one attacked to the end in every restart."""
    placed, robust = _Placed(net).eval(), list[bool]()
    attack = _library_attack(placed, setting)
    for batch in split.batches(BATCH_SIZE, runtime.device):
        pixels = batch.images.float() / 255
        standing = _classify(placed, pixels) == batch.labels
        for restart in range(setting.restarts):
            with ImageDraws([AttackRun(setting, restart).seed(0, at) for at in batch.index.tolist()]):
                adversarial = attack(pixels, batch.labels)
            standing &= _classify(placed, adversarial) == batch.labels
        robust += standing.tolist()
    return robust


class _Placed(nn.Module):
    """The network in the memory layout that it likes best, with contiguous gradients, as torchattacks wants them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(ChannelsLast.apply(images))  # type: ignore[no-any-return]


def _library_attack(net: nn.Module, setting: AttackSetting) -> Callable[[Tensor, Tensor], Tensor]:
    """The attack as torchattacks has it."""
    import torchattacks

    common = {"eps": setting.eps, "steps": setting.steps}
    if setting.name == "apgd-ce":
        norm = {"linf": "Linf", "l2": "L2"}[setting.norm]
        return torchattacks.APGD(net, norm=norm, loss="ce", **common)  # type: ignore[no-any-return]
    kind = torchattacks.PGD if setting.norm == "linf" else torchattacks.PGDL2
    return kind(net, alpha=setting.step_size, **common)  # type: ignore[no-any-return]


@torch.no_grad()
def _classify(net: nn.Module, pixels: Tensor) -> Tensor:
    return net(pixels).argmax(1)  # type: ignore[no-any-return]
