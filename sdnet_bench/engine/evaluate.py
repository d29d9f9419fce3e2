"""Accuracy on a split: every batch is loaded and corrupted once, and classified at every lambda."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..attacks.finite import finite, logits_of
from ..backbones import Convergence, convergence, equilibria
from ..csc import csc_layers, get_lambda, residuals, shared_correlations, using_lambda
from ..data import Batch, Split
from ..progress import Task
from .batches import AtOnce
from .runtime import Runtime

T = TypeVar("T")
AHEAD = 3
"""Number of batches that are corrupted before they are needed."""


class LambdaRule(Protocol):
    """A rule that chooses a lambda per image."""

    def __call__(self, residual: Tensor, batch: Batch, /) -> Tensor:
        """The lambdas `(N,)` for the residuals `(N,)` of a batch at the network's own lambda."""


Transform = Callable[[Batch], Tensor]
"""Maps a batch to its images before classification, `(N, 3, H, W)` uint8, for example a corruption."""

Choice = float | None | LambdaRule
"""A lambda; None for the network's own; or a rule that chooses one per image."""

Values = dict[str, Tensor]
"""Values `(N,)` of a batch for an `EvalResult`, by name: the `correctness` of "logits", "residuals", and others."""


@dataclass(frozen=True)
class EvalResult:
    """The outcome of the images of a split for one choice of lambda, in the order of the split."""

    correct: NDArray[np.bool_]
    """`(n,)` bool: whether each image is classified correctly."""
    residual: NDArray[np.float64] | None = None
    """`(n,)`: |x - A z|_2 averaged over CSC-layers; measured only at the network's own lambda, where Algorithm 1 needs
    it, because it costs a quarter of a forward pass."""
    lambda_: NDArray[np.float64] | None = None
    """`(n,)`: the lambda that a rule chose for each image."""
    convergence: Convergence | None = None
    """Convergence of the equilibria, `(n,)` each, on the CPU; None for a network without equilibria."""

    @classmethod
    def of(cls, found: Values) -> EvalResult:
        """The result for the values of all images, on the CPU."""
        measured = {name: found[name].numpy().astype(float) for name in ("residuals", "lambdas") if name in found}
        solved = Convergence(found["equilibria"], found["steps"]) if "equilibria" in found else None
        return cls(found["logits"].numpy().astype(bool), measured.get("residuals"), measured.get("lambdas"), solved)


Wanted = dict[Choice, list[str]]
"""The names of the values of every choice, in one order in all processes, which add them up together."""


def _wanted(choice: Choice, own: Collection[Choice], *, solves: bool) -> list[str]:
    """Residuals if the choice is in `own`, lambdas if it is a rule, equilibria if the network `solves`."""
    names = {"logits": True, "residuals": choice in own, "lambdas": callable(choice)}
    return [name for name, is_wanted in (names | {"equilibria": solves, "steps": solves}).items() if is_wanted]


def _result(choice: Choice, parts: Mapping[str, Sequence[Tensor]], total: int, runtime: Runtime) -> EvalResult:
    """The result of all processes for a split of `total` images; a `ModelError` where something is not finite."""
    at = "" if choice is None or callable(choice) else f" at lambda {choice:g}"
    return EvalResult.of({name: gather(each, total, runtime, f"{name}{at}") for name, each in parts.items()})


def clean(batch: Batch) -> Tensor:
    """The images of a batch, unchanged."""
    return batch.images


@torch.no_grad()
def evaluate(
    net: nn.Module,
    split: Split,
    runtime: Runtime,
    *,
    lambdas: Sequence[Choice] = (None,),
    transform: Transform = clean,
    task: Task | None = None,
) -> dict[Choice, EvalResult]:
    """Classifies a split for each choice of lambda, and measures residuals at the network's own lambda.

    The network, on the runtime's device, is put into eval mode. Each batch is transformed once for all choices. `task`
    is advanced by one for every image and choice. A `ModelError` where logits, residuals or lambdas are not finite.
    """
    net.eval()
    own = {None, get_lambda(net)} if csc_layers(net) else set()
    wanted: Wanted = {choice: _wanted(choice, own, solves=bool(equilibria(net))) for choice in lambdas}
    at_once, made = AtOnce(split, runtime.device), list[dict[Choice, Values]]()

    def classified(batch: Batch) -> list[dict[Choice, Values]]:
        return at_once(lambda size: [_classified(net, part, wanted, runtime) for part in batch.parts(size)])

    with shared_correlations(net) if len(wanted) > 1 else nullcontext():
        for batch in _transformed(shard(split, runtime), transform, runtime, at_once.size):
            made += classified(batch)
            (task or Task()).advance(len(batch.labels) * len(wanted))
    by_name = {choice: {name: [each[choice][name] for each in made] for name in wanted[choice]} for choice in wanted}
    return {choice: _result(choice, parts, len(split), runtime) for choice, parts in by_name.items()}


