"""The CSC-layer: right gradients, lambda that acts at once, and the ways of PyTorch it has to survive."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from found import there
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.autograd.graph import saved_tensors_hooks

from sdnet_bench.csc import CSCConv2d, feeding_lambda, residuals, set_lambda, using_lambda, using_steps
from sdnet_bench.errors import UsageError

SIGNS = pytest.mark.parametrize("nonnegative", [True, False])
STRIDES = pytest.mark.parametrize("stride", [1, 2])


def input_gradient(layer: CSCConv2d, image: Tensor) -> Tensor:
    image = image.clone().requires_grad_()
    layer(image).square().sum().backward()
    return there(image.grad)


OTHERS = [{"kernel_size": k, "stride": s, "padding": p} for k, s, p in ((4, 4, 0), (4, 2, 1), (3, 2, 0), (3, 1, 2))]
"""Geometries of other people's layers."""
SIGNED = [{"stride": stride, "nonnegative": nonnegative} for stride in (1, 2) for nonnegative in (True, False)]


@pytest.mark.parametrize(
    ("options", "size"),
    [*((options, size) for options in SIGNED for size in ((4, 4), (5, 3))), *((options, (6, 5)) for options in OTHERS)],
    ids=str,
)
def test_gradients_are_those_of_finite_differences(options: dict[str, Any], size: tuple[int, int]) -> None:
    layer = CSCConv2d(2, 3, steps=3, **options).double()

    def code(image: Tensor, atoms: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"dictionary": atoms}, (image,))

    image = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    atoms = layer.dictionary.detach().clone().requires_grad_()
    assert layer(image).any()
    assert torch.autograd.gradcheck(code, (image, atoms))


@SIGNS
def test_input_gradients_in_eval_mode_are_those_of_train_mode(nonnegative: bool) -> None:
    layer, image = CSCConv2d(3, 8, nonnegative=nonnegative), torch.randn(2, 3, 7, 9)
    in_train_mode, in_eval_mode = input_gradient(layer.train(), image), input_gradient(layer.eval(), image)
    assert in_train_mode.any()
    assert torch.equal(in_train_mode, in_eval_mode)


@pytest.mark.parametrize("size", [(1, 1), (5, 64), (7, 9), (32, 32)])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@STRIDES
def test_any_image_size_is_coded_on_its_grid(stride: int, kernel_size: int, size: tuple[int, int]) -> None:
    code = CSCConv2d(3, 8, kernel_size, stride)(torch.randn(2, 3, *size))
    assert code.shape == (2, 8, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("options", OTHERS, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (9, 11), (13, 10)])
def test_of_any_padding_the_code_has_the_shape_of_a_convolution(options: dict[str, Any], size: tuple[int, int]) -> None:
    layer, image = CSCConv2d(3, 8, **options), torch.randn(2, 3, *size)
    code = layer(image)
    assert code.shape == torch.nn.Conv2d(3, 8, **options)(image).shape
    assert layer.residual(image, code).shape == image.shape


def test_one_layer_codes_images_of_different_sizes() -> None:
    layer = CSCConv2d(3, 8, stride=2)
    assert [layer(torch.randn(1, 3, side, side)).shape[-1] for side in (8, 9, 5)] == [4, 5, 3]


@SIGNS
def test_codes_are_nonnegative_where_asked_for(nonnegative: bool) -> None:
    code = CSCConv2d(3, 8, nonnegative=nonnegative)(torch.randn(2, 3, 7, 9))
    assert bool((code >= 0).all()) is nonnegative


@STRIDES
def test_one_lambda_per_image_is_one_image_at_a_time(stride: int) -> None:
    layer, images = CSCConv2d(3, 8, stride=stride), torch.randn(3, 3, 7, 9)
    lambdas = torch.tensor([0.0, 0.2, 0.7])
    set_lambda(layer, lambdas)
    together = layer(images)
    for image, lambda_, code in zip(images, lambdas, together, strict=True):
        set_lambda(layer, float(lambda_))
        torch.testing.assert_close(layer(image[None])[0], code)


