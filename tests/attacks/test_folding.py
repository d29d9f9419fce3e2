"""Folded batch norms: the same function and gradient, and the network as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.attacks.folding import folded
from sdnet_bench.backbones import build


def lived(net: nn.Module) -> nn.Module:
    """The network in float64 and eval mode, with statistics, scales and shifts of batch norms that are not 0 and 1."""
    for norm in (each for each in net.modules() if isinstance(each, nn.BatchNorm2d) and each.running_var is not None):
        for values in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            nn.init.uniform_(values, 0.5, 1.5)  # type: ignore[arg-type]
    return net.double().eval()


def norms(net: nn.Module) -> int:
    return sum(isinstance(each, nn.BatchNorm2d) for each in net.modules())


def answer(net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of their squares."""
    images = images.clone().requires_grad_()
    logits = net(images)
    return logits.detach(), torch.autograd.grad(logits.square().sum(), images)[0]


@pytest.mark.parametrize(("name", "left"), [("resnet18", 0), ("sdnet18", 1)])
def test_a_folded_network_is_the_same_function(images: Tensor, name: str, left: int) -> None:
    """The batch norm after a CSC-layer stays."""
    torch.manual_seed(0)
    net, images = lived(build(name, num_classes=5, width=2)), images.double()
    plain = answer(net, images)
    with folded(net, images[:1]):
        assert norms(net) == left
        for ours, theirs in zip(answer(net, images), plain, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


class Reused(nn.Module):
    """Takes the output of its convolution with the batch norm and without it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        found = self.conv(images)
        return (self.norm(found) * found).mean((2, 3))  # type: ignore[no-any-return]


class Twice(nn.Module):
    """Uses a convolution twice, with one batch norm in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(self.norm(self.conv(images))).mean((2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "body",
    [
        Reused(),
        Twice(),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
    ids=["used elsewhere", "used twice", "not next to it", "statistics of the batch"],
)
def test_what_would_be_another_function_stays_as_it_is(images: Tensor, body: nn.Module) -> None:
    net = lived(nn.Sequential(body, nn.Flatten()))
    plain = net(images.double())
    with folded(net, images[:1].double()):
        assert norms(net) == 1
        assert torch.equal(net(images.double()), plain)


def test_a_network_is_itself_again_after_an_error(images: Tensor) -> None:
    net = lived(build("resnet18", num_classes=5, width=2))
    modules, state = list(net.named_modules()), {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(KeyError), folded(net, images[:1].double()):
        raise KeyError
    assert list(net.named_modules()) == modules
    assert net.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
