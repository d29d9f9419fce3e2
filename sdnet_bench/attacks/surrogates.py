"""The networks that attacks are run on: the evaluated network itself, or a surrogate with better gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..csc import csc_layers, feeding_lambda, holding, residuals, shared_correlations, using_lambda, using_steps
from ..errors import UsageError
from ..records import AttackSetting
from .gradients import using_gradient

LambdaOfResidual = Callable[[Tensor], Tensor]
"""Maps residuals `(N,)` at the network's own lambda to lambdas `(N,)`."""

SHARPNESS = 5.0
"""Sharpness of the softplus in place of a soft threshold t: they differ by at most t log(2) / SHARPNESS."""


class LambdaEnsemble(nn.Module):
    """A network whose logits are the mean of the logits at several lambdas, for the ensemble attack.

    Gradients are those of the mean (the ensemble in logits of Dong et al., 2018).
    """

    def __init__(self, net: nn.Module, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.net, self.lambdas = net, tuple(lambdas)

    def forward(self, images: Tensor) -> Tensor:
        with shared_correlations(self.net):
            return torch.stack([self._under(images, lambda_) for lambda_ in self.lambdas]).mean(0)

    def _under(self, images: Tensor, lambda_: float) -> Tensor:
        with using_lambda(self.net, lambda_):
            return self.net(images)  # type: ignore[no-any-return]


class AdaptiveNet(nn.Module):
    """Robust inference as one network: images to residuals r at lambda_0, to `rule(r)`, to logits.

    Gradients flow through r and the rule where it is `attached`; if not, lambda is a constant in each step.
    """

    def __init__(self, net: nn.Module, rule: LambdaOfResidual, *, attached: bool) -> None:
        super().__init__()
        self.net, self.rule, self.attached = net, rule, attached

    def forward(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.attached and torch.is_grad_enabled()):
            with residuals(self.net, attached=self.attached) as meter:
                self.net(images)
            lambdas = self.rule(meter.per_image())
        with feeding_lambda(self.net, lambdas):
            return self.net(images)  # type: ignore[no-any-return]


def smooth_threshold(code: Tensor, threshold: Tensor) -> Tensor:
    """Softplus approximation of the non-negative soft threshold, with a gradient below the threshold too."""
    width = (threshold / SHARPNESS).clamp_min(torch.finfo(code.dtype).eps)
    return width * F.softplus((code - threshold) / width)


def smooth_signed_threshold(code: Tensor, threshold: Tensor) -> Tensor:
    """Softplus approximation of the soft threshold for both signs."""
    return smooth_threshold(code, threshold) - smooth_threshold(-code, threshold)


def smoothed(net: nn.Module) -> AbstractContextManager[None]:
    """Replaces the soft threshold of every CSC-layer by `smooth_threshold` inside a block."""
    smooth = {True: smooth_threshold, False: smooth_signed_threshold}
    return holding("prox", [(layer, smooth[layer.nonnegative]) for layer in csc_layers(net)])


@contextmanager
def surrogate(net: nn.Module, setting: AttackSetting, rule: LambdaOfResidual | None = None) -> Iterator[nn.Module]:
    """Yields the network that an attack is run on inside a block; a setting that goes `through` the rule needs it."""
    lambda_ = setting.crafted_at
    smooth = smoothed(net) if setting.smooth else nullcontext()
    with using_steps(net, setting.inference_steps), using_gradient(net, setting.gradient), smooth:
        if setting.through:
            if rule is None:
                raise UsageError("the attack looks through a choice of lambda", expected="a rule lambda(r)")
            yield AdaptiveNet(net, rule, attached=setting.through == "attached")
        elif isinstance(lambda_, tuple):
            yield LambdaEnsemble(net, lambda_)
        else:
            with using_lambda(net, lambda_):
                yield net
