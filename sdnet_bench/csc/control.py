"""Setting lambda and measuring residuals of all CSC-layers of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError, check_size, not_finite
from .layer import MOST_STEPS, CSCConv2d, check_lambda


def csc_layers(net: nn.Module) -> list[CSCConv2d]:
    """The CSC-layers of a network, in the order of its modules."""
    return [module for module in net.modules() if isinstance(module, CSCConv2d)]


def require_csc_layers(net: nn.Module) -> list[CSCConv2d]:
    """The CSC-layers of a network, in the order of its modules; a `UsageError` where there are none."""
    layers = csc_layers(net)
    if not layers:
        hint = "Take an SDNet, such as sdnet18-digits."
        raise UsageError("this network has no CSC-layer, so it has no lambda", hint=hint)
    return layers


def tuned_layers(net: nn.Module) -> list[CSCConv2d]:
    """The CSC-layers that `set_lambda` changes: all of them, except inside a block of `tuning`."""
    return [layer for layer in require_csc_layers(net) if layer.is_tuned]


@contextmanager
def holding(name: str, values: Sequence[tuple[object, object]]) -> Iterator[None]:
    """Sets the attribute `name` of each module of `(module, value)` pairs, and restores it when the block ends."""
    before = [(module, getattr(module, name)) for module, _ in values]
    try:
        for module, value in values:
            setattr(module, name, value)
        yield
    finally:
        for module, own in before:
            setattr(module, name, own)


def tuning(net: nn.Module, layers: Literal["all", "stem"]) -> AbstractContextManager[None]:
    """Restricts changes of lambda to the stem, the first CSC-layer, inside a block; with "all" nothing changes.

    `get_lambda`, `set_lambda`, `using_lambda` and `feeding_lambda` then ignore the other layers.
    """
    others = tuned_layers(net)[1:] if layers == "stem" else []
    return holding("is_tuned", [(layer, False) for layer in others])


def get_lambda(net: nn.Module) -> float:
    """The lambda of the CSC-layers; a `UsageError` where they differ, have one per image, or one out of range."""
    layers = tuned_layers(net)
    if any(layer.lambda_.ndim for layer in layers):
        raise UsageError("the CSC-layers do not share one lambda", got="one per image")
    values = {float(layer.lambda_) for layer in layers}
    if len(values) > 1:
        raise UsageError("the CSC-layers do not share one lambda", got=sorted(values))
    return float(f"{check_lambda(values.pop()):.7g}")  # without the rounding of float32: 0.1, not 0.10000000149


@torch.no_grad()
def set_lambda(net: nn.Module, value: float | Tensor) -> None:
    """Sets lambda in every CSC-layer; it takes effect at the next `forward`.

    `value` is a number, or a tensor `(N,)` with one lambda per image of the batches that follow. A `UsageError` where
    it is below 0 or not finite, or there is no CSC-layer; a `ModelError` where one of several lambdas is not finite.
    """
    wanted = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
    if wanted.ndim > 1 or not bool((wanted.isfinite() & (wanted >= 0)).all()):
        if wanted.ndim == 1 and (count := int((~wanted.isfinite()).sum())):
            raise not_finite("lambdas", count, len(wanted))
        raise UsageError("lambda out of range", expected="finite numbers >= 0, one or one per image", got=value)
    for layer in tuned_layers(net):
        if layer.lambda_.shape == wanted.shape:
            layer.lambda_.copy_(wanted)  # in place: a compiled network keeps its graph
        else:
            layer.lambda_ = wanted.to(layer.lambda_.device, layer.lambda_.dtype, copy=True)


@contextmanager
def using_lambda(net: nn.Module, value: float | Tensor | None) -> Iterator[None]:
    """`set_lambda` inside a block, restored when it ends; None changes nothing."""
    before = [] if value is None else [(layer, layer.lambda_.clone()) for layer in tuned_layers(net)]
    try:
        if value is not None:
            set_lambda(net, value)
        yield
    finally:
        for layer, old in before:
            set_lambda(layer, old)


def feeding_lambda(net: nn.Module, lambdas: Tensor) -> AbstractContextManager[None]:
    """Sets lambda to the tensor `(N,)`, >= 0, inside a block, without a copy: gradients flow through it."""
    return holding("lambda_", [(layer, lambdas) for layer in tuned_layers(net)])


def using_steps(net: nn.Module, steps: int | None) -> AbstractContextManager[None]:
    """Sets the FISTA iterations of every CSC-layer inside a block; None changes nothing."""
    if steps is not None:
        check_size("FISTA iterations", steps, MOST_STEPS)
    return holding("steps", [] if steps is None else [(layer, steps) for layer in require_csc_layers(net)])


class RememberedCorrelation:
    """A layer's `correlate` that reuses A* x while the input is equal to the last one."""

    def __init__(self, layer: CSCConv2d) -> None:
        self._correlate = layer.correlate
        self._image: Tensor | None = None
        self._answer = torch.empty(0)

    def __call__(self, image: Tensor) -> Tensor:
        known = self._image
        if known is None or known.requires_grad != image.requires_grad or not torch.equal(image, known):
            self._image, self._answer = image.clone(), self._correlate(image)
        return self._answer