def test_lambda_takes_effect_at_the_next_forward() -> None:
    layer, image = CSCConv2d(3, 8), torch.randn(1, 3, 7, 9)
    active = []
    for lambda_ in (0.0, 0.3, 1.0, 100.0):
        set_lambda(layer, lambda_)
        active.append(int((layer(image) != 0).sum()))
    assert active[0] > active[1] > active[2] > active[3] == 0


@pytest.mark.parametrize("train", [True, False])
def test_forward_changes_no_state(train: bool, capsys: pytest.CaptureFixture[str]) -> None:
    layer = CSCConv2d(3, 8).train(train)
    before = copy.deepcopy(layer.state_dict())
    layer(torch.randn(2, 3, 7, 9)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    assert set(before) == {"dictionary", "lambda_", "step_size"}
    assert capsys.readouterr() == ("", "")


def test_everything_that_decides_the_code_survives_safetensors(tmp_path: Path) -> None:
    layer, image = CSCConv2d(3, 8), torch.randn(2, 3, 7, 9)
    set_lambda(layer, 0.25)
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    restored = CSCConv2d(3, 8)
    restored.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert torch.equal(restored(image), layer(image))


def test_a_copy_is_independent() -> None:
    layer, image = CSCConv2d(3, 8), torch.randn(2, 3, 7, 9)
    clone = copy.deepcopy(layer)
    before = clone(image)
    set_lambda(layer, 0.9)
    with torch.no_grad():
        layer.dictionary.mul_(2)
    assert torch.equal(clone(image), before)
    assert not torch.equal(layer(image), before)


@pytest.mark.parametrize("lambdas", [[0.1, 0.2, 0.9], [[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]]], ids=["one", "per image"])
def test_changing_lambda_does_not_recompile(lambdas: list[Any]) -> None:
    torch._dynamo.reset()
    counter, layer, image = CompileCounter(), CSCConv2d(3, 8), torch.randn(2, 3, 8, 8)
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    for lambda_ in lambdas:
        set_lambda(layer, torch.tensor(lambda_))
        torch.testing.assert_close(compiled(image), layer(image))
    assert counter.frame_count == 1


@STRIDES
def test_memory_format_does_not_matter(stride: int) -> None:
    layer, image = CSCConv2d(3, 8, stride=stride), torch.randn(2, 3, 7, 9)
    expected = layer(image)
    last = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(image.contiguous(memory_format=torch.channels_last)), expected)


@SIGNS
def test_autocast_stays_close_to_full_precision(nonnegative: bool) -> None:
    layer, image = CSCConv2d(3, 8, nonnegative=nonnegative), torch.randn(2, 3, 7, 9)
    exact = layer(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        code = layer(image)
    assert code.dtype == torch.bfloat16
    assert (code.float() - exact).norm() < 0.02 * exact.norm()


def test_the_residual_is_in_full_precision_under_autocast() -> None:
    layer, image = CSCConv2d(3, 8), torch.randn(2, 3, 7, 9)
    code = layer(image)
    expected = image - F.conv_transpose2d(code, layer.dictionary, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        residual = layer.residual(image, code)
    torch.testing.assert_close(residual, expected)


@pytest.mark.parametrize("options", [{"stride": 1}, {"stride": 2}, *OTHERS], ids=str)
def test_many_steps_solve_the_lasso(options: dict[str, Any]) -> None:
    layer = CSCConv2d(3, 8, lambda_=0.3, steps=2000, **options).double()
    image = torch.randn(1, 3, 9, 10, dtype=torch.float64)
    with torch.no_grad():
        code = layer(image)
        slopes = layer.operator.analyze(layer.residual(image, code))
    assert code.any()
    assert slopes.max() <= 0.3 + 1e-5
    torch.testing.assert_close(slopes[code > 0], torch.full_like(slopes[code > 0], 0.3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [0, 2, 4, -2])
def test_a_kernel_without_a_centre_is_refused(kernel_size: int) -> None:
    with pytest.raises(UsageError, match=f"expected an odd kernel size, got {kernel_size}"):
        CSCConv2d(3, 8, kernel_size)


@pytest.mark.parametrize("padding", [-1, 4])
def test_a_padding_that_no_patch_reaches_over_is_refused(padding: int) -> None:
    with pytest.raises(UsageError, match=f"padding out of range, expected 0 to 3, got {padding}"):
        CSCConv2d(3, 8, 4, padding=padding)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "FISTA iterations out of range, expected 1 to 10,000, got 0"),
        ({"steps": 10**9}, "FISTA iterations out of range, expected 1 to 10,000, got 1000000000"),
        ({"stride": 0}, "stride out of range, expected 1 to 256, got 0"),
        ({"stride": 10**9}, "stride out of range, expected 1 to 256, got 1000000000"),
        ({"kernel_size": 10**9 + 1}, "kernel size out of range, expected 1 to 256, got 1000000001"),
        ({"kernel_size": 10**9, "padding": 0}, "kernel size out of range, expected 1 to 256, got 1000000000"),
    ],
)
def test_sizes_that_nobody_means_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CSCConv2d(3, 8, **options)  # type: ignore[arg-type]


