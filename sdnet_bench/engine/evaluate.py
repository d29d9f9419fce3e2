"""Accuracy on a split: every batch is loaded and corrupted once, and classified at every lambda."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backbones import Convergence, convergence, equilibria
from ..csc import csc_layers, get_lambda, residuals, shared_correlations, using_lambda
from ..data import Batch, Split
from ..progress import Task
from .runtime import Runtime

BATCH_SIZE = 250


class LambdaRule(Protocol):
    """A rule that chooses a lambda per image."""

    def __call__(self, residual: Tensor, batch: Batch, /) -> Tensor:
        """The lambdas `(N,)` for the residuals `(N,)` of a batch at the network's own lambda."""


Transform = Callable[[Batch], Tensor]
"""Maps a batch to its images before classification, `(N, 3, H, W)` uint8, for example a corruption."""

Choice = float | None | LambdaRule
"""A lambda; None for the network's own; or a rule that chooses one per image."""


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


@dataclass(frozen=True)
class Accumulator:
    """Collects the tensors `(N,)` of every batch for an `EvalResult`; None for values that are not measured."""

    correct: list[Tensor]
    residual: list[Tensor] | None = None
    lambda_: list[Tensor] | None = None
    convergence: list[Convergence] | None = None

    @classmethod
    def of(cls, choice: Choice, own: Collection[Choice], *, solves: bool) -> Accumulator:
        """With residuals if the choice is in `own`, lambdas if it is a rule, convergence if the network `solves`."""
        return cls(
            correct=[],
            residual=[] if choice in own else None,
            lambda_=[] if callable(choice) else None,
            convergence=[] if solves else None,
        )

    def add(self, correct: Tensor, convergence: Convergence | None) -> None:
        """Adds one batch: which images are correct, `(N,)` bool, and the convergence of their equilibria."""
        self.correct.append(correct)
        if self.convergence is not None and convergence is not None:
            self.convergence.append(convergence)

    def result(self, total: int, runtime: Runtime) -> EvalResult:
        """The result of all processes for a split of `total` images."""
        residual, lambda_ = (
            None if parts is None else gather(parts, total, runtime).cpu().double().numpy()
            for parts in (self.residual, self.lambda_)
        )
        solved = None if self.convergence is None else _gather_convergence(self.convergence, total, runtime)
        return EvalResult(gather(self.correct, total, runtime).numpy().astype(bool), residual, lambda_, solved)


def _gather_convergence(parts: list[Convergence], total: int, runtime: Runtime) -> Convergence:
    residual, steps = [part.residual for part in parts], [part.steps for part in parts]
    return Convergence(gather(residual, total, runtime), gather(steps, total, runtime))


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
    is advanced by one for every image and choice.
    """
    net.eval()
    own = {None, get_lambda(net)} if csc_layers(net) else set()
    found = {choice: Accumulator.of(choice, own, solves=bool(equilibria(net))) for choice in lambdas}
    with shared_correlations(net) if len(found) > 1 else nullcontext():
        for batch in shard(split, runtime).batches(BATCH_SIZE, runtime.device):
            _classify(net, runtime.to_pixels(transform(batch)), batch, found, runtime)
            (task or Task()).advance(len(batch.labels) * len(found))
    return {choice: each.result(len(split), runtime) for choice, each in found.items()}


def _classify(net: nn.Module, pixels: Tensor, batch: Batch, found: dict[Choice, Accumulator], runtime: Runtime) -> None:
    """Classifies one batch for every choice; at the network's own lambda first, as rules need its residuals."""
    own: tuple[Tensor, Convergence | None] = (torch.empty(0), None)
    residual = torch.empty(0)
    if any(each.residual is not None or each.lambda_ is not None for each in found.values()):
        with residuals(net) as meter:
            own = _score(net, pixels, batch, None, runtime)
        residual = meter.per_image()
    for choice, each in found.items():
        if each.residual is not None:
            each.add(*own)
            each.residual.append(residual)
            continue
        lambda_ = choice(residual, batch) if callable(choice) else choice
        each.add(*_score(net, pixels, batch, lambda_, runtime))
        if each.lambda_ is not None and isinstance(lambda_, Tensor):
            each.lambda_.append(lambda_)


def _score(
    net: nn.Module, pixels: Tensor, batch: Batch, lambda_: float | Tensor | None, runtime: Runtime
) -> tuple[Tensor, Convergence | None]:
    """Which images of a batch are correct at one lambda, `(N,)` bool, and the convergence of their equilibria."""
    with convergence(net) as solves:
        return is_correct(net, pixels, batch.labels, lambda_, runtime), solves.forward


def is_correct(
    net: nn.Module, pixels: Tensor, labels: Tensor, lambda_: float | Tensor | None, runtime: Runtime
) -> Tensor:
    """`(N,)` bool: which images `(N, 3, H, W)` in [0, 1] the network classifies correctly at a lambda."""
    with using_lambda(net, lambda_), runtime.autocast():
        return net(pixels).argmax(1) == labels  # type: ignore[no-any-return]


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


def gather(parts: Sequence[Tensor], total: int, runtime: Runtime) -> Tensor:
    """The results of all processes, `(total,)` float32 on the CPU, in the order of the split."""
    rank, count = runtime.processes.process_index, runtime.processes.num_processes
    values = torch.zeros(total)
    if parts:
        values[rank::count] = torch.cat(list(parts)).float().cpu()
    return runtime.sum(values)
