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


PADDED = [
    *((4, 4, 0), (2, 2, 0), (16, 16, 0), (3, 2, 0), (3, 1, 2)),
    *((4, 2, 1), (11, 4, 2), (3, 5, 1), (4, 1, 3), (1, 3, 0)),
]
"""Kernel, stride and padding of other people's layers."""
CENTRED = [(kernel, stride, None) for kernel in (1, 3, 7) for stride in (1, 2)]
"""Of ours, at half the kernel."""
Geometry = tuple[int, int, int | None]


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        *((geometry, size) for geometry in CENTRED for size in ((1, 1), (2, 1), (7, 9), (8, 8), (32, 32))),
        *((geometry, size) for geometry in PADDED for size in ((16, 16), (17, 19), (23, 30))),
    ],
    ids=str,
)
def test_synthesis_and_analysis_are_adjoint_on_the_grid_of_a_convolution(
    geometry: Geometry, size: tuple[int, int]
) -> None:
    dictionary, (kernel, stride, padding) = random_dictionary(*geometry), geometry
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    analyzed = dictionary.analyze(image)
    conv = nn.Conv2d(3, 4, kernel, stride, kernel // 2 if padding is None else padding)
    assert analyzed.shape == conv(image.float()).shape
    assert dictionary.grid(size) == tuple(analyzed.shape[-2:])
    code = torch.randn_like(analyzed)
    torch.testing.assert_close((dictionary.synthesize(code, size) * image).sum(), (code * analyzed).sum())


@pytest.mark.parametrize("geometry", PADDED, ids=str)
def test_the_largest_side_of_a_grid_is_the_last_that_has_it(geometry: Geometry) -> None:
    dictionary = random_dictionary(*geometry)
    side = dictionary.largest_side(5)
    assert dictionary.grid((side, side + 1)) == (5, 6)


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        *(((k, s, None), size) for k in (1, 3, 5) for size, s in (((4, 5), 1), ((5, 4), 2), ((5, 5), 3), ((6, 4), 3))),
        *((geometry, (9, 10)) for geometry in ((4, 4, 0), (3, 2, 0), (4, 2, 1), (3, 1, 2))),
    ],
    ids=str,
)
def test_synthesis_is_the_sum_of_equation_3(geometry: Geometry, size: tuple[int, int]) -> None:
    dictionary = random_dictionary(*geometry)
    code = torch.randn(1, 4, *dictionary.grid(size), dtype=torch.float64)
    expected = naive_synthesis(dictionary, code, size)
    torch.testing.assert_close(dictionary.synthesize(code, size), expected, rtol=0, atol=1e-12)


def test_patches_are_apart_where_no_pixel_is_in_two_and_none_reaches_over_the_border() -> None:
    geometries = [(4, 4, 0), (4, 5, 0), (4, 3, 0), (4, 4, 1), (3, 3, None), (1, 1, None)]
    assert [random_dictionary(*each).is_apart for each in geometries] == [True, True, False, False, False, True]


def test_one_active_entry_places_its_atom_around_its_position() -> None:
    dictionary = random_dictionary(kernel=3, stride=1)
    code = torch.zeros(1, 4, 7, 9, dtype=torch.float64)
    code[0, 2, 3, 5] = 1.0
    image = dictionary.synthesize(code, (7, 9))
    assert torch.equal(image[0, :, 2:5, 4:7], dictionary.atoms[2])


def test_projected_atoms_have_unit_norm_and_their_direction_and_are_projected_to_themselves() -> None:
    atoms, one = torch.randn(5, 3, 7, 7, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    projected = project_to_unit_norm(atoms)
    torch.testing.assert_close(projected.flatten(1).norm(dim=1), one)
    torch.testing.assert_close(torch.cosine_similarity(projected.flatten(1), atoms.flatten(1)), one)
    torch.testing.assert_close(project_to_unit_norm(projected), projected, rtol=0, atol=1e-15)


def test_a_zero_atom_stays_zero() -> None:
    assert torch.equal(project_to_unit_norm(torch.zeros(2, 3, 3, 3)), torch.zeros(2, 3, 3, 3))
