"""Images of few channels, where A and A* go by blocks of pixels: the same codes and gradients as plain convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sdnet_bench.csc import CSCConv2d, Dictionary, feeding_lambda, set_lambda
from sdnet_bench.csc.solvers import Lasso, solve


@dataclass(frozen=True, eq=False)
class PlainDictionary(Dictionary):
    """A and A* as PyTorch's own convolutions."""

    def analyze(self, image: Tensor) -> Tensor:
        return F.conv2d(image, self.atoms, None, self.stride, self._padding)

    def synthesize(self, code: Tensor, size: Any) -> Tensor:
        missing = [side - self._least_side(grid) for side, grid in zip(size, code.shape[-2:], strict=True)]
        return F.conv_transpose2d(code, self.atoms, None, self.stride, self._padding, missing)


def plain_code(layer: CSCConv2d, image: Tensor, lambda_: Tensor) -> Tensor:
    """The code of a layer by plain operators, and thresholds that write nothing in place."""

    def shrink(code: Tensor, threshold: Tensor) -> Tensor:
        return F.relu(code - threshold) if layer.nonnegative else code.sign() * F.relu(code.abs() - threshold)

    dictionary = PlainDictionary(layer.dictionary, layer.stride, layer.padding)
    return solve(Lasso(image, dictionary, lambda_.view(-1, 1, 1, 1), layer.step_size, shrink), layer.steps)


