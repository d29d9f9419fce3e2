"""Statistics of the batch: what torch computes itself at both ends of the prior, and by hand between them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from toys import answers, convolutional, flat, same, state, stream

from sdnet_bench.adaptations import BatchStatistics, RunningStatistics
from sdnet_bench.errors import UsageError

NETS = {"2d": convolutional, "1d": flat}


@torch.no_grad()
def in_training(net: nn.Sequential, batches: list[Tensor]) -> list[Tensor]:
    """The logits with torch's own train mode of the norm layer, which is the only one that has such a mode."""
    net[1 if isinstance(net[0], nn.Conv2d) else 2].train()
    return [net(batch) for batch in batches]


@pytest.mark.parametrize("name", NETS)
def test_an_infinite_prior_is_the_network_as_trained_to_the_bit(name: str) -> None:
    net, batches = NETS[name](), stream(8, 8, 3, 1)
    expected = [net(batch).detach() for batch in batches]
    assert all(map(torch.equal, answers(BatchStatistics(float("inf")), net, batches), expected))
    close = answers(BatchStatistics(1e9), net, batches)
    torch.testing.assert_close(close, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("adaptation", [BatchStatistics(), RunningStatistics(momentum=1)], ids=str)
def test_no_prior_is_what_torch_computes_in_train_mode(
    name: str, adaptation: BatchStatistics | RunningStatistics
) -> None:
    net, batches = NETS[name](), stream(8, 8, 3)
    found = answers(adaptation, net, batches)
    assert not torch.allclose(found[0], net(batches[0]), atol=0.1)
    torch.testing.assert_close(found, in_training(net, batches), rtol=1e-4, atol=1e-5)


def test_statistics_are_those_of_timms_norm_layers_too() -> None:
    layers = pytest.importorskip("timm.layers")
    net, batches = convolutional(layers.BatchNormAct2d), stream(8, 3)
    found = answers(BatchStatistics(), net, batches)
    torch.testing.assert_close(found, in_training(net, batches), rtol=1e-4, atol=1e-5)


def by_hand(values: Tensor, mean: Tensor, variance: Tensor, norm: nn.Module) -> Tensor:
    """Maps `(N, C, H, W)` normed in double precision, with scale and shift."""
    old_mean, old_variance, weight, bias = (
        part.double().view(1, -1, 1, 1) for part in (mean, variance, norm.weight, norm.bias)
    )
    return weight * (values.double() - old_mean) / (old_variance + 1e-5).sqrt() + bias


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of maps `(N, C, H, W)`, written out."""
    rows = values.double().transpose(0, 1).flatten(1)
    mean = rows.sum(1) / rows.shape[1]
    return mean, ((rows - mean[:, None]) ** 2).sum(1) / rows.shape[1]


@pytest.mark.parametrize("count", [1, 4, 48])
def test_a_batch_is_normed_by_the_mixture_of_equation_2(count: int) -> None:
    """A prior of 16 images: 4 images have a share of a fifth, 48 of three quarters."""
    net = nn.Sequential(convolutional()[1])
    values = torch.randn(count, 5, 4, 4) + 2
    mean, variance = moments(values)
    share = {1: 1 / 17, 4: 0.2, 48: 0.75}[count]
    norm = net[0]
    mixed_mean = (1 - share) * norm.running_mean.double() + share * mean
    mixed_variance = (1 - share) * norm.running_var.double() + share * variance
    expected = by_hand(values, mixed_mean, mixed_variance, norm)
    (found,) = answers(BatchStatistics(prior=16), net, [values])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_running_statistics_follow_three_batches() -> None:
    net = nn.Sequential(convolutional()[1])
    mean, variance = net[0].running_mean.double(), net[0].running_var.double()
    batches = [torch.randn(count, 5, 4, 4) * scale + scale for count, scale in ((8, 2), (8, 3), (2, 5))]
    found = answers(RunningStatistics(momentum=0.3), net, batches)
    for batch, answer in zip(batches, found, strict=True):
        new_mean, new_variance = moments(batch)
        mean, variance = 0.7 * mean + 0.3 * new_mean, 0.7 * variance + 0.3 * new_variance
        torch.testing.assert_close(answer.double(), by_hand(batch, mean, variance, net[0]), rtol=1e-5, atol=1e-5)


def test_running_statistics_move_once_for_a_batch_that_is_classified_twice() -> None:
    net, batches = convolutional(), stream(8, 8)
    once = answers(RunningStatistics(), net, batches)
    with torch.no_grad(), RunningStatistics()(net, lambda images: net(images) * 0 + net(images)) as classify:
        twice = [classify(batch) for batch in batches]
    assert all(map(torch.equal, once, twice))


def test_statistics_of_a_batch_do_not_depend_on_earlier_ones_and_running_ones_do() -> None:
    net, (first, second) = convolutional(), stream(8, 8)
    for adaptation, forgets in ((BatchStatistics(16), True), (RunningStatistics(), False)):
        alone = answers(adaptation, net, [second])[0]
        assert torch.equal(answers(adaptation, net, [first, second])[1], alone) == forgets
        assert adaptation.is_online != forgets
        assert not adaptation.is_per_image


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("adaptation", [BatchStatistics(), BatchStatistics(16), RunningStatistics()], ids=str)
def test_a_single_image_has_finite_logits(name: str, adaptation: BatchStatistics | RunningStatistics) -> None:
    """In `flat` there is one position too, so that the variance of the batch is 0."""
    (found,) = answers(adaptation, NETS[name](), stream(1))
    assert bool(found.isfinite().all())


def test_an_image_alone_with_one_position_is_its_own_mean() -> None:
    net = flat()
    (found,) = answers(BatchStatistics(), net, stream(1))
    torch.testing.assert_close(found[0], net[4](net[3](net[2].bias)).detach())


@pytest.mark.parametrize("adaptation", [BatchStatistics(), RunningStatistics()], ids=str)
@pytest.mark.parametrize("is_cut_off", [False, True])
def test_a_network_is_as_it_was(adaptation: BatchStatistics | RunningStatistics, is_cut_off: bool) -> None:
    net = convolutional(dropout=0.9)
    net[0].weight.requires_grad_(False)
    before, batches = state(net), stream(8, 8)

    def adapt() -> None:
        with torch.no_grad(), adaptation(net, net) as classify:
            assert torch.equal(classify(batches[0]), classify(batches[0])) != adaptation.is_online  # no dropout
            assert not same(state(net), before)
            if is_cut_off:
                raise ZeroDivisionError

    if is_cut_off:
        with pytest.raises(ZeroDivisionError):
            adapt()
    else:
        adapt()
    assert same(state(net), before)


OTHER_NORMS = {
    "layer": lambda width: nn.LayerNorm([width, 4, 4]),
    "group": lambda width: nn.GroupNorm(1, width),
    "none": lambda width: nn.Identity(),
    "untracked": lambda width: nn.BatchNorm2d(width, track_running_stats=False),
}


@pytest.mark.parametrize("norm", OTHER_NORMS)
@pytest.mark.parametrize("adaptation", [BatchStatistics(), RunningStatistics()], ids=str)
def test_a_network_without_statistics_of_training_is_refused(
    norm: str, adaptation: BatchStatistics | RunningStatistics
) -> None:
    net = convolutional(OTHER_NORMS[norm])
    with pytest.raises(UsageError, match="there is no batch norm with statistics of training") as caught:
        answers(adaptation, net, stream(2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prior", [-1.0, float("nan"), float("-inf")])
def test_a_prior_is_a_number_of_images(prior: float) -> None:
    with pytest.raises(UsageError, match="prior out of range, expected a number of images >= 0"):
        BatchStatistics(prior)


@pytest.mark.parametrize("momentum", [0.0, 1.5, float("nan")])
def test_a_momentum_is_a_share(momentum: float) -> None:
    with pytest.raises(UsageError, match="momentum out of range, expected above 0, at most 1"):
        RunningStatistics(momentum)
