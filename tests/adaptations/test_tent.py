"""TENT: the steps of autograd and Adam, written out, over scale and shift alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toys import answers, convolutional, flat, same, state, stream

from sdnet_bench.adaptations import Tent
from sdnet_bench.csc import CSCConv2d
from sdnet_bench.errors import ModelError, UsageError


class ByHand:
    """TENT for `convolutional`, with its norm, its entropy and its Adam (Kingma and Ba, 2015) in formulas."""

    def __init__(self, net: nn.Sequential, lr: float) -> None:
        self.net, self.lr = net, lr
        self.restart()

    def restart(self) -> None:
        self.weights = [self.net[1].weight.detach().clone(), self.net[1].bias.detach().clone()]
        self.first = [torch.zeros(5), torch.zeros(5)]
        self.second = [torch.zeros(5), torch.zeros(5)]
        self.steps = 0

    def logits(self, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        maps = self.net[0](images)
        mean = maps.mean((0, 2, 3), keepdim=True)
        variance = ((maps - mean) ** 2).mean((0, 2, 3), keepdim=True)
        normed = (maps - mean) / (variance + 1e-5).sqrt() * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
        return self.net[4:](normed.relu())  # type: ignore[no-any-return]

    def step(self, images: Tensor) -> Tensor:
        """The logits of images before a step."""
        with torch.enable_grad():
            weights = [weight.requires_grad_() for weight in self.weights]
            logits = self.logits(images, *weights)
            shares = F.softmax(logits, 1)
            loss = -(shares * shares.log()).sum() / len(images)
            gradients = torch.autograd.grad(loss, weights)
        self.steps += 1
        self.weights = [self._moved(at, gradient) for at, gradient in enumerate(gradients)]
        return logits.detach()

    def _moved(self, at: int, gradient: Tensor) -> Tensor:
        self.first[at] = 0.9 * self.first[at] + 0.1 * gradient
        self.second[at] = 0.999 * self.second[at] + 0.001 * gradient**2
        mean, spread = self.first[at] / (1 - 0.9**self.steps), self.second[at] / (1 - 0.999**self.steps)
        return self.weights[at].detach() - self.lr * mean / (spread.sqrt() + 1e-8)


@pytest.mark.parametrize("tent", [Tent(), Tent(lr=0.05), Tent(0.05, steps=2), Tent(0.05, 2, episodic=True)], ids=str)
def test_a_stream_is_that_of_the_formulas(tent: Tent) -> None:
    net, batches = convolutional(), stream(8, 8, 3)
    hand, expected = ByHand(net, tent.lr), []
    for batch in batches:
        if tent.episodic:
            hand.restart()
        expected.append(hand.step(batch))
        for _ in range(tent.steps - 1):
            hand.step(batch)
    torch.testing.assert_close(answers(tent, net, batches), expected, rtol=1e-3, atol=1e-4)


def test_steps_and_the_stream_change_the_logits() -> None:
    """So the comparisons above tell one from the other."""
    net, batches = convolutional(), stream(8, 8)
    found = {tent: answers(tent, net, batches)[1] for tent in (Tent(0.05), Tent(0.05, 2), Tent(0.05, 2, episodic=True))}
    online, twice, episodic = found.values()
    assert float((online - twice).abs().max()) > 0.01
    assert float((online - episodic).abs().max()) > 0.01
    assert not Tent(episodic=True).is_online
    assert Tent().is_online
    assert torch.equal(episodic, answers(Tent(), net, batches[1:])[0])  # before its first step


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "untracked": lambda width: nn.BatchNorm2d(width, track_running_stats=False),
    "layer": lambda width: nn.LayerNorm([width, 4, 4]),
    "group": lambda width: nn.GroupNorm(1, width),
    "instance": lambda width: nn.InstanceNorm2d(width, affine=True),
}


@pytest.mark.parametrize("norm", NORMS)
def test_scale_and_shift_alone_move_whatever_the_norm(norm: str) -> None:
    net, batches = convolutional(NORMS[norm]), stream(8, 8)
    before = {name: value.clone() for name, value in net.named_parameters()}
    with torch.no_grad(), Tent(lr=0.05)(net, net) as classify:
        first = classify(batches[0])
        moved = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
        assert moved == {"1.weight", "1.bias"}
        assert float((classify(batches[0]) - first).abs().max()) > 0.01
        assert all(parameter.grad is None for parameter in net.parameters())


def test_steps_lower_the_entropy() -> None:
    (batch,) = stream(16)
    with torch.no_grad(), Tent(lr=0.05)(net := convolutional(), net) as classify:
        entropies = [float(torch.distributions.Categorical(logits=classify(batch)).entropy().mean()) for _ in range(10)]
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[-1] < 0.95 * entropies[0]


@pytest.mark.parametrize("is_cut_off", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_a_network_is_as_it_was(norm: str, is_cut_off: bool) -> None:
    """Gradients and weights that do not learn included; dropout stays off."""
    net = convolutional(NORMS[norm], dropout=0.9)
    net[1].bias.requires_grad_(False)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    net[1].weight.grad = torch.ones_like(net[1].weight)
    before, batches = state(net), stream(8, 8)

    def classify_or_fail(images: Tensor) -> Tensor:
        if is_cut_off and images is batches[1]:
            raise ZeroDivisionError
        return net(images)  # type: ignore[no-any-return]

    def adapt() -> None:
        with torch.no_grad(), Tent(lr=0.05)(net, classify_or_fail) as classify:
            expected = net(batches[0])
            assert torch.equal(classify(batches[0]), expected)  # as there is no dropout
            assert not same(state(net), before)
            classify(batches[1])

    if is_cut_off:
        with pytest.raises(ZeroDivisionError):
            adapt()
    else:
        adapt()
    assert same(state(net), before)
    assert not torch.is_grad_enabled() or net(batches[0]).requires_grad


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_gradients_pass_through_csc_layers_behind_a_norm(nonnegative: bool, gradient_checkpointing: bool) -> None:
    layer = CSCConv2d(5, 5, nonnegative=nonnegative, gradient_checkpointing=gradient_checkpointing)
    net, (batch,) = convolutional(), stream(8)
    net[2] = layer.eval()
    first, second = answers(Tent(lr=0.05), net, [batch, batch])
    assert float((first - second).abs().max()) > 0.001


@pytest.mark.parametrize("tent", [Tent(), Tent(steps=2), Tent(episodic=True)], ids=str)
def test_a_single_image_needs_more_than_one_position(tent: Tent) -> None:
    assert bool(answers(tent, convolutional(), stream(1, 1))[1].isfinite().all())
    net = flat()
    before = state(net)
    with pytest.raises(ModelError, match="tent cannot take the statistics of a batch of 1: Expected more") as caught:
        answers(tent, net, stream(4, 1))
    assert "\n" not in str(caught.value)
    assert same(state(net), before)
    assert bool(answers(tent, flat(lambda width: nn.LayerNorm(width)), stream(1))[0].isfinite().all())


@pytest.mark.parametrize("norm", [nn.Identity, lambda width: nn.BatchNorm2d(width, affine=False)])
def test_a_network_without_scale_and_shift_is_refused(norm: Callable[[int], nn.Module]) -> None:
    with pytest.raises(UsageError, match="there is no norm layer with scale and shift for tent to adapt"):
        answers(Tent(), convolutional(norm), stream(2))


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"lr": float("inf")}, {"lr": float("nan")}, {"steps": 0}])
def test_steps_have_a_size_and_a_number(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="no such tent, expected lr > 0 and steps >= 1"):
        Tent(**wrong)  # type: ignore[arg-type]
