"""Other ways to differentiate layers that solve for their output."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.attacks.gradients import other_gradients, using_gradient
from sdnet_bench.attacks.surrogates import surrogate
from sdnet_bench.backbones import build
from sdnet_bench.errors import UsageError
from sdnet_bench.records import AttackSetting

OPTIONS = {
    "scn": {"width": 4, "steps": 5},
    "scn18": {"width": 4, "steps": 5},
    "mdeq_tiny": {"width": 4, "downsampling": 2},
    "sdnet18": {"width": 4},
}


def small(name: str) -> nn.Module:
    return build(name, num_classes=10, **OPTIONS[name]).eval()


def gradient_of(net: nn.Module, images: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(pixels).square().sum(), pixels)
    return gradient


@pytest.mark.parametrize(
    ("name", "others"), [("scn", ["unrolled"]), ("scn18", ["implicit"]), ("mdeq_tiny", ["phantom"]), ("sdnet18", [])]
)
def test_a_network_says_how_else_it_could_be_differentiated(name: str, others: list[str]) -> None:
    assert other_gradients(small(name)) == others


@pytest.mark.parametrize(("name", "other"), [("scn", "unrolled"), ("scn18", "implicit"), ("mdeq_tiny", "phantom")])
def test_another_gradient_lasts_for_a_block(name: str, other: str) -> None:
    net, images = small(name), torch.rand(2, 3, 32, 32)
    own = gradient_of(net, images)
    with using_gradient(net, other):
        assert not torch.allclose(gradient_of(net, images), own, rtol=1e-3, atol=1e-3 * float(own.abs().max()))
    assert torch.equal(gradient_of(net, images), own)


def test_the_gradient_is_as_before_after_an_error() -> None:
    net = small("scn")
    with pytest.raises(ZeroDivisionError), using_gradient(net, "unrolled"):
        raise ZeroDivisionError
    assert other_gradients(net) == ["unrolled"]


def test_no_gradient_in_particular_is_the_network_as_it_is() -> None:
    net, images = small("scn"), torch.rand(1, 3, 32, 32)
    own = gradient_of(net, images)
    with using_gradient(net, None):
        assert torch.equal(gradient_of(net, images), own)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("scn", "expected implicit or unrolled, got phantom"), ("sdnet18", "expected a solved layer, got phantom")],
)
def test_a_gradient_that_no_layer_has_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint), using_gradient(small(name), "phantom"):
        pass


def test_an_attack_may_look_at_another_gradient() -> None:
    net, images = small("mdeq_tiny"), torch.rand(1, 3, 32, 32)
    setting = AttackSetting(norm="linf", eps=0.03, steps=2, step_size=0.02, gradient="phantom")
    with using_gradient(net, "phantom"):
        expected = gradient_of(net, images)
    with surrogate(net, setting) as seen:
        assert torch.equal(gradient_of(seen, images), expected)
    assert setting.uses_surrogate
