"""Accuracy on a split: every batch is loaded and corrupted once, and every lambda is applied to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..csc import csc_layers, get_lambda, residuals, using_lambda
from ..data import Batch, Split, corrupt
from ..progress import Task
from .runtime import Runtime

BATCH_SIZE = 250


@dataclass(frozen=True)
class Outcome:
    """What became of the images of a split under one lambda, in the order of the split."""

    correct: NDArray[np.bool_]
    """`(n,)`."""
    residual: NDArray[np.float64] | None = None
    """`(n,)`: |x - A z|_2 averaged over CSC-layers; measured under the network's own lambda alone, where
    Algorithm 1 looks at it: it costs a quarter of a forward."""


@dataclass(frozen=True)
class Noise:
    """A corruption at one level, under one seed."""

    name: str
    level: float
    seed: int = 0

    def __call__(self, batch: Batch) -> Tensor:
        """The corrupted images of a batch, `(N, 3, H, W)` uint8 on the device of the batch."""
        pairs = zip(batch.images.cpu().numpy(), batch.index.tolist(), strict=True)
        images = [corrupt(self.name, image, level=self.level, seed=self.seed, index=at) for image, at in pairs]
        return torch.from_numpy(np.stack(images)).to(batch.images.device)


def clean(batch: Batch) -> Tensor:
    """The images as they are."""
    return batch.images


@torch.no_grad()
def evaluate(
    net: nn.Module,
    split: Split,
    runtime: Runtime,
    *,
    lambdas: Sequence[float | None] = (None,),
    view: Callable[[Batch], Tensor] = clean,
    task: Task | None = None,
) -> dict[float | None, Outcome]:
    """Classifies a split under each lambda, and measures residuals under the lambda that the network has.

    Args:
        net: on the runtime's device; put into eval mode.
        lambdas: None is the lambda that the network has.
        view: what is done to the images of a batch before they are classified; done once for all lambdas.
        task: advanced by every image classified, once per lambda.
    """
    net.eval()
    own = {None, get_lambda(net)} if csc_layers(net) else set()
    rights: dict[float | None, list[Tensor]] = {lambda_: [] for lambda_ in lambdas}
    norms: dict[float | None, list[Tensor]] = {lambda_: [] for lambda_ in lambdas if lambda_ in own}
    for batch in shard(split, runtime).batches(BATCH_SIZE, runtime.device):
        pixels = runtime.to_pixels(view(batch))
        for lambda_ in lambdas:
            with residuals(net) if lambda_ in own else nullcontext() as meter:
                rights[lambda_].append(is_correct(net, pixels, batch.labels, lambda_, runtime))
            if meter:
                norms[lambda_].append(meter.per_image())
            (task or Task()).advance(len(batch.labels))
    return {
        lambda_: Outcome(
            gather(rights[lambda_], len(split), runtime).numpy().astype(bool),
            gather(norms[lambda_], len(split), runtime).double().numpy() if lambda_ in own else None,
        )
        for lambda_ in lambdas
    }


def is_correct(net: nn.Module, pixels: Tensor, labels: Tensor, lambda_: float | None, runtime: Runtime) -> Tensor:
    """`(N,)` bool: which images, `(N, 3, H, W)` in [0, 1], the network gets right under a lambda."""
    with using_lambda(net, lambda_), runtime.autocast():
        return net(pixels).argmax(1) == labels  # type: ignore[no-any-return]


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
