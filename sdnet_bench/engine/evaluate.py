"""Accuracy on a split: every batch is loaded and corrupted once, and every lambda is applied to it."""

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
    """Chooses a lambda for every image."""

    def __call__(self, residual: Tensor, batch: Batch, /) -> Tensor:
        """The lambdas, `(N,)`, for residuals `(N,)` that the images of a batch have at the network's own lambda."""


Transform = Callable[[Batch], Tensor]
"""What is done to the images of a batch before they are classified: uint8 to uint8."""

Choice = float | None | LambdaRule
"""A lambda; None for the one that the network has; or a rule that chooses one for every image."""


@dataclass(frozen=True)
class EvalResult:
    """What became of the images of a split under one choice of lambda, in the order of the split."""

    correct: NDArray[np.bool_]
    """`(n,)`."""
    residual: NDArray[np.float64] | None = None
    """`(n,)`: |x - A z|_2 averaged over CSC-layers; measured under the network's own lambda alone, where
    Algorithm 1 looks at it: it costs a quarter of a forward."""
    lambda_: NDArray[np.float64] | None = None
    """`(n,)`: what a rule chose."""
    convergence: Convergence | None = None
    """Of the equilibria, `(n,)` each, on the CPU; None for a network without."""


@dataclass(frozen=True)
class Accumulator:
    """An `EvalResult` in the making: a tensor `(N,)` for every batch that passed; None for what is not measured."""

    correct: list[Tensor]
    residual: list[Tensor] | None = None
    lambda_: list[Tensor] | None = None
    convergence: list[Convergence] | None = None

    @classmethod
    def of(cls, choice: Choice, own: Collection[Choice], *, solves: bool) -> Accumulator:
        """Residuals are measured under the network's own lambdas, lambdas where a rule chooses them, and the
        convergence of a network that `solves` for equilibria.
        """
        return cls(
            correct=[],
            residual=[] if choice in own else None,
            lambda_=[] if callable(choice) else None,
            convergence=[] if solves else None,
        )

    def add(self, correct: Tensor, convergence: Convergence | None) -> None:
        """Takes in one batch: which of its images are correct, `(N,)` bool, and how its equilibria converged."""
        self.correct.append(correct)
        if self.convergence is not None and convergence is not None:
            self.convergence.append(convergence)

    def result(self, total: int, runtime: Runtime) -> EvalResult:
        """What all processes found about a split of `total` images."""
        residual, lambda_ = (
            None if parts is None else gather(parts, total, runtime).double().numpy()
            for parts in (self.residual, self.lambda_)
        )
        solved = None if self.convergence is None else _gather_convergence(self.convergence, total, runtime)
        return EvalResult(gather(self.correct, total, runtime).numpy().astype(bool), residual, lambda_, solved)


def _gather_convergence(parts: list[Convergence], total: int, runtime: Runtime) -> Convergence:
    residual, steps = [part.residual for part in parts], [part.steps for part in parts]
    return Convergence(gather(residual, total, runtime), gather(steps, total, runtime))


def clean(batch: Batch) -> Tensor:
    """The images as they are."""
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
    """Classifies a split under each choice of lambda, and measures residuals under the lambda that the network has.

    Args:
        net: on the runtime's device; put into eval mode.
        lambdas: the choices, hashable.
        transform: what is done to the images of a batch before they are classified; done once for all choices.
        task: advanced by every image classified, once per choice.
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
    """One batch under every choice; under the network's own lambda first, as rules look at the residuals there."""
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
    """One batch under one lambda: which images are correct, `(N,)` bool, and how its equilibria converged."""
    with convergence(net) as solves:
        return is_correct(net, pixels, batch.labels, lambda_, runtime), solves.forward


def is_correct(
    net: nn.Module, pixels: Tensor, labels: Tensor, lambda_: float | Tensor | None, runtime: Runtime
) -> Tensor:
    """`(N,)` bool: which images, `(N, 3, H, W)` in [0, 1], the network gets right under a lambda."""
    with using_lambda(net, lambda_), runtime.autocast():
        return net(pixels).argmax(1) == labels  # type: ignore[no-any-return]


@torch.no_grad()
def choose(net: nn.Module, pixels: Tensor, batch: Batch, choice: Choice, runtime: Runtime) -> float | Tensor | None:
    """The lambda of a choice: where it is a rule, of the residuals that these pixels have at the network's own."""
    if not callable(choice):
        return choice
    with residuals(net) as meter, runtime.autocast():
        net(pixels)
    return choice(meter.per_image(), batch)


def shard(split: Split, runtime: Runtime) -> Split:
    """The images of a split that fall to this process: every n-th of n processes."""
    rank, count = runtime.processes.process_index, runtime.processes.num_processes
    return split if count == 1 else split.subset(range(rank, len(split), count))


def gather(parts: Sequence[Tensor], total: int, runtime: Runtime) -> Tensor:
    """What all processes found about their shares, `(total,)` float32 on the CPU, in the order of the split."""
    rank, count = runtime.processes.process_index, runtime.processes.num_processes
    values = torch.zeros(total)
    if parts:
        values[rank::count] = torch.cat(list(parts)).float().cpu()
    return runtime.sum(values)
