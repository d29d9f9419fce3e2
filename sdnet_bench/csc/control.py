"""The one way to change lambda, and the one way to see residuals, of a whole network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .layer import CSCConv2d


def csc_layers(net: nn.Module) -> list[CSCConv2d]:
    """The CSC-layers of a network, in the order of its modules."""
    return [module for module in net.modules() if isinstance(module, CSCConv2d)]


def require_csc_layers(net: nn.Module) -> list[CSCConv2d]:
    """The same, or a `UsageError` where there is none."""
    layers = csc_layers(net)
    if not layers:
        raise UsageError(
            "this network has no CSC-layer, so it has no lambda",
            hint="Take an SDNet, such as sdnet18-digits.",
        )
    return layers


def tuned_layers(net: nn.Module) -> list[CSCConv2d]:
    """Those of them that lambda is changed in: every one, except in a block of `tuning`."""
    return [layer for layer in require_csc_layers(net) if layer.is_tuned]


@contextmanager
def holding(name: str, values: Sequence[tuple[object, object]]) -> Iterator[None]:
    """An attribute of modules at a value for each, `(module, value)`, for the length of a block."""
    before = [(module, getattr(module, name)) for module, _ in values]
    try:
        for module, value in values:
            setattr(module, name, value)
        yield
    finally:
        for module, own in before:
            setattr(module, name, own)


def tuning(net: nn.Module, layers: Literal["all", "stem"]) -> AbstractContextManager[None]:
    """For the length of a block, lambda of a network is that of the stem, its first CSC-layer, alone; or of all still.

    `get_lambda`, `set_lambda`, `using_lambda` and `feeding_lambda` leave the other layers as they are then.
    """
    others = tuned_layers(net)[1:] if layers == "stem" else []
    return holding("is_tuned", [(layer, False) for layer in others])


def get_lambda(net: nn.Module) -> float:
    """The lambda that the CSC-layers of the network share."""
    layers = tuned_layers(net)
    if any(layer.lambda_.ndim for layer in layers):
        raise UsageError("the CSC-layers do not share one lambda", got="one per image")
    values = {float(layer.lambda_) for layer in layers}
    if len(values) > 1:
        raise UsageError("the CSC-layers do not share one lambda", got=sorted(values))
    return round(values.pop(), 7)  # float32 noise off: 0.1, not 0.10000000149


@torch.no_grad()
def set_lambda(net: nn.Module, value: float | Tensor) -> None:
    """Sets lambda in every CSC-layer; it takes effect at the next `forward`.

    `value` is a number, or a tensor `(N,)` with one lambda for each image of the batches that follow.
    Finite and >= 0, else `UsageError`; a network without CSC-layers is a `UsageError` too.
    """
    wanted = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
    if wanted.ndim > 1 or not bool(torch.isfinite(wanted).all()) or bool((wanted < 0).any()):
        raise UsageError("lambda out of range", expected="finite numbers >= 0, one or one per image", got=value)
    for layer in tuned_layers(net):
        if layer.lambda_.shape == wanted.shape:
            layer.lambda_.copy_(wanted)  # in place: a compiled network keeps its graph
        else:
            layer.lambda_ = wanted.to(layer.lambda_.device, layer.lambda_.dtype, copy=True)


@contextmanager
def using_lambda(net: nn.Module, value: float | Tensor | None) -> Iterator[None]:
    """`set_lambda` for the length of a block; None leaves the network as it is."""
    before = [] if value is None else [(layer, layer.lambda_.clone()) for layer in tuned_layers(net)]
    try:
        if value is not None:
            set_lambda(net, value)
        yield
    finally:
        for layer, old in before:
            set_lambda(layer, old)


def feeding_lambda(net: nn.Module, lambdas: Tensor) -> AbstractContextManager[None]:
    """`(N,)` lambdas >= 0 in every CSC-layer for the length of a block, as they are: gradients flow through them."""
    return holding("lambda_", [(layer, lambdas) for layer in tuned_layers(net)])


def using_steps(net: nn.Module, steps: int | None) -> AbstractContextManager[None]:
    """So many FISTA iterations, at least 1, in every CSC-layer for the length of a block; None: as many as before."""
    if steps is not None and steps < 1:
        raise UsageError("FISTA needs a step to take", expected="steps >= 1", got=steps)
    return holding("steps", [] if steps is None else [(layer, steps) for layer in require_csc_layers(net)])


class RememberedCorrelation:
    """A layer's `correlate` that computes A* x once for as long as the same input comes back."""

    def __init__(self, layer: CSCConv2d) -> None:
        self._correlate = layer.correlate
        self._image: Tensor | None = None
        self._answer = torch.empty(0)

    def __call__(self, image: Tensor) -> Tensor:
        if self._image is None or not torch.equal(image, self._image):
            self._image, self._answer = image.clone(), self._correlate(image)
        return self._answer


