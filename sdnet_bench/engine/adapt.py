"""Accuracy on a stream of test images under an adaptation."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from ..adaptations import chain_of
from ..attacks.finite import logits_of
from ..csc import csc_layers, get_lambda, residuals, using_lambda
from ..data import Batch, Split, labels_of
from ..errors import UsageError
from ..progress import Task
from ..records import AdaptationSetting
from .batches import BATCH_SIZE
from .evaluate import Choice, EvalResult, Transform, choose, clean, gather, hits
from .runtime import Runtime


@torch.no_grad()
def evaluate_adapted(
    net: nn.Module,
    split: Split,
    runtime: Runtime,
    setting: AdaptationSetting,
    *,
    choice: Choice = None,
    seed: int = 0,
    transform: Transform = clean,
    task: Task | None = None,
) -> EvalResult:
    """Classifies a stream of the images of a split under an adaptation, at one choice of lambda.

    The result is in the order of the split, whatever that of the stream, which follows from `setting` and `seed`.
    Residuals are measured at the network's own lambda, under the adaptation. With several processes each classifies
    every n-th batch; an adaptation that carries something from batch to batch needs all of them, so it is a
    `UsageError` there. A `ModelError` where logits, residuals or lambdas are not finite.
    """
    adapt, count = chain_of(setting), runtime.processes.num_processes
    if adapt.is_online and count > 1:
        raise UsageError(f"{setting.name} follows one stream of batches", expected="one process", got=count)
    places = own_places(split, setting, seed, runtime)
    inner = _AtChoice(net.eval(), choice, runtime)
    found: dict[str, list[Tensor]] = {name: [] for name in ("logits", *inner.measured)}
    with torch.random.fork_rng(), adapt(net, inner) as classify:
        torch.manual_seed(seed)
        for batch in split.subset(places).batches(setting.batch_size or BATCH_SIZE, runtime.device):
            inner.turn_to(batch)
            logits = classify(runtime.to_pixels(transform(batch)))
            for name, part in {"logits": hits(logits, batch.labels), **inner.values}.items():
                found[name].append(part)
            (task or Task()).advance(len(batch.labels))
    return EvalResult.of({name: gather(parts, len(split), runtime, name, places) for name, parts in found.items()})


def own_places(split: Split, setting: AdaptationSetting, seed: int, runtime: Runtime) -> list[int]:
    """The places in a split of the images of this process, in the order of the stream: every n-th whole batch."""
    order, size = stream_order(split, setting, seed), setting.batch_size or BATCH_SIZE
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return list(chain(*batches[runtime.processes.process_index :: runtime.processes.num_processes]))


def stream_order(split: Split, setting: AdaptationSetting, seed: int) -> list[int]:
    """The places in a split of all images, in the order of the stream."""
    if setting.order is None:
        return list(range(len(split)))
    order = np.random.default_rng(seed).permutation(len(split))
    if setting.order == "sorted":
        order = order[np.asarray(labels_of(split))[order].argsort(kind="stable")]
    return [int(place) for place in order]


class _AtChoice:
    """Classifies images at a choice of lambda; an adaptation may call it several times for a batch.

    Of the first call for a batch, `values` holds `(N,)` residuals or lambdas by name, where there are any.
    """

    def __init__(self, net: nn.Module, choice: Choice, runtime: Runtime) -> None:
        self._net, self._choice, self._runtime = net, choice, runtime
        self._is_own = bool(csc_layers(net)) and choice in (None, get_lambda(net))
        self.values: dict[str, Tensor] = {}

    @property
    def measured(self) -> list[str]:
        """The names in `values`, the same in a process without batches."""
        return ["residuals"] * self._is_own + ["lambdas"] * callable(self._choice)

    def turn_to(self, batch: Batch) -> None:
        """Makes this batch the one that calls are for."""
        self._batch, self.values = batch, {}

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, 3, H, W)` in [0, 1]."""
        with residuals(self._net) if self._is_own else nullcontext() as meter:
            lambda_ = choose(self._net, images, self._batch, self._choice, self._runtime)
            with using_lambda(self._net, lambda_), self._runtime.autocast():
                logits = logits_of(self._net, images)
        if meter:
            self.values.setdefault("residuals", meter.per_image())
        if isinstance(lambda_, Tensor):
            self.values.setdefault("lambdas", lambda_)
        return logits
