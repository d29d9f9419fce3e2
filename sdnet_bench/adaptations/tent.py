"""TENT: the entropy of the predictions is minimised over scale and shift of the norm layers.

Wang et al., "Tent: fully test-time adaptation by entropy minimization" (ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..csc import holding
from ..errors import ModelError, UsageError
from .adaptation import ADAPTATIONS, Classifier

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def affine(net: nn.Module) -> list[nn.Parameter]:
    """Scale and shift of all norm layers; a `UsageError` where there are none."""
    norms = [module for module in net.modules() if isinstance(module, NORMS)]
    found = [parameter for norm in norms for parameter in norm.parameters(recurse=False)]
    if not found:
        raise UsageError("there is no norm layer with scale and shift for tent to adapt", hint="Take an input filter.")
    return found


def entropy(logits: Tensor) -> Tensor:
    """`(N,)`: the entropy of the softmax of logits `(N, classes)`, in nats."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


@ADAPTATIONS.register("tent")
@dataclass(frozen=True)
class Tent:
    """Entropy minimisation (Wang et al., 2021): after each batch, steps on its mean entropy over scale and shift.

    Batch norm uses the statistics of the batch. The logits are those before the first step. Adam with betas 0.9 and
    0.999, no weight decay.

    Args:
        lr: learning rate.
        steps: steps for each batch.
        episodic: whether scale, shift and optimiser start anew with each batch, instead of following the stream.
    """

    lr: float = 1e-3
    steps: int = 1
    episodic: bool = False
    is_per_image = False

    def __post_init__(self) -> None:
        if not 0 < self.lr < float("inf") or self.steps < 1:
            raise UsageError("no such tent", expected="lr > 0 and steps >= 1", got=self)

    @property
    def is_online(self) -> bool:
        """Whether what one batch changes stays for the batches that follow."""
        return not self.episodic

    @contextmanager
    def __call__(self, net: nn.Module, classify: Classifier) -> Iterator[Classifier]:
        """Adapts a network inside a block, which yields the adapted classifier."""
        weights = affine(net)
        start = [weight.detach().clone() for weight in weights]
        with _learning(net, weights):
            optimiser = torch.optim.Adam(weights, self.lr)
            fresh = optimiser.state_dict()

            def classify_and_learn(images: Tensor) -> Tensor:
                if self.episodic:
                    _copy(start, weights)
                    optimiser.load_state_dict(fresh)
                first = self._learn(classify, images, optimiser)
                for _ in range(self.steps - 1):
                    self._learn(classify, images, optimiser)
                return first

            try:
                yield classify_and_learn
            finally:
                _copy(start, weights)

    @torch.enable_grad()
    def _learn(self, classify: Classifier, images: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
        """The logits of images before one step on their mean entropy."""
        try:
            logits = classify(images)
        except ValueError as error:  # torch's own, of one value per channel
            raise ModelError(f"tent cannot take the statistics of a batch of {len(images)}: {error}") from None
        entropy(logits).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        return logits.detach()


@torch.no_grad()
def _copy(values: list[Tensor], weights: list[nn.Parameter]) -> None:
    for value, weight in zip(values, weights, strict=True):
        weight.copy_(value)


@contextmanager
def _learning(net: nn.Module, weights: list[nn.Parameter]) -> Iterator[None]:
    """A block in which these weights alone have gradients, and batch norm uses the statistics of the batch."""
    learned = set(weights)
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    with ExitStack() as stack:
        stack.enter_context(holding("grad", [(weight, None) for weight in weights]))
        stack.enter_context(holding("requires_grad", [(weight, weight in learned) for weight in net.parameters()]))
        for name in ("running_mean", "running_var"):
            stack.enter_context(holding(name, [(norm, None) for norm in norms]))
        yield