GEOMETRIES = [
    *({"kernel_size": k, "stride": s} for k in (1, 3, 7) for s in (1, 2)),
    *({"kernel_size": k, "stride": s, "padding": p} for k, s, p in ((3, 1, 0), (3, 1, 2), (4, 1, 1), (4, 2, 1))),
]


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(8, 6), (4, 8), (7, 8), (9, 9)])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_operators_and_their_derivatives_are_those_of_plain_convolutions(
    options: dict[str, Any], size: tuple[int, int], channels: int
) -> None:
    kernel, stride, padding = (options.get(name) for name in ("kernel_size", "stride", "padding"))
    found = []
    for kind in (Dictionary, PlainDictionary):
        torch.manual_seed(0)
        image = torch.rand(2, channels, *size, dtype=torch.float64, requires_grad=True)
        atoms = torch.rand(5, channels, kernel, kernel, dtype=torch.float64, requires_grad=True)
        dictionary = kind(atoms, stride, padding)
        code = dictionary.analyze(image)
        again = dictionary.synthesize(code.tanh(), size)
        found.append([code, again, *torch.autograd.grad(again.pow(3).sum(), [image, atoms])])
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("lambdas", [[0.1], [0.0], [0.0, 0.2, 0.7]], ids=str)
def test_codes_and_all_gradients_of_a_layer_are_those_of_plain_autograd(
    nonnegative: bool, stride: int, steps: int, lambdas: list[float]
) -> None:
    layer = CSCConv2d(3, 5, stride=stride, steps=steps, nonnegative=nonnegative).double()
    image = torch.randn(3, 3, 8, 10, dtype=torch.float64, requires_grad=True)
    lambda_ = torch.tensor(lambdas, dtype=torch.float64, requires_grad=True)
    with feeding_lambda(layer, lambda_):
        ours = layer(image)
    found = []
    for code in (ours, plain_code(layer, image, lambda_)):
        found.append([code, *torch.autograd.grad(code.pow(3).sum(), [image, layer.dictionary, lambda_])])
    assert all(value.any() for value in found[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("options", [{}, {"kernel_size": 4, "padding": 1}], ids=str)
@pytest.mark.parametrize("gradient_checkpointing", [True, False])
def test_first_and_second_derivatives_are_those_of_finite_differences(
    nonnegative: bool, steps: int, options: dict[str, int], gradient_checkpointing: bool
) -> None:
    torch.manual_seed(1)
    layer = CSCConv2d(
        2, 3, steps=steps, nonnegative=nonnegative, gradient_checkpointing=gradient_checkpointing, **options
    ).double()

    def code(image: Tensor, atoms: Tensor, lambdas: Tensor) -> Tensor:
        with feeding_lambda(layer, lambdas):
            return torch.func.functional_call(layer, {"dictionary": atoms}, (image,))

    side = 4 + (options.get("kernel_size", 3) - 1 - 2 * options.get("padding", 1))
    inputs = [
        torch.randn(2, 2, side + side % 2, 4, dtype=torch.float64),
        layer.dictionary.detach().clone(),
        torch.tensor([0.05, 0.2], dtype=torch.float64),
    ]
    inputs = [each.requires_grad_() for each in inputs]
    assert code(*inputs).any()
    assert torch.autograd.gradcheck(code, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(code, inputs, fast_mode=True)


def test_attacks_have_their_gradients_with_frozen_weights() -> None:
    layer, image = CSCConv2d(3, 5).double().requires_grad_(False), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    image.requires_grad_()
    (found,) = torch.autograd.grad(layer(image).pow(3).sum(), image)
    (expected,) = torch.autograd.grad(plain_code(layer, image, layer.lambda_).pow(3).sum(), image)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_per_sample_gradients_of_torch_func() -> None:
    layer, images = CSCConv2d(3, 5).double(), torch.randn(4, 1, 3, 8, 8, dtype=torch.float64)

    def energy(atoms: Tensor, image: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"dictionary": atoms}, (image,)).pow(3).sum()

    atoms = layer.dictionary.detach()
    together = torch.func.vmap(torch.func.grad(energy), (None, 0))(atoms, images)
    each = [torch.autograd.grad(layer(image).pow(3).sum(), layer.dictionary)[0] for image in images]
    torch.testing.assert_close(together, torch.stack(each), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("moved", ["image", "atoms", "both"])
def test_directional_derivatives_are_those_of_gradients(moved: str) -> None:
    """<u, J v> = <J^T u, v>, by forward mode on the left and by backward mode on the right."""
    torch.manual_seed(0)
    layer = CSCConv2d(3, 8, steps=3).double()
    inputs = torch.rand(2, 3, 8, 6, dtype=torch.float64), layer.dictionary.detach()
    along = [
        torch.randn_like(each) * (moved in (name, "both"))
        for name, each in zip(("image", "atoms"), inputs, strict=True)
    ]

    def code(image: Tensor, atoms: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"dictionary": atoms}, image)  # type: ignore[no-any-return]

    found, forward = torch.func.jvp(code, inputs, tuple(along))
    weights = torch.randn_like(found)
    backward = torch.func.vjp(code, *inputs)[1](weights)
    expected = sum((gradient * each).sum() for gradient, each in zip(backward, along, strict=True))
    assert (weights * forward).sum() == pytest.approx(float(expected), rel=1e-9)
    assert float(expected) != 0


@pytest.mark.parametrize("lambda_", [0.1, torch.tensor([0.05, 0.3])], ids=["one", "per image"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_autocast_of_images_in_blocks_is_that_of_a_convolution(lambda_: Any, layout: torch.memory_format) -> None:
    layer, image = CSCConv2d(3, 16).to(memory_format=layout), torch.rand(2, 3, 32, 32).contiguous(memory_format=layout)
    set_lambda(layer, lambda_)
    image.requires_grad_()
    found = []
    for coded in (layer, lambda each: plain_code(layer, each, layer.lambda_)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            code = coded(image)
        assert code.dtype == torch.bfloat16
        slopes = torch.autograd.grad(code.float().square().sum(), [image, layer.dictionary])
        found.append([code.detach(), *slopes])
    for ours, plain in zip(*found, strict=True):
        assert ours.dtype == plain.dtype
        assert float((ours - plain).float().norm() / plain.float().norm()) < 0.01


class FreshCodes(TorchDispatchMode):
    """Counts the results of operations that have the shape of a code and memory of their own."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {each.data_ptr() for each in args if isinstance(each, Tensor)}
        if isinstance(found, Tensor) and found.shape == self.shape:
            self.count += found.data_ptr() not in given
        return found


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_step_makes_two_blocks_of_memory_of_the_size_of_a_code_and_the_next_one(steps: int) -> None:
    layer, image = CSCConv2d(3, 16, steps=steps), torch.rand(2, 3, 8, 8)
    with torch.no_grad(), FreshCodes(layer(image).shape) as fresh:
        layer(image)
    assert fresh.count == steps + 1


def test_one_image_is_coded_under_many_lambdas() -> None:
    layer, image = CSCConv2d(3, 5), torch.rand(1, 3, 8, 8)
    lambdas = torch.tensor([0.0, 0.1, 0.5])
    set_lambda(layer, lambdas)
    torch.testing.assert_close(layer(image), layer(image.expand(3, -1, -1, -1)))