def _transformed(split: Split, transform: Transform, runtime: Runtime, size: int) -> Iterator[Batch]:
    """The batches of a split on the device, with their transformed images.

    They are made by the CPU, ahead of the network where it leaves a core to them: on another device, or in fewer
    threads than there are cores.
    """
    made = (replace(batch, images=transform(batch)) for batch in split.batches(size, torch.device("cpu")))
    is_beside = runtime.device.type != "cpu" or torch.get_num_threads() < (os.cpu_count() or 1)
    for batch in ahead(made) if is_beside else made:
        yield replace(batch, images=batch.images.to(runtime.device), labels=batch.labels.to(runtime.device))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items of an iterator, each made by another thread while those before it are used."""
    with ThreadPoolExecutor(1) as maker:
        waiting = deque(maker.submit(next, items, None) for _ in range(AHEAD))
        try:
            while (item := waiting.popleft().result()) is not None:
                waiting.append(maker.submit(next, items, None))
                yield item
        finally:
            maker.shutdown(wait=False, cancel_futures=True)


def _classified(net: nn.Module, batch: Batch, wanted: Wanted, runtime: Runtime) -> dict[Choice, Values]:
    """The values of one batch for every choice; at the network's own lambda first, as rules need its residuals."""
    pixels, own, found = runtime.to_pixels(batch.images), Values(), dict[Choice, Values]()
    if any("residuals" in names or "lambdas" in names for names in wanted.values()):
        with residuals(net) as meter:
            own = _score(net, pixels, batch, None, runtime)
        own["residuals"] = meter.per_image()
    for choice, names in wanted.items():
        lambda_ = choice(own["residuals"], batch) if callable(choice) else choice
        found[choice] = own if "residuals" in names else _score(net, pixels, batch, lambda_, runtime)
    return found


def _score(
    net: nn.Module, pixels: Tensor, batch: Batch, lambda_: float | Tensor | None, runtime: Runtime
) -> dict[str, Tensor]:
    """Values `(N,)` of a batch at one lambda by name: of logits, of equilibria, and of lambdas per image."""
    with convergence(net) as solves:
        values = {"logits": correctness(net, pixels, batch.labels, lambda_, runtime)}
    if solves.forward is not None:
        values |= {"equilibria": solves.forward.residual, "steps": solves.forward.steps}
    return values | ({"lambdas": lambda_} if isinstance(lambda_, Tensor) else {})


def is_correct(
    net: nn.Module, pixels: Tensor, labels: Tensor, lambda_: float | Tensor | None, runtime: Runtime
) -> Tensor:
    """`correctness` as `(N,)` bool; a `ModelError` where logits are not finite."""
    return finite(correctness(net, pixels, labels, lambda_, runtime), "logits").bool()


def correctness(
    net: nn.Module, pixels: Tensor, labels: Tensor, lambda_: float | Tensor | None, runtime: Runtime
) -> Tensor:
    """`(N,)`: 1 for images `(N, 3, H, W)` in [0, 1] that the network classifies correctly at a lambda, 0 for others.

    NaN where its logits are not finite; nothing waits for the device.
    """
    with using_lambda(net, lambda_), runtime.autocast():
        return hits(logits_of(net, pixels), labels)


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """`(N,)`: 1 for images that `logits_of` them classify correctly, 0 for others, NaN where logits are not finite."""
    return (logits.argmax(1) == labels).float().where(logits[:, 0].isfinite(), torch.nan)


@torch.no_grad()
def choose(net: nn.Module, pixels: Tensor, batch: Batch, choice: Choice, runtime: Runtime) -> float | Tensor | None:
    """The lambda of a choice; for a rule `(N,)`, from the residuals of these pixels at the network's own lambda."""
    if not callable(choice):
        return choice
    with residuals(net) as meter, runtime.autocast():
        net(pixels)
    return choice(meter.per_image(), batch)


def shard(split: Split, runtime: Runtime) -> Split:
    """The images of a split that this process works on: every n-th, for n processes."""
    rank, count = runtime.processes.process_index, runtime.processes.num_processes
    return split if count == 1 else split.subset(range(rank, len(split), count))


def gather(
    parts: Sequence[Tensor], total: int, runtime: Runtime, what: str, places: Sequence[int] | None = None
) -> Tensor:
    """The results of all processes, `(total,)` float32 on the CPU, in the order of the split; all are finite.

    `places` are those of this process's results in the split, by default those of its `shard`.
    """
    rank, count = runtime.processes.process_index, runtime.processes.num_processes
    values = torch.zeros(total)
    if parts:
        at = slice(rank, None, count) if places is None else torch.tensor(places)
        values[at] = torch.cat(list(parts)).float().cpu()
    return finite(runtime.sum(values), what)