@contextmanager
def shared_correlations(net: nn.Module) -> Iterator[None]:
    """For a sweep over lambda: A* x of a batch is computed once, however often the batch comes back in the block.

    That is so in the first CSC-layer: what comes into the others depends on lambda. Weights, precision and step sizes
    must stay as they are meanwhile. A network without CSC-layers is left alone, and so is one that is in such a block
    already.
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
    """The norms |x - A z|_2 per image of every batch that passed since the meter was switched on.

    Args:
        attached: whether gradients flow through them.
    """

    def __init__(self, *, attached: bool = False) -> None:
        self._attached = attached
        self._norms: dict[CSCConv2d, list[Tensor]] = {}

    def observe(self, layer: CSCConv2d, inputs: tuple[Tensor, ...], code: Tensor) -> None:
        """A forward hook of a CSC-layer."""
        norms = layer.residual(inputs[0], code).flatten(1).norm(dim=1)
        self._norms.setdefault(layer, []).append(norms if self._attached else norms.detach())

    def per_image(self) -> Tensor:
        """`(N,)`: averaged over the CSC-layers (Algorithm 1, step 6), in the units of the layers' inputs."""
        if not self._norms:
            hint = "Enter residuals() before the forward; of a compiled network, measure the original."
            raise UsageError("no forward of a CSC-layer was observed", hint=hint)
        return torch.stack([torch.cat(norms) for norms in self._norms.values()]).mean(0)


@contextmanager
def residuals(net: nn.Module, *, attached: bool = False) -> Iterator[ResidualMeter]:
    """Observes the residuals of all CSC-layers during a block, starting from nothing.

    Gradients flow through them where they are `attached`.
    """
    meter = ResidualMeter(attached=attached)
    hooks = [layer.register_forward_hook(meter.observe) for layer in require_csc_layers(net)]
    try:
        yield meter
    finally:
        for hook in hooks:
            hook.remove()


class DictionaryProjection:
    """The constraint of equation (5) as a companion of the optimiser: call it after every step.

    Atoms go back to unit norm and step sizes follow, by a few warm-started power iterations that never make the
    host wait; `settle` runs them to the tolerance, once training is over. A network without CSC-layers is
    left alone.
    """

    ITERATIONS = 2

    def __init__(self, net: nn.Module) -> None:
        self._layers = csc_layers(net)
        self._vectors = [layer.settle() for layer in self._layers]

    def __call__(self) -> None:
        self._vectors = [
            layer.settle(vector, iterations=self.ITERATIONS)
            for layer, vector in zip(self._layers, self._vectors, strict=True)
        ]

    def settle(self) -> None:
        """Step sizes to the tolerance of Appendix A."""
        self._vectors = [layer.settle(vector) for layer, vector in zip(self._layers, self._vectors, strict=True)]

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"vectors": self._vectors}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        self._vectors = [new.to(old.device) for new, old in zip(state["vectors"], self._vectors, strict=True)]
