"""What is not finite stops: logits and gradients, whatever makes them and whichever attack looks at them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.attacks import ATTACKS, AttackRun, craft
from sdnet_bench.attacks.finite import finite, logits_of
from sdnet_bench.errors import ModelError
from sdnet_bench.records import MINIMUM_NORM, Threat
from sdnet_bench.studies.protocols import attack_setting

LOOKING = sorted({*ATTACKS} - {"noise", *MINIMUM_NORM})
FOLLOWING = sorted({*LOOKING} - {"square"})
"""Attacks that follow gradients."""


class Fixed(nn.Module):
    """Returns the same logits for any images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


class OffTheLevels(nn.Module):
    """Has NaN for the class that leads, as soon as an image is not of 256 levels: what every attack makes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        off = ((images * 255).round() / 255 - images).abs().flatten(1).amax(1) > 1e-6
        leads = logits == logits.amax(1, keepdim=True)
        return logits.where(~(leads & off[:, None]), torch.nan)


class Rooted(nn.Module):
    """The same logits, by a term whose gradient is that of the root of zero."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        root = torch.sqrt(images - images.amin((1, 2, 3), keepdim=True)).mean((1, 2, 3))
        return self.net(images) + 0 * root[:, None]  # type: ignore[no-any-return]


def test_finite_logits_are_as_the_network_gives_them(net: nn.Sequential, images: Tensor) -> None:
    assert torch.equal(logits_of(net, images), net(images))
    assert logits_of(net.double(), images.double()).dtype == torch.float32


def test_an_image_has_logits_or_none(images: Tensor) -> None:
    """3e38 and -3e38 are finite, but the loss is not."""
    odd = torch.tensor([[1.0, 2.0], [torch.nan, 1.0], [torch.inf, 1.0], [1.0, -torch.inf], [3e38, -3e38]])
    assert logits_of(Fixed(odd), images[:5]).isnan().tolist() == [[False] * 2, *[[True] * 2] * 4]


def test_images_without_a_finite_value_are_counted() -> None:
    assert torch.equal(finite(torch.ones(3), "losses"), torch.ones(3))
    with pytest.raises(ModelError, match=r"^losses of 2 of 3 images are not finite\. Look for a division by zero"):
        finite(torch.tensor([torch.nan, 0.0, torch.inf]), "losses")


def run(name: str, norm: str) -> AttackRun:
    return AttackRun(attack_setting(Threat(norm, 0.03), 3, name=name))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", LOOKING)
def test_logits_that_are_not_finite_stop_an_attack(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    clean = (images * 255).round() / 255
    with pytest.raises(ModelError, match=r"^logits of [1-8] of 8 images are not finite"):
        craft(OffTheLevels(net), clean, net(clean).argmax(1), run(name, norm), range(8))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_gradients_that_are_not_finite_stop_an_attack(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    with pytest.raises(ModelError, match=r"^gradients of 8 of 8 images are not finite"):
        craft(Rooted(net), images, labels, run(name, norm), range(8))


def test_gradients_of_some_images_are_counted(net: nn.Sequential, images: Tensor, labels: Tensor) -> None:
    class Partly(Rooted):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([super().forward(images[:3]), self.net(images[3:])])

    with pytest.raises(ModelError, match=r"^gradients of 3 of 8 images are not finite"):
        craft(Partly(net), images, labels, run("pgd", "linf"), range(8))


def test_an_attack_that_follows_no_gradient_needs_none(net: nn.Sequential, images: Tensor, labels: Tensor) -> None:
    assert craft(Rooted(net), images, labels, run("square", "linf"), range(8)).finished
