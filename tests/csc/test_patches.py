"""Patch-wise coding against optimality conditions, independent solvers, finite differences and a dense solve."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.optimize import nnls
from sklearn.linear_model import Lasso as IndependentLasso
from torch import Tensor

from sdnet_bench.csc import PatchCodingConv2d
from sdnet_bench.csc.patches import PatchLasso, largest_step_size, solve_active
from sdnet_bench.csc.solvers import solve
from sdnet_bench.errors import UsageError

LAMBDA = 0.0625
SIZE = (5, 6)
STRIDES = pytest.mark.parametrize("stride", [1, 2])
GRADIENTS = pytest.mark.parametrize("gradient", ["implicit", "unrolled"])


def converged(atoms: int = 6, stride: int = 1, **options: object) -> PatchCodingConv2d:
    """In float64, with as many iterations as it takes, forth and back, and no ridge."""
    settings = {"lambda_": LAMBDA, "steps": 1000, "backward_steps": 3 * atoms, "ridge": 0.0, **options}
    return PatchCodingConv2d(2, atoms, stride=stride, **settings).double()  # type: ignore[arg-type]


def images(count: int = 2, channels: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, channels, *size, dtype=torch.float64)


def patches_and_codes(layer: PatchCodingConv2d, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A `(k k M, C)`, the patches `(k k M, P)`, cut out, and their codes `(C, P)`."""
    matrix = layer.dictionary.detach().flatten(1).T
    cut = F.unfold(image, layer.dictionary.shape[-1], padding=1, stride=layer.stride)
    with torch.no_grad():
        code = layer(image)
    return matrix, cut.transpose(0, 1).flatten(1), code.transpose(0, 1).flatten(1)