def test_printing_a_layer_tells_its_settings() -> None:
    assert repr(CSCConv2d(3, 8, 7, 2, steps=4)) == (
        "CSCConv2d(3, 8, kernel_size=7, stride=2, steps=4, nonnegative=True)"
    )
    assert "kernel_size=4, stride=4, padding=0, steps=2" in repr(CSCConv2d(3, 8, 4, 4, padding=0))


class TestGradientCheckpointing:
    """The steps are taken again in the backward pass: the same numbers, from the input alone."""

    @pytest.fixture(params=[(1, True), (2, False)], ids=["stride-1", "stride-2-signed"])
    def twins(self, request: pytest.FixtureRequest) -> tuple[CSCConv2d, CSCConv2d]:
        """A plain layer in double precision, and one that remembers its input alone."""
        stride, nonnegative = request.param
        plain = CSCConv2d(3, 8, stride=stride, steps=3, nonnegative=nonnegative).double()
        lean = copy.deepcopy(plain)
        lean.gradient_checkpointing = True
        return plain, lean

    @pytest.fixture
    def image(self) -> Tensor:
        return torch.randn(2, 3, 7, 9, dtype=torch.float64)

    def gradients(self, layer: CSCConv2d, image: Tensor) -> list[Tensor]:
        """The code, and the gradients of a function of it by the input and by the dictionary."""
        image = image.clone().requires_grad_()
        code = layer(image)
        return [code, *torch.autograd.grad(code.float().pow(3).sum(), [image, layer.dictionary])]

    @pytest.mark.parametrize("train", [True, False])
    def test_codes_and_gradients_are_those_of_plain_autograd(
        self, twins: tuple[CSCConv2d, CSCConv2d], image: Tensor, train: bool
    ) -> None:
        plain, lean = (self.gradients(layer.train(train), image) for layer in twins)
        assert all(value.any() for value in plain)
        torch.testing.assert_close(lean, plain, rtol=1e-12, atol=1e-12)

    def test_under_autocast_too(self, twins: tuple[CSCConv2d, CSCConv2d], image: Tensor) -> None:
        """The backward pass is outside: what it takes again has to be in the precision of the first time."""
        found = []
        for layer in twins:
            at = image.float().requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                code = layer.float()(at)
            assert code.dtype == torch.bfloat16
            found.append([code, *torch.autograd.grad(code.float().pow(3).sum(), [at, layer.dictionary])])
        torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)

    def through_lambdas(self, layer: CSCConv2d, image: Tensor) -> Tensor:
        with feeding_lambda(layer, image[:, 0, 0, 0].abs()):
            return layer(image.detach()).pow(3).sum()  # type: ignore[no-any-return]

    def through_residuals(self, layer: CSCConv2d, image: Tensor) -> Tensor:
        with residuals(layer, attached=True) as meter:
            layer(image)
        return meter.per_image().sum()

    def through_gradients(self, layer: CSCConv2d, image: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(layer(image).pow(3).sum(), image, create_graph=True)
        return slope.square().sum()

    @pytest.mark.parametrize("way", ["through_lambdas", "through_residuals", "through_gradients"])
    def test_gradients_by_other_ways(self, twins: tuple[CSCConv2d, CSCConv2d], image: Tensor, way: str) -> None:
        """Through the lambda of each image, through its residual, and of gradients."""
        image.requires_grad_()
        plain, lean = (
            torch.autograd.grad(getattr(self, way)(layer, image), [image, layer.dictionary]) for layer in twins
        )
        assert all(value.flatten(1).any(1).all() for value in plain)
        torch.testing.assert_close(lean, plain, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("lambda_", [0.5, torch.tensor([0.2, 0.7])])
    def test_what_was_borrowed_for_the_forward_pass_counts_in_the_backward_pass(
        self, twins: tuple[CSCConv2d, CSCConv2d], image: Tensor, lambda_: float | Tensor
    ) -> None:
        found = []
        for layer in twins:
            with using_lambda(layer, lambda_), using_steps(layer, 2):
                energy = layer(image).pow(3).sum()
            set_lambda(layer, 0.9)
            found.append(torch.autograd.grad(energy, [layer.dictionary]))
        assert found[0][0].any()
        torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)

    def test_a_dictionary_that_is_passed_in_has_the_gradients_of_finite_differences(self) -> None:
        layer = CSCConv2d(2, 3, steps=3, gradient_checkpointing=True).double()

        def code(image: Tensor, atoms: Tensor) -> Tensor:
            return torch.func.functional_call(layer, {"dictionary": atoms}, (image,))

        atoms = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
        image = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(code, (image, atoms * 0.3))

    def kept(self, layer: CSCConv2d, image: Tensor) -> list[int]:
        """Where the tensors lie that a forward pass keeps for the backward pass."""
        places: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            places.extend([tensor.data_ptr()] if tensor.numel() else [])
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            layer(image)
        return places

    def test_the_input_alone_is_kept(self, twins: tuple[CSCConv2d, CSCConv2d], image: Tensor) -> None:
        plain, lean = (self.kept(layer, image.requires_grad_()) for layer in twins)
        assert len(set(plain)) > 3
        assert lean == [image.data_ptr()]

    def test_a_compiled_layer_has_the_same_gradients(self, image: Tensor) -> None:
        torch._dynamo.reset()
        layer = CSCConv2d(3, 8, gradient_checkpointing=True)
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(self.gradients(compiled, image.float()), self.gradients(layer, image.float()))


class TestTheorem1:
    """A code of six spikes, their atoms not overlapping, seen through noise e."""

    @pytest.fixture
    def layer(self) -> CSCConv2d:
        return CSCConv2d(3, 8, kernel_size=7, steps=300, nonnegative=False).double()

    @pytest.fixture
    def truth(self) -> Tensor:
        code = torch.zeros(1, 8, 21, 28, dtype=torch.float64)
        for atom, (row, column) in enumerate([(3, 3), (3, 10), (10, 17), (10, 24), (17, 3), (17, 17)]):
            code[0, atom, row, column] = (-1.0) ** atom
        return code

    def noise(self) -> Tensor:
        noise = torch.randn(1, 3, 21, 28, dtype=torch.float64)
        return 0.02 * noise / noise.norm()

    def code(self, layer: CSCConv2d, truth: Tensor, noise: Tensor, lambda_: float | Tensor) -> Tensor:
        set_lambda(layer, lambda_)
        with torch.no_grad():
            return layer(layer.operator.synthesize(truth, (21, 28)) + noise)

    def test_the_support_is_contained_in_the_true_one(self, layer: CSCConv2d, truth: Tensor) -> None:
        noise = self.noise()
        support = self.code(layer, truth, noise, 2 * noise.norm()) != 0
        assert support.any()
        assert not (support & (truth == 0)).any()

    def test_the_error_is_of_the_order_of_the_noise(self, layer: CSCConv2d, truth: Tensor) -> None:
        noise = self.noise()
        code = self.code(layer, truth, noise, 2 * noise.norm())
        assert (code - truth).norm() < 10 * noise.norm()

    def test_a_lambda_far_below_the_noise_leaves_the_true_support(self, layer: CSCConv2d, truth: Tensor) -> None:
        noise = self.noise()
        support = self.code(layer, truth, noise, noise.norm() / 100) != 0
        assert (support & (truth == 0)).any()
