"""A and A* against their definitions: the adjoint identity and the sum of equation (3)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.csc import Dictionary, project_to_unit_norm


def random_dictionary(
    kernel: int, stride: int, padding: int | None = None, atoms: int = 4, channels: int = 3
) -> Dictionary:
    return Dictionary(torch.randn(atoms, channels, kernel, kernel, dtype=torch.float64), stride, padding)


def naive_synthesis(dictionary: Dictionary, code: Tensor, size: tuple[int, int]) -> Tensor:
    """Equation (3) entry by entry: each entry of the code adds its atom where the image has pixels."""
    image = torch.zeros(1, dictionary.atoms.shape[1], *size, dtype=code.dtype)
    kernel = dictionary.atoms.shape[-1]
    padding = kernel // 2 if dictionary.padding is None else dictionary.padding
    for _, atom, row, column in code.nonzero().tolist():
        for i in range(kernel):
            for j in range(kernel):
                y = row * dictionary.stride + i - padding
                x = column * dictionary.stride + j - padding
                if 0 <= y < size[0] and 0 <= x < size[1]:
                    image[0, :, y, x] += code[0, atom, row, column] * dictionary.atoms[atom, :, i, j]
    return image


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (7, 9), (8, 8), (32, 32)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_synthesis_and_analysis_are_adjoint(size: tuple[int, int], stride: int, kernel: int) -> None:
    dictionary = random_dictionary(kernel, stride)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    code = torch.randn_like(dictionary.analyze(image))
    reconstruction = dictionary.synthesize(code, size)
    torch.testing.assert_close((reconstruction * image).sum(), (code * dictionary.analyze(image)).sum())


@pytest.mark.parametrize(("size", "stride"), [((4, 5), 1), ((5, 4), 2), ((5, 5), 3), ((6, 4), 3)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_synthesis_is_the_sum_of_equation_3(size: tuple[int, int], stride: int, kernel: int) -> None:
    dictionary = random_dictionary(kernel, stride)
    code = torch.randn(1, 4, *(-(-side // stride) for side in size), dtype=torch.float64)
    torch.testing.assert_close(
        dictionary.synthesize(code, size), naive_synthesis(dictionary, code, size), rtol=0, atol=1e-12
    )


PADDED = pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(4, 4, 0), (2, 2, 0), (16, 16, 0), (3, 2, 0), (3, 1, 2), (4, 2, 1), (11, 4, 2), (3, 5, 1), (4, 1, 3), (1, 3, 0)],
)


@PADDED
@pytest.mark.parametrize("size", [(16, 16), (17, 19), (23, 30)])
def test_of_any_padding_they_are_adjoint_on_the_grid_of_a_convolution(
    kernel: int, stride: int, padding: int, size: tuple[int, int]
) -> None:
    dictionary = random_dictionary(kernel, stride, padding)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    analyzed = dictionary.analyze(image)
    conv = nn.Conv2d(3, 4, kernel, stride, padding)
    assert analyzed.shape == conv(image.float()).shape
    assert dictionary.grid(size) == tuple(analyzed.shape[-2:])
    code = torch.randn_like(analyzed)
    torch.testing.assert_close((dictionary.synthesize(code, size) * image).sum(), (code * analyzed).sum())


@PADDED
def test_the_largest_side_of_a_grid_is_the_last_that_has_it(kernel: int, stride: int, padding: int) -> None:
    dictionary = random_dictionary(kernel, stride, padding)
    side = dictionary.largest_side(5)
    assert dictionary.grid((side, side + 1)) == (5, 6)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 4, 0), (3, 2, 0), (4, 2, 1), (3, 1, 2)])
def test_of_any_padding_synthesis_is_the_sum_of_equation_3(kernel: int, stride: int, padding: int) -> None:
    dictionary = random_dictionary(kernel, stride, padding)
    code = torch.randn(1, 4, *dictionary.grid((9, 10)), dtype=torch.float64)
    torch.testing.assert_close(
        dictionary.synthesize(code, (9, 10)), naive_synthesis(dictionary, code, (9, 10)), rtol=0, atol=1e-12
    )


def test_patches_are_apart_where_no_pixel_is_in_two_and_none_reaches_over_the_border() -> None:
    geometries = [(4, 4, 0), (4, 5, 0), (4, 3, 0), (4, 4, 1), (3, 3, None), (1, 1, None)]
    assert [random_dictionary(*each).is_apart for each in geometries] == [True, True, False, False, False, True]


def test_one_active_entry_places_its_atom_around_its_position() -> None:
    dictionary = random_dictionary(kernel=3, stride=1)
    code = torch.zeros(1, 4, 7, 9, dtype=torch.float64)
    code[0, 2, 3, 5] = 1.0
    image = dictionary.synthesize(code, (7, 9))
    assert torch.equal(image[0, :, 2:5, 4:7], dictionary.atoms[2])


@pytest.mark.parametrize(("size", "grid"), [((7, 9), (4, 5)), ((8, 10), (4, 5)), ((1, 2), (1, 1))])
def test_at_stride_two_the_grid_is_half_the_image_rounded_up(size: tuple[int, int], grid: tuple[int, int]) -> None:
    code = random_dictionary(kernel=3, stride=2).analyze(torch.zeros(1, 3, *size, dtype=torch.float64))
    assert code.shape == (1, 4, *grid)


def test_projected_atoms_have_unit_norm() -> None:
    norms = project_to_unit_norm(torch.randn(5, 3, 7, 7, dtype=torch.float64)).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(5, dtype=torch.float64))


def test_projection_is_idempotent() -> None:
    once = project_to_unit_norm(torch.randn(5, 3, 7, 7, dtype=torch.float64))
    torch.testing.assert_close(project_to_unit_norm(once), once, rtol=0, atol=1e-15)


def test_projection_keeps_directions() -> None:
    atoms = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    cosines = torch.cosine_similarity(project_to_unit_norm(atoms).flatten(1), atoms.flatten(1))
    torch.testing.assert_close(cosines, torch.ones(5, dtype=torch.float64))


def test_a_zero_atom_stays_zero() -> None:
    assert torch.equal(project_to_unit_norm(torch.zeros(2, 3, 3, 3)), torch.zeros(2, 3, 3, 3))
