"""Accuracy on a split: every batch is loaded and corrupted once, and every lambda is applied to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..csc import csc_layers, residuals, using_lambda
from ..data import Batch, Split, corrupt
from ..progress import Task
from .runtime import Runtime

BATCH_SIZE = 250


@dataclass(frozen=True)
class Outcome:
    """What became of the images of a split under one lambda, in the order of the split."""

    correct: NDArray[np.bool_]
    """`(n,)`."""
    residual: NDArray[np.float64] | None
    """`(n,)`: |x - A z|_2 averaged over CSC-layers; None for a network without one."""


@dataclass(frozen=True)
class Noise:
    """A corruption at one level, under one seed."""

    name: str
    level: float
    seed: int = 0

    def __call__(self, batch: Batch) -> Tensor:
        """The corrupted images of a batch, `(N, 3, H, W)` uint8 on the device of the batch."""
        pairs = zip(batch.images.cpu().numpy(), batch.index.tolist(), strict=True)
        images = [
            corrupt(self.name, image, level=self.level, seed=self.seed, index=at) for image, at in pairs
        ]
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
    """Classifies a split under each lambda; None is the lambda that the network has.

    Args:
        net: on the runtime's device; put into eval mode.
        view: what is done to the images of a batch before they are classified; done once for all lambdas.
        task: advanced by every image classified, once per lambda.
    """
    net.eval()
    rank, count = runtime.processes.process_index, runtime.processes.num_processes
    mine = split.subset(range(rank, len(split), count)) if count > 1 else split
    parts: dict[float | None, list[tuple[Tensor, Tensor]]] = {lambda_: [] for lambda_ in lambdas}
    for batch in mine.batches(BATCH_SIZE, runtime.device):
        pixels = runtime.to_pixels(view(batch))
        for lambda_ in lambdas:
            parts[lambda_].append(_classify(net, pixels, batch.labels, lambda_, runtime))
            (task or Task()).advance(len(batch.labels))
    return {lambda_: _gather(found, len(split), runtime, net) for lambda_, found in parts.items()}


def _classify(
    net: nn.Module, pixels: Tensor, labels: Tensor, lambda_: float | None, runtime: Runtime
) -> tuple[Tensor, Tensor]:
    """Which images are right, and their residuals (zeros where there is no CSC-layer)."""
    with using_lambda(net, lambda_), runtime.autocast():
        if not csc_layers(net):
            return net(pixels).argmax(1) == labels, torch.zeros(len(labels))
        with residuals(net) as meter:
            return net(pixels).argmax(1) == labels, meter.per_image()


def _gather(parts: list[tuple[Tensor, Tensor]], total: int, runtime: Runtime, net: nn.Module) -> Outcome:
    """Puts the shares of all processes back into the order of the split."""
    rank, count = runtime.processes.process_index, runtime.processes.num_processes
    correct, residual = torch.zeros(total), torch.zeros(total)
    if parts:
        correct[rank::count] = torch.cat([right for right, _ in parts]).float().cpu()
        residual[rank::count] = torch.cat([norm for _, norm in parts]).float().cpu()
    norms = runtime.sum(residual).double().numpy() if csc_layers(net) else None
    return Outcome(runtime.sum(correct).numpy().astype(bool), norms)