@contextmanager
def shared_correlations(net: nn.Module) -> Iterator[None]:
    """Inside a block the first CSC-layer computes A* x once for repeated equal inputs, as in a sweep over lambda.

    The inputs of the other layers depend on lambda. Weights, precision, step sizes and the tensor that gradients are
    taken by must not change in the block. Does nothing without CSC-layers and inside another such block.
    """
    fresh = [layer for layer in csc_layers(net)[:1] if not isinstance(layer.correlate, RememberedCorrelation)]
    for layer in fresh:
        layer.correlate = RememberedCorrelation(layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in fresh:
            del layer.correlate


class ResidualMeter:
    """Collects the norms |x - A z|_2 of each image in every batch; with `attached`, gradients flow through them."""

    def __init__(self, *, attached: bool = False) -> None:
        self._attached = attached
        self._norms: dict[CSCConv2d, list[Tensor]] = {}

    def observe(self, layer: CSCConv2d, inputs: tuple[Tensor, ...], code: Tensor) -> None:
        """Forward hook of a CSC-layer that stores the norms of a batch."""
        norms = layer.residual(inputs[0], code).flatten(1).norm(dim=1)
        self._norms.setdefault(layer, []).append(norms if self._attached else norms.detach())

    def per_image(self) -> Tensor:
        """`(N,)`: norms averaged over the CSC-layers (Algorithm 1, step 6), in the units of the layers' inputs.

        A `UsageError` where no forward pass was observed.
        """
        if not self._norms:
            hint = "Enter residuals() before the forward; of a compiled network, measure the original."
            raise UsageError("no forward of a CSC-layer was observed", hint=hint)
        return torch.stack([torch.cat(norms) for norms in self._norms.values()]).mean(0)


@contextmanager
def residuals(net: nn.Module, *, attached: bool = False) -> Iterator[ResidualMeter]:
    """Yields a new `ResidualMeter` of all CSC-layers, which observes every forward pass in the block."""
    meter = ResidualMeter(attached=attached)
    hooks = [layer.register_forward_hook(meter.observe) for layer in require_csc_layers(net)]
    try:
        yield meter
    finally:
        for hook in hooks:
            hook.remove()


class DictionaryProjection:
    """The constraint of equation (5): call it after every step of the optimiser.

    It projects the atoms to unit norm and updates the step sizes by `ITERATIONS` warm-started power iterations, without
    synchronising with the device. After training, `settle` iterates to the tolerance. Does nothing without CSC-layers.
    """

    ITERATIONS = 2

    def __init__(self, net: nn.Module) -> None:
        self._layers = csc_layers(net)
        self._vectors = [layer.settle() for layer in self._layers]

    def __call__(self) -> None:
        for layer, vector in zip(self._layers, self._vectors, strict=True):
            vector.copy_(layer.settle(vector, iterations=self.ITERATIONS))  # in place: a captured step reads it anew

    def settle(self) -> None:
        """Computes the step sizes to the tolerance of Appendix A."""
        self._vectors = [layer.settle(vector) for layer, vector in zip(self._layers, self._vectors, strict=True)]

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"vectors": self._vectors}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        self._vectors = [new.to(old.device) for new, old in zip(state["vectors"], self._vectors, strict=True)]
