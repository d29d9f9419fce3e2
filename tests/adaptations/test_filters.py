"""Defences that are none: images stay images, and stay recognisable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from sdnet_bench.adaptations import PLACEBOS

SHAPES = [(1, 3, 8, 8), (4, 3, 32, 32), (2, 3, 9, 13)]


@pytest.fixture(params=SHAPES, ids=str)
def images(request: pytest.FixtureRequest) -> Tensor:
    return torch.rand(request.param, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", PLACEBOS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_stay_images(images: Tensor, name: str, layout: torch.memory_format) -> None:
    seen = PLACEBOS[name](images.contiguous(memory_format=layout))
    assert (seen.shape, seen.dtype) == (images.shape, images.dtype)
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 1
    assert not torch.equal(seen, images)


@pytest.mark.parametrize("name", PLACEBOS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_stay_so(name: str, value: float) -> None:
    flat = torch.full((2, 3, 16, 16), value)
    torch.testing.assert_close(PLACEBOS[name](flat), flat, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", PLACEBOS)
def test_images_do_not_mix(images: Tensor, name: str) -> None:
    alone = torch.cat([PLACEBOS[name](image[None]) for image in images])
    torch.testing.assert_close(PLACEBOS[name](images), alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", PLACEBOS)
def test_smooth_images_hardly_change(name: str) -> None:
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32).contiguous()
    assert float((PLACEBOS[name](ramp) - ramp).abs().mean()) < 0.02


def test_the_median_is_that_of_scipy(images: Tensor) -> None:
    expected = ndimage.median_filter(images.numpy(), size=(1, 1, 3, 3), mode="mirror")
    assert np.array_equal(PLACEBOS["median"](images).numpy(), expected)


def test_the_blur_is_a_gaussian_of_one_pixel() -> None:
    point = torch.zeros(1, 3, 11, 11)
    point[:, :, 5, 5] = 1
    weights = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    weights /= weights.sum()
    np.testing.assert_allclose(PLACEBOS["blur"](point)[0, 0, 3:8, 3:8], np.outer(weights, weights), atol=1e-6)
    assert float(PLACEBOS["blur"](point)[0, 0].sum()) == pytest.approx(1)


def test_five_bits_are_32_levels_that_stay(images: Tensor) -> None:
    levels = PLACEBOS["bit depth"](torch.linspace(0, 1, 3072).view(1, 3, 32, 32))
    assert len(levels.unique()) == 32
    assert torch.equal(PLACEBOS["bit depth"](levels), levels)
    assert float((PLACEBOS["bit depth"](images) - images).abs().max()) <= 1 / 62 + 1e-6
