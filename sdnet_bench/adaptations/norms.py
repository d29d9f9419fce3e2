"""Batch norm with statistics of the test images: `bn` and `bn-running`.

Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation" (NeurIPS 2020); Nado
et al., "Evaluating prediction-time batch normalization for robustness under covariate shift" (2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..csc import holding
from ..errors import UsageError
from .adaptation import ADAPTATIONS, Classifier

Moments = tuple[Tensor, Tensor]
"""Mean and variance of each channel, `(C,)` float32 each."""
Statistics = dict[_BatchNorm, Moments]
"""The statistics of every batch-norm layer."""


def batch_norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers of a network with statistics of training; a `UsageError` where there are none."""
    found = [each for each in net.modules() if isinstance(each, _BatchNorm) and each.running_mean is not None]
    if not found:
        hint = "tent adapts any norm layer; input filters work with any network."
        raise UsageError("there is no batch norm with statistics of training to adapt", hint=hint)
    return found


def moments(inputs: Tensor) -> Moments:
    """Mean and (biased) variance of each channel of a batch `(N, C, ...)`, over images and positions."""
    axes = [axis for axis in range(inputs.ndim) if axis != 1]
    variance, mean = torch.var_mean(inputs.float(), axes, correction=0)
    return mean, variance


def mixed(old: Moments, new: Moments, share: float) -> Moments:
    """(1 - share) old + share new, of the mean and of the variance."""
    return old[0].lerp(new[0], share), old[1].lerp(new[1], share)


@contextmanager
def restated(net: nn.Module, state: Statistics, share: Callable[[int], float]) -> Iterator[Statistics]:
    """Inside a block each batch norm uses the statistics of `state` mixed with those of its batch.

    `share` gives the weight of a batch of n images. Yields the mixed statistics of the last batch. Statistics of
    training are back when the block ends.
    """
    latest: Statistics = {}

    def restate(layer: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        latest[layer] = mixed(state[layer], moments(inputs[0]), share(len(inputs[0])))
        layer.running_mean, layer.running_var = latest[layer]

    with ExitStack() as stack:
        for layer in state:
            stack.enter_context(holding("running_mean", [(layer, layer.running_mean)]))
            stack.enter_context(holding("running_var", [(layer, layer.running_var)]))
            stack.callback(layer.register_forward_pre_hook(restate).remove)
        yield latest


def trained(net: nn.Module) -> Statistics:
    """The statistics of training of every batch-norm layer."""
    return {layer: (layer.running_mean, layer.running_var) for layer in batch_norms(net)}  # type: ignore[misc]


@ADAPTATIONS.register("bn")
@dataclass(frozen=True)
class BatchStatistics:
    """Statistics of each test batch, mixed with those of training (Schneider et al., 2020, equation 2).

    mean = N / (N + n) mean of training + n / (N + n) mean of the batch of n images; the variance likewise.

    Args:
        prior: N, the number of images that the statistics of training count for. 0: those of the batch alone (Nado et
            al., 2020); inf: those of training alone.
    """

    prior: float = 0.0
    is_per_image = False
    is_online = False

    def __post_init__(self) -> None:
        if not self.prior >= 0:
            raise UsageError("prior out of range", expected="a number of images >= 0, such as 16", got=self.prior)

    @contextmanager
    def __call__(self, net: nn.Module, classify: Classifier) -> Iterator[Classifier]:
        """Adapts a network inside a block, which yields the adapted classifier."""
        with restated(net, trained(net), self.share):
            yield classify

    def share(self, count: int) -> float:
        """The weight of the statistics of a batch of so many images."""
        return 0.0 if math.isinf(self.prior) else count / (self.prior + count)


@ADAPTATIONS.register("bn-running")
@dataclass(frozen=True)
class RunningStatistics:
    """Statistics that follow the stream: a moving average that begins with those of training.

    After each batch, statistics = (1 - momentum) statistics + momentum those of the batch; the batch is classified with
    the updated ones.

    Args:
        momentum: weight of a batch, above 0 and at most 1.
    """

    momentum: float = 0.1
    is_per_image = False
    is_online = True

    def __post_init__(self) -> None:
        if not 0 < self.momentum <= 1:
            raise UsageError("momentum out of range", expected="above 0, at most 1", got=self.momentum)

    @contextmanager
    def __call__(self, net: nn.Module, classify: Classifier) -> Iterator[Classifier]:
        """Adapts a network inside a block, which yields the adapted classifier."""
        state = trained(net)
        with restated(net, state, lambda count: self.momentum) as latest:

            def classify_next(images: Tensor) -> Tensor:
                logits = classify(images)
                state.update(latest)
                return logits

            yield classify_next
