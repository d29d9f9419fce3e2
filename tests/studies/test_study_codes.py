"""Atoms, rebuilt images and zeros of whole networks, against what their layers say one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.linalg import norm
from torch import Tensor, nn

from sdnet_bench.backbones import build
from sdnet_bench.backbones.normalize import Normalize
from sdnet_bench.csc import CSCConv2d, PatchCodingConv2d, carry, chain_to, csc_layers, get_lambda, residuals
from sdnet_bench.errors import UsageError
from sdnet_bench.studies.codes import chain_of, find_atoms, measure_sparsity, rebuild_inputs
from sdnet_bench.studies.workbench import Workbench

MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.3, 0.4)


def swapped(bench: Workbench, net: nn.Module) -> Workbench:
    """The bench with another network in the model's place."""
    return replace(bench, model=replace(bench.model, net=net.eval()))


@pytest.fixture
def deep(sdnet: Workbench) -> Workbench:
    """A chain of 17 CSC-layers that has learned the statistics of some images, and nothing else."""
    net = build("sdnet18_all", num_classes=10, width=2, mean=MEAN, std=STD)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1
    net.train()(pixels(sdnet, 40))
    return swapped(sdnet, net)


class Silent(nn.Module):
    """A network whose codes are its images: one atom of a single one for each channel. It keeps that to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize, self.layer = Normalize(MEAN, STD), CSCConv2d(3, 3, lambda_=0, steps=40, nonnegative=False)
        with torch.no_grad():
            self.layer.dictionary.zero_()[range(3), range(3), 1, 1] = 1
        self.layer.settle()

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(self.normalize(image)).mean((2, 3))  # type: ignore[no-any-return]


class Lossless(Silent):
    """The same, and it says so."""

    def path(self) -> list[nn.Module]:
        return [self.normalize, self.layer]


def pixels(bench: Workbench, limit: int) -> Tensor:
    """Test images, `(n, 3, H, W)`, spread as `--limit` spreads them."""
    (batch,) = bench.split("test", limit).batches(limit, torch.device("cpu"))
    return batch.images / 255


def test_the_atoms_of_the_stem_are_its_dictionary(sdnet: Workbench) -> None:
    atoms, dictionary = find_atoms(sdnet), csc_layers(sdnet.model.net)[0].dictionary
    assert (atoms.layer, atoms.total) == (1, 4)
    np.testing.assert_array_equal(atoms.patches, dictionary.detach().numpy())
    fewer = find_atoms(sdnet, most=3)
    assert fewer.total == 4
    np.testing.assert_array_equal(fewer.patches, atoms.patches[:3])


@pytest.mark.parametrize(("layer", "side", "cut"), [(2, 5, 5), (6, 13, 13), (12, 45, 31)])
def test_deep_atoms_are_seen_in_pixels_as_far_as_an_image_reaches(
    deep: Workbench, layer: int, side: int, cut: int
) -> None:
    *before, last = chain_to(chain_of(deep.model.net)[1], layer)
    assert isinstance(last, CSCConv2d)
    whole = carry(before, last.dictionary).numpy()
    assert whole.shape[-1] == side
    margin = (side - cut) // 2
    patches = find_atoms(deep, layer).patches
    np.testing.assert_allclose(
        patches, whole[:, :, margin : side - margin, margin : side - margin], rtol=1e-5, atol=1e-6 * abs(whole).max()
    )
    assert patches.shape == (last.atoms, 3, cut, cut)


def test_images_come_back_from_codes_that_lose_nothing(sdnet: Workbench) -> None:
    features = rebuild_inputs(swapped(sdnet, Lossless()), [4, 0, 359])
    (view,) = features.reconstructions
    assert (features.places, view.layer) == ((4, 0, 359), 1)
    np.testing.assert_allclose(view.pictures, features.images, atol=1e-5)
    np.testing.assert_allclose(view.stretched, features.images, atol=1e-5)
    assert max(view.errors) < 1e-5
    assert min(view.psnr) > 90
    assert min(view.correlations) > 1 - 1e-9


def test_the_error_of_the_stem_is_its_residual(sdnet: Workbench) -> None:
    (view,) = rebuild_inputs(sdnet, [0, 1, 2]).reconstructions
    images = pixels(sdnet, 360)[:3]
    with torch.no_grad(), residuals(sdnet.model.net) as meter:
        sdnet.model.net(images)
    norms = chain_of(sdnet.model.net)[0](images).flatten(1).norm(dim=1)
    np.testing.assert_allclose(view.errors, (meter.per_image() / norms).numpy(), rtol=1e-4)


def test_what_is_said_of_a_picture_is_true_of_it(deep: Workbench) -> None:
    """The batch norms of the chain add a constant to x~, so the code adds x~ less what a zero code rebuilds."""
    features, mean, std = rebuild_inputs(deep, [3, 7], [3]), np.reshape(MEAN, (3, 1, 1)), np.reshape(STD, (3, 1, 1))
    view, nothing = features.reconstructions[0], rebuild_inputs(deep, [3, 7], [3], lambda_=1e6).reconstructions[0]
    for at, image in enumerate(features.images):
        inside = (view.pictures[at] > 0) & (view.pictures[at] < 1)
        assert inside.all()
        wanted, added = (image - mean) / std, (view.pictures[at] - nothing.pictures[at]) / std
        assert view.errors[at] == pytest.approx(norm((view.pictures[at] - image) / std) / norm(wanted))
        assert view.psnr[at] == pytest.approx(-10 * np.log10(((view.pictures[at] - image) ** 2).mean()))
        assert view.correlations[at] == pytest.approx(np.corrcoef(added.ravel(), wanted.ravel())[0, 1])
        stretched = wanted.mean() + wanted.std() * (added - added.mean()) / added.std()
        np.testing.assert_allclose(view.stretched[at], (stretched * std + mean).clip(0, 1), atol=1e-6)


def test_all_layers_of_the_chain_or_those_that_are_asked_for_are_shown(deep: Workbench) -> None:
    assert [view.layer for view in rebuild_inputs(deep, [0]).reconstructions] == list(range(1, 18))
    assert [view.layer for view in rebuild_inputs(deep, [0], [9, 1]).reconstructions] == [9, 1]


def test_a_code_of_zeros_rebuilds_nothing(sdnet: Workbench) -> None:
    features = rebuild_inputs(sdnet, [0, 1], lambda_=1e6)
    (view,) = features.reconstructions
    np.testing.assert_allclose(view.errors, 1)
    np.testing.assert_array_equal(view.correlations, 0)
    assert view.pictures.std((2, 3)).max() == view.stretched.std((2, 3)).max() == 0
    assert get_lambda(sdnet.model.net) == 0.1


@pytest.mark.parametrize("place", [-1, 360])
def test_there_are_360_test_images(sdnet: Workbench, place: int) -> None:
    with pytest.raises(UsageError, match=rf"no such test image, expected places from 0 to 359, got {place}"):
        rebuild_inputs(sdnet, [0, place])


@pytest.mark.parametrize("look", [lambda bench: find_atoms(bench, 2), lambda bench: rebuild_inputs(bench, [0], [2])])
def test_behind_a_residual_block_no_layer_is_seen(sdnet: Workbench, look: Callable[[Workbench], Any]) -> None:
    with_shortcuts = swapped(sdnet, build("sdnet18_all", num_classes=10, width=2, shortcut=True))
    for bench in (sdnet, with_shortcuts):
        with pytest.raises(UsageError, match="from layer 2 back to the pixels, expected a layer from 1 to 1, got 2"):
            look(bench)


@pytest.mark.parametrize("look", [find_atoms, lambda bench: rebuild_inputs(bench, [0]), measure_sparsity])
def test_a_network_without_codes_has_nothing_to_show(resnet: Workbench, look: Callable[[Workbench], Any]) -> None:
    with pytest.raises(UsageError, match=r"this network has no CSC-layer.*Take an SDNet"):
        look(resnet)


def test_a_network_has_to_say_which_way_its_images_take(sdnet: Workbench) -> None:
    silent = swapped(sdnet, Silent())
    with pytest.raises(UsageError, match=r"which way its images take\. Its backbone needs a method path\(\)"):
        find_atoms(silent)
    assert measure_sparsity(silent, limit=3).layers.keys() == {1}


def test_zeros_are_counted_exactly(sdnet: Workbench, told: Any) -> None:
    normalize, (stem, *_) = chain_of(sdnet.model.net)
    with torch.no_grad():
        code = stem(normalize(pixels(sdnet, 300))).numpy()
    sparsity = measure_sparsity(sdnet, limit=300)
    (histogram,) = sparsity.layers.values()
    assert (sparsity.images, sparsity.lambda_, sparsity.layer) == (300, 0.1, 1)
    assert told.images == 300
    assert (histogram.total, histogram.zeros) == (code.size, (code == 0).sum())
    lows, highs, counts = zip(*histogram.bins(), strict=True)
    edges = [*lows, highs[-1]]
    assert abs(np.histogram(code[code != 0], edges)[0] - counts).sum() <= 1e-5 * code.size  # batches round otherwise


def test_codes_are_sparser_under_a_larger_lambda(sdnet: Workbench) -> None:
    shares = [measure_sparsity(sdnet, limit=20, lambda_=lambda_).layers[1].share_of_zeros for lambda_ in (0.0, 0.3, 50)]
    assert shares[0] < shares[1] < shares[2] == 1
    assert measure_sparsity(sdnet, limit=20, lambda_=0.3).lambda_ == 0.3
    assert get_lambda(sdnet.model.net) == 0.1


def test_every_layer_with_a_code_is_counted(deep: Workbench) -> None:
    sparsity = measure_sparsity(deep, 5, limit=4)
    assert sparsity.layer == 5
    assert [histogram.total for histogram in sparsity.layers.values()] == [
        4 * channels * side**2
        for channels, side, count in ((2, 32, 5), (4, 16, 4), (8, 8, 4), (16, 4, 4))
        for _ in range(count)
    ]
    with pytest.raises(UsageError, match=r"no such layer, expected a layer from 1 to 17, got 18"):
        measure_sparsity(deep, 18)


def test_the_codes_of_patches_are_counted_too(sdnet: Workbench) -> None:
    layer = PatchCodingConv2d(3, 5, lambda_=0.1)
    images = pixels(sdnet, 6)
    with torch.no_grad():
        code = layer(images)
    (histogram,) = measure_sparsity(swapped(sdnet, nn.Sequential(layer)), limit=6).layers.values()
    assert (histogram.total, histogram.zeros) == (code.numel(), int((code == 0).sum()))