def gradients(layer: PatchCodingConv2d, image: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Of the weighted sum of the code, with respect to the image, the atoms and lambda."""
    leaves = {"image": image.clone().requires_grad_(), "dictionary": layer.dictionary, "lambda_": layer.lambda_}
    values = torch.autograd.grad((layer(leaves["image"]) * weights).sum(), list(leaves.values()))
    return dict(zip(leaves, values, strict=True))


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


@STRIDES
@pytest.mark.parametrize("size", [(5, 6), (6, 5), (1, 1), (8, 8)])
def test_the_code_of_every_patch_satisfies_the_optimality_conditions(stride: int, size: tuple[int, int]) -> None:
    matrix, patches, codes = patches_and_codes(converged(stride=stride), images(size=size))
    slopes, active = matrix.T @ (patches - matrix @ codes), codes > 0
    assert codes.min() >= 0
    assert 0 < active.sum() < codes.numel()
    assert slopes.max() <= LAMBDA + 1e-10
    torch.testing.assert_close(slopes[active], torch.full_like(slopes[active], LAMBDA), rtol=0, atol=1e-10)


@STRIDES
def test_agrees_with_coordinate_descent_patch_by_patch(stride: int) -> None:
    matrix, patches, codes = patches_and_codes(converged(stride=stride), images())
    alpha = LAMBDA / len(matrix)  # scikit-learn divides the squared error by the number of samples
    judge = IndependentLasso(alpha, positive=True, fit_intercept=False, tol=1e-14, max_iter=100_000)
    for patch, code in zip(patches.T, codes.T, strict=True):
        expected = torch.as_tensor(judge.fit(matrix.numpy(), patch.numpy()).coef_)
        torch.testing.assert_close(code, expected, rtol=0, atol=1e-6)


def test_at_lambda_zero_agrees_with_nonnegative_least_squares() -> None:
    matrix, patches, codes = patches_and_codes(converged(lambda_=0.0), images())
    expected = np.stack([nnls(matrix.numpy(), patch)[0] for patch in patches.T.numpy()], axis=1)
    torch.testing.assert_close(codes, torch.as_tensor(expected), rtol=0, atol=1e-10)


def test_overlapping_patches_are_coded_independently() -> None:
    layer = converged()
    _, patches, codes = patches_and_codes(layer, images())
    with torch.no_grad():
        alone = layer(patches.T.reshape(-1, 2, 3, 3))  # an image of its own, which is the patch of its middle
    torch.testing.assert_close(alone[:, :, 1, 1].T, codes)


def test_a_stride_leaves_patches_out() -> None:
    dense, image = converged(), images()
    strided = copy.deepcopy(dense)
    strided.stride = 2
    torch.testing.assert_close(strided(image), dense(image)[:, :, ::2, ::2])


@STRIDES
@GRADIENTS
def test_gradients_are_those_of_finite_differences(gradient: str, stride: int) -> None:
    layer = converged(3, stride, gradient=gradient, steps=200)

    def code(image: Tensor, atoms: Tensor, lambda_: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"dictionary": atoms, "lambda_": lambda_}, (image,))  # type: ignore[no-any-return]

    leaves = (images(1, size=(2, 3)), layer.dictionary.detach().clone(), layer.lambda_.detach().clone())
    assert torch.autograd.gradcheck(code, tuple(leaf.requires_grad_() for leaf in leaves))


@STRIDES
def test_the_implicit_gradient_is_the_unrolled_one_of_a_converged_code(stride: int) -> None:
    implicit = converged(stride=stride)
    unrolled = copy.deepcopy(implicit)
    unrolled.gradient = "unrolled"
    image = images()
    weights = torch.randn_like(implicit(image))
    expected = gradients(unrolled, image, weights)
    for name, value in gradients(implicit, image, weights).items():
        assert relative(value, expected[name]) < 1e-10, name


def test_both_gradients_belong_to_the_same_code() -> None:
    implicit = converged(steps=7)
    unrolled = copy.deepcopy(implicit)
    unrolled.gradient = "unrolled"
    image = images()
    assert torch.equal(implicit(image), unrolled(image))


def test_the_implicit_gradient_is_the_formula_of_the_active_set() -> None:
    """With b = (A_s^T A_s)^-1 g_s: dy = A b, dA = (y - A x) b^T - (A b) x^T, dlambda = -sum(b), summed over patches."""
    layer, image = converged(), images()
    matrix, patches, codes = patches_and_codes(layer, image)
    weights = torch.randn_like(layer(image))
    incoming = weights.transpose(0, 1).flatten(1)
    solved = torch.zeros_like(codes)
    for patch, active in enumerate((codes > 0).T):
        inside = matrix[:, active]
        solved[active, patch] = torch.linalg.solve(inside.T @ inside, incoming[active, patch])
    atoms = (patches - matrix @ codes) @ solved.T - matrix @ solved @ codes.T
    folded = (matrix @ solved).unflatten(1, (2, -1)).transpose(0, 1)
    expected = {
        "image": F.fold(folded, SIZE, 3, padding=1),
        "dictionary": atoms.T.reshape(layer.dictionary.shape),
        "lambda_": -solved.sum(),
    }
    for name, value in gradients(layer, image, weights).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-8)


class TestConjugateGradients:
    RIDGE = 0.01

    @pytest.fixture
    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """A Gram matrix, right sides and active sets: one empty, one full, the others random."""
        atoms = torch.randn(5, 9, dtype=torch.float64)
        active = (torch.rand(5, 12) < 0.5).double()
        active[:, 0], active[:, 1] = 0, 1
        return atoms @ atoms.T, torch.randn(5, 12, dtype=torch.float64), active

    def solve(self, gram: Tensor, right: Tensor, active: Tensor, steps: int = 10) -> Tensor:
        return solve_active(gram, torch.tensor(self.RIDGE).to(gram), right, active, steps)

    def test_agree_with_a_dense_solve_of_every_active_set(self, system: tuple[Tensor, Tensor, Tensor]) -> None:
        gram, right, active = system
        expected = torch.zeros_like(right)
        for column, chosen in enumerate(active.bool().T):
            matrix = gram[chosen][:, chosen] + torch.tensor(self.RIDGE) * torch.eye(int(chosen.sum()))
            expected[chosen, column] = torch.linalg.solve(matrix, right[chosen, column])
        torch.testing.assert_close(self.solve(*system), expected, rtol=1e-8, atol=1e-10)

    def test_of_many_columns_are_those_of_each(self, system: tuple[Tensor, Tensor, Tensor]) -> None:
        gram, right, active = system
        for column in range(12):
            one = slice(column, column + 1)
            alone = self.solve(gram, right[:, one], active[:, one], 2)
            torch.testing.assert_close(alone, self.solve(*system, 2)[:, one])

    def test_do_not_underflow(self, system: tuple[Tensor, Tensor, Tensor]) -> None:
        gram, right, active = (value.float() for value in system)
        faint = self.solve(gram, right * 1e-30, active)
        torch.testing.assert_close(faint * 1e30, self.solve(gram, right, active), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
    def test_stay_finite_on_a_singular_system(self, scale: float) -> None:
        atoms, right = scale * torch.randn(8, 3), torch.randn(8, 50)
        solution = solve_active(atoms @ atoms.T, torch.tensor(1e-6), right, torch.ones(8, 50), 300)
        assert solution.isfinite().all()
        assert solution.norm() <= right.norm() / 1e-6


@pytest.mark.parametrize(("atoms", "entries"), [(4, 9), (9, 4)])
def test_the_step_size_is_that_of_the_largest_singular_value(atoms: int, entries: int) -> None:
    matrix = torch.randn(atoms, entries, dtype=torch.float64)
    expected = torch.linalg.matrix_norm(matrix, 2) ** -2
    torch.testing.assert_close(largest_step_size(matrix @ matrix.T), expected)


def test_a_step_is_projected_gradient_descent() -> None:
    atoms, patches = torch.randn(2, 4, 9, dtype=torch.float64)[0], torch.randn(9, 7, dtype=torch.float64)
    gram = atoms @ atoms.T
    problem = PatchLasso(atoms @ patches, gram, torch.tensor(LAMBDA), largest_step_size(gram))
    point = torch.randn(4, 7, dtype=torch.float64).requires_grad_()
    objective = (patches - atoms.T @ point).square().sum() / 2 + LAMBDA * point.sum()
    (slope,) = torch.autograd.grad(objective, point)
    expected = (point - problem.step_size * slope).clamp_min(0)
    torch.testing.assert_close(problem.descend(point), expected)
    torch.testing.assert_close(problem.descend_from_zero(), problem.descend(torch.zeros_like(point)))
    torch.testing.assert_close(problem.slopes(point), -slope)
    assert solve(problem, 5).any()


def test_a_relative_ridge_tames_the_gradient_of_more_atoms_than_entries() -> None:
    """Against the unrolled gradient at 50 steps, in float32, as SCN-18 uses the layer."""
    layer = PatchCodingConv2d(1, 24, lambda_=0.01)
    image = torch.randn(4, 1, 8, 8)
    weights = torch.randn_like(layer(image))
    sizes = {}
    for gradient, ridge in (("unrolled", 0.0), ("implicit", 0.0), ("implicit", 1e-2)):
        layer.gradient, layer.relative_ridge = gradient, ridge
        sizes[gradient, ridge] = gradients(layer, image, weights)["dictionary"].norm()
    assert sizes["implicit", 1e-2] < 2 * sizes["unrolled", 0.0] < sizes["implicit", 0.0]


@STRIDES
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (5, 16), (7, 9), (8, 8)])
def test_any_image_size_is_coded_on_its_grid(stride: int, kernel_size: int, size: tuple[int, int]) -> None:
    code = PatchCodingConv2d(3, 8, kernel_size, stride, steps=2)(torch.randn(2, 3, *size))
    assert code.shape == (2, 8, -(-size[0] // stride), -(-size[1] // stride))


@GRADIENTS
def test_images_do_not_depend_on_the_rest_of_the_batch(gradient: str) -> None:
    layer, batch = converged(gradient=gradient, steps=20), images(3)
    weights = torch.randn_like(layer(batch))
    together = gradients(layer, batch, weights)["image"]
    torch.testing.assert_close(layer(batch[1:2]), layer(batch)[1:2])
    torch.testing.assert_close(gradients(layer, batch[1:2], weights[1:2])["image"], together[1:2])


@GRADIENTS
def test_gradients_in_eval_mode_are_those_of_train_mode(gradient: str) -> None:
    layer, image = PatchCodingConv2d(3, 8, gradient=gradient), torch.randn(2, 3, 7, 9)
    weights = torch.randn_like(layer(image))
    trained, evaluated = (gradients(layer.train(mode), image, weights) for mode in (True, False))
    assert all(value.any() and torch.equal(value, evaluated[name]) for name, value in trained.items())


@pytest.mark.parametrize(("before", "after"), [(-0.3, 0.0), (0.0, 0.0), (0.2, 0.2)])
def test_a_step_of_the_optimiser_is_followed_by_a_lambda_that_is_allowed(before: float, after: float) -> None:
    layer = PatchCodingConv2d(3, 8)
    with torch.no_grad():
        layer.lambda_.fill_(before)
    layer.after_step()
    assert layer.lambda_.item() == pytest.approx(after)
    assert layer.lambda_.requires_grad


def test_a_larger_lambda_gives_a_sparser_code() -> None:
    layer, image = PatchCodingConv2d(3, 8), torch.randn(2, 3, 7, 9)
    active = []
    for lambda_ in (0.0, 0.1, 0.3, 100.0):
        with torch.no_grad():
            layer.lambda_.fill_(lambda_)
        active.append(int((layer(image) > 0).sum()))
    assert active[0] > active[1] > active[2] > active[3] == 0


def test_atoms_start_at_the_scale_of_their_patch() -> None:
    layer = PatchCodingConv2d(16, 64)
    assert layer.dictionary.std().item() == pytest.approx(1 / 144, rel=0.05)
    assert layer.lambda_.item() == 0


@GRADIENTS
def test_autocast_does_not_touch_the_numerics(gradient: str) -> None:
    layer, image = PatchCodingConv2d(3, 8, gradient=gradient), torch.randn(2, 3, 7, 9)
    exact = layer(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, rounded = layer(image), layer(image.bfloat16())
    assert torch.equal(inside, exact)
    assert torch.equal(rounded, layer(image.bfloat16().float()))
    slopes = [torch.autograd.grad(code.square().sum(), list(layer.parameters())) for code in (exact, inside)]
    assert all(map(torch.equal, *slopes))


@STRIDES
@GRADIENTS
def test_memory_format_does_not_matter(gradient: str, stride: int) -> None:
    layer, image = converged(stride=stride, gradient=gradient, steps=20), images()
    last = copy.deepcopy(layer).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = torch.randn_like(layer(image))
    expected = gradients(layer, image, weights)
    for name, value in gradients(last, image.contiguous(memory_format=torch.channels_last), weights).items():
        torch.testing.assert_close(value, expected[name])


def test_a_copy_is_independent() -> None:
    layer, image = PatchCodingConv2d(3, 8), torch.randn(2, 3, 7, 9)
    clone = copy.deepcopy(layer)
    before = clone(image)
    with torch.no_grad():
        layer.dictionary.mul_(2)
        layer.lambda_.fill_(0.1)
    assert torch.equal(clone(image), before)
    assert not torch.equal(layer(image), before)


def test_everything_that_decides_the_code_survives_safetensors(tmp_path: Path) -> None:
    layer, image = PatchCodingConv2d(3, 8, lambda_=0.05), torch.randn(2, 3, 7, 9)
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    restored = PatchCodingConv2d(3, 8)
    restored.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert torch.equal(restored(image), layer(image))


def test_forward_changes_no_state() -> None:
    layer = PatchCodingConv2d(3, 8)
    before = copy.deepcopy(layer.state_dict())
    layer(torch.randn(2, 3, 7, 9)).sum().backward()
    assert set(before) == {"dictionary", "lambda_"}
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_weights_that_are_not_finite_give_a_code_that_is_not() -> None:
    layer = PatchCodingConv2d(3, 8)
    with torch.no_grad():
        layer.dictionary[0, 0, 0, 0] = torch.nan
    assert layer(torch.randn(1, 3, 4, 4)).isnan().any()


def test_a_dictionary_of_zeros_gives_the_zero_code() -> None:
    layer = PatchCodingConv2d(3, 8)
    torch.nn.init.zeros_(layer.dictionary)
    code = layer(torch.randn(1, 3, 4, 4, requires_grad=True))
    code.sum().backward()
    assert not code.any()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kernel_size": 2}, "expected an odd kernel size, got 2"),
        ({"kernel_size": -2}, "expected an odd kernel size, got -2"),
        ({"stride": 0}, "stride out of range, expected 1 to 256, got 0"),
        ({"steps": 0}, "FISTA iterations out of range, expected 1 to 10,000, got 0"),
        ({"backward_steps": 0}, "expected backward_steps >= 1, got 0"),
        ({"gradient": "exact"}, "expected implicit or unrolled, got exact"),
        ({"ridge": -1.0}, "expected ridges >= 0, got -1.0"),
        ({"relative_ridge": -0.5}, "expected ridges >= 0, got -0.5"),
        ({"lambda_": -0.1}, "lambda out of range"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        PatchCodingConv2d(3, 8, **options)  # type: ignore[arg-type]


def test_printing_a_layer_tells_its_settings() -> None:
    assert repr(PatchCodingConv2d(3, 8, 5, 2, steps=4)) == (
        "PatchCodingConv2d(3, 8, kernel_size=5, stride=2, steps=4, gradient=implicit)"
    )
