"""The step size against exact spectra: a singular value decomposition and the symbol of the infinite plane."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sdnet_bench.csc import Dictionary, project_to_unit_norm, spectrum
from sdnet_bench.csc.spectrum import MARGIN, power_iteration


def random_dictionary(
    stride: int, *, smooth: bool = False, shape: tuple[int, ...] = (8, 3, 5, 5), padding: int | None = None
) -> Dictionary:
    """Gaussian atoms, or `smooth` all-positive ones, whose dominant eigenvalue is the hardest to find."""
    atoms = torch.rand(shape, dtype=torch.float64) if smooth else torch.randn(shape, dtype=torch.float64)
    return Dictionary(project_to_unit_norm(atoms), stride, padding)


def largest_on_grid(dictionary: Dictionary, grid: int) -> Tensor:
    """The largest eigenvalue of A*A on grid x grid positions, by the SVD of the explicit matrix."""
    atoms = dictionary.atoms.shape[0]
    units = torch.eye(atoms * grid**2, dtype=torch.float64).view(-1, atoms, grid, grid)
    side = dictionary.largest_side(grid)
    return torch.linalg.matrix_norm(dictionary.synthesize(units, (side, side)).flatten(1), 2) ** 2


def largest_on_plane(dictionary: Dictionary, size: int = 80) -> Tensor:
    """The largest eigenvalue of A*A on a torus of size x size pixels, an upper bound for every smaller grid.

    A code of stride s repeats its spectrum s^2 times over that of the image, so the symbol at one frequency of
    the code stacks the transforms of the atoms at its s^2 aliases.
    """
    stride, (atoms, channels) = dictionary.stride, dictionary.atoms.shape[:2]
    transform = torch.fft.fft2(dictionary.atoms, s=(size, size))
    aliases = transform.reshape(atoms, channels, stride, size // stride, stride, size // stride)
    symbol = aliases.permute(3, 5, 1, 2, 4, 0).reshape(-1, channels * stride**2, atoms) / stride
    return torch.linalg.matrix_norm(symbol, 2).max() ** 2


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(5, 1, None), (5, 2, None), *((4, 4, 0), (2, 2, 0), (8, 8, 0), (3, 2, 0), (3, 1, 2), (4, 2, 1), (4, 4, 2))],
)
def test_many_iterations_find_the_largest_singular_value_squared(
    monkeypatch: pytest.MonkeyPatch, kernel: int, stride: int, padding: int | None, smooth: bool
) -> None:
    monkeypatch.setattr(spectrum, "GRID", 5)
    dictionary = random_dictionary(stride, smooth=smooth, shape=(6, 3, kernel, kernel), padding=padding)
    estimate = power_iteration(dictionary, iterations=3000).value
    torch.testing.assert_close(estimate, largest_on_grid(dictionary, 5), rtol=1e-6, atol=0)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("shape", "stride", "padding"),
    [
        *((shape, s, None) for shape in ((8, 3, 3, 3), (64, 3, 3, 3), (16, 3, 7, 7), (4, 16, 3, 3)) for s in (1, 2)),
        *(((96, 3, 4, 4), 4, 0), ((8, 3, 4, 4), 2, 1), ((64, 3, 3, 3), 2, 0)),
        *(((16, 3, 10, 10), 4, 2), ((32, 16, 2, 2), 2, 0), ((4, 3, 11, 11), 1, None)),
    ],
)
def test_the_margin_covers_every_image_size(
    shape: tuple[int, ...], stride: int, padding: int | None, smooth: bool
) -> None:
    dictionary = random_dictionary(stride, smooth=smooth, shape=shape, padding=padding)
    estimate, supremum = power_iteration(dictionary).value, largest_on_plane(dictionary)
    assert MARGIN * supremum < estimate < supremum * (1 + 1e-9)


def test_patches_that_are_apart_are_a_matter_of_one_position() -> None:
    """As many atoms as a patch has entries: their eigenvalues lie close together, which is hard on the iteration."""
    dictionary = random_dictionary(16, shape=(768, 3, 16, 16), padding=0)
    value, vector = power_iteration(dictionary)
    largest = torch.linalg.matrix_norm(dictionary.atoms.flatten(1), 2) ** 2
    assert vector.shape == (1, 768, 1, 1)
    assert MARGIN * largest < value <= largest


def test_the_vector_is_an_eigenvector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "GRID", 6)
    dictionary = random_dictionary(stride=1)
    value, vector = power_iteration(dictionary, iterations=3000)
    applied = dictionary.analyze(dictionary.synthesize(vector, (6, 6)))
    torch.testing.assert_close(applied, value * vector, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("smooth", "tolerance"),
    [(True, 0.01), (False, 1 - MARGIN)],  # random atoms: several eigenvalues compete for the largest
)
def test_a_warm_start_tracks_a_slowly_changing_dictionary(
    monkeypatch: pytest.MonkeyPatch, smooth: bool, tolerance: float
) -> None:
    monkeypatch.setattr(spectrum, "GRID", 8)
    dictionary = random_dictionary(stride=1, smooth=smooth)
    vector = power_iteration(dictionary).vector
    for _ in range(30):
        moved = dictionary.atoms + 0.01 * torch.randn_like(dictionary.atoms)
        dictionary = Dictionary(project_to_unit_norm(moved))
        value, vector = power_iteration(dictionary, vector, iterations=2)
    torch.testing.assert_close(value, largest_on_grid(dictionary, 8), rtol=tolerance, atol=0)


def test_the_estimate_leaves_the_global_generator_alone() -> None:
    before, dictionary = torch.get_rng_state(), Dictionary(torch.ones(1, 1, 3, 3))
    power_iteration(dictionary)
    assert torch.equal(before, torch.get_rng_state())


def test_an_orthonormal_dictionary_has_eigenvalue_one() -> None:
    atoms = torch.zeros(3, 3, 1, 1, dtype=torch.float64)
    atoms[range(3), range(3)] = 1.0
    torch.testing.assert_close(power_iteration(Dictionary(atoms)).value, torch.tensor(1.0).double())


def test_a_dictionary_of_zeros_has_eigenvalue_zero() -> None:
    assert power_iteration(Dictionary(torch.zeros(2, 3, 3, 3))).value == 0


@pytest.mark.parametrize(
    ("taps", "share"),
    [((1, 1, 1), ((1 + 2 * math.cos(math.pi / 17)) / 3) ** 4), ((1, 0, 1), math.cos(math.pi / 17) ** 4)],
)
def test_the_small_grid_stays_inside_the_margin(taps: tuple[int, ...], share: float) -> None:
    """Over many channels the iteration runs on 16 x 16; these atoms are separable, their eigenvalues known."""
    row = torch.tensor(taps, dtype=torch.float64)
    atom = torch.outer(row, row).expand(1, 4, 3, 3) / (2 * row.norm() ** 2)
    plane = float(atom.sum((2, 3)).square().sum())
    found = float(power_iteration(Dictionary(atom), iterations=2000).value)
    assert found / plane == pytest.approx(share, abs=1e-4)
    assert MARGIN / found < 1 / plane
