"""The watch over a network: what counts as fooled, when a batch is abandoned, what networks are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.attacks import ATTACKS, AttackRun, craft
from sdnet_bench.attacks.draws import ImageDraws
from sdnet_bench.attacks.victim import MARGIN, Abandoned, Victim
from sdnet_bench.errors import UsageError
from sdnet_bench.records import MINIMUM_NORM, Threat
from sdnet_bench.studies.protocols import attack_setting


class Brightness(nn.Module):
    """Two classes; the second leads by `scale` times as much as the first pixel is above one half."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, images: Tensor) -> Tensor:
        second = 1 + self.scale * (images[:, 0, 0, 0].double() - 0.5)
        return torch.stack([torch.ones_like(second), second], dim=1)


def watch(threat: Threat, count: int = 4, scale: float = 1.0, patience: float | None = None) -> Victim:
    """Grey images, all of the first class."""
    clean, labels = torch.full((count, 3, 2, 2), 0.5), torch.zeros(count, dtype=torch.int64)
    return Victim(Brightness(scale), clean, labels, threat, ImageDraws(range(count)), patience)


def pixels(*first: float) -> Tensor:
    """`(n, 3, 2, 2)`: grey but for the first pixel of each."""
    images = torch.full((len(first), 3, 2, 2), 0.5)
    images[:, 0, 0, 0] = torch.tensor(first)
    return images


def test_an_image_has_fallen_when_another_class_leads() -> None:
    victim = watch(Threat("linf", 0.2))
    victim(pixels(0.5, 0.6, 0.4, 0.7))
    assert victim.fallen.tolist() == [False, True, False, True]


@pytest.mark.parametrize(("lead", "fallen"), [(-1.0, False), (0.5, False), (0.99, False), (1.01, True), (10.0, True)])
def test_a_lead_counts_when_rounding_could_not_turn_it_back(lead: float, fallen: bool) -> None:
    """Leads are told in margins, relative to the largest logit: that is 1 here, to four digits."""
    victim = watch(Threat("linf", 0.2), count=1, scale=lead * MARGIN / 0.1)
    victim(pixels(0.6))
    assert victim.fallen.tolist() == [fallen]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_outside_the_budget_do_not_count(norm: str) -> None:
    victim = watch(Threat(norm, 0.1))
    victim(pixels(0.59, 0.61, 0.9, 0.5))
    assert victim.fallen.tolist() == [True, False, False, False]


def test_images_that_are_none_do_not_count() -> None:
    victim = watch(Threat("linf", 2.0))
    victim(pixels(0.9, 1.1, 1.0, 0.5))
    assert victim.fallen.tolist() == [True, False, True, False]


def test_the_first_image_that_fools_is_kept() -> None:
    victim = watch(Threat("linf", 0.3))
    victim(pixels(0.4, 0.6, 0.5, 0.5))
    victim(pixels(0.7, 0.8, 0.5, 0.4))
    assert victim.adversarial[:, 0, 0, 0].tolist() == pytest.approx([0.7, 0.6, 0.5, 0.5])
    assert victim.fallen.tolist() == [True, True, False, False]


def test_what_is_watched_are_the_rows_that_are_worked_on() -> None:
    victim = watch(Threat("linf", 0.3))
    victim.draws.rows = torch.tensor([1, 3])
    victim(pixels(0.6, 0.4))
    assert victim.fallen.tolist() == [False, True, False, False]


def test_a_batch_of_another_size_and_logits_alone_are_not_watched() -> None:
    victim = watch(Threat("linf", 0.3))
    victim(pixels(0.6, 0.6))
    assert victim.logits(pixels(0.6, 0.4, 0.6, 0.4)).argmax(1).tolist() == [1, 0, 1, 0]
    assert not victim.fallen.any()


def test_a_batch_is_abandoned_when_few_enough_stand() -> None:
    victim = watch(Threat("linf", 0.3), patience=0.25)
    victim(pixels(0.6, 0.6, 0.5, 0.5))
    with pytest.raises(Abandoned):
        victim(pixels(0.4, 0.4, 0.6, 0.4))
    assert victim.fallen.tolist() == [True, True, True, False]


def test_without_patience_given_an_attack_comes_to_its_end() -> None:
    victim = watch(Threat("linf", 0.3))
    victim(pixels(0.6, 0.6, 0.6, 0.6))
    assert victim.fallen.all()


def test_the_network_sees_channels_last_and_gradients_come_back_contiguous() -> None:
    seen = []

    class Layout(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.is_contiguous(memory_format=torch.channels_last))
            return super().forward(images)

    victim = watch(Threat("linf", 0.3))
    victim.net = Layout()
    images = pixels(0.6, 0.5, 0.5, 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(victim(images)[:, 1].sum(), images)
    assert seen == [True]
    assert gradient.is_contiguous()
    assert torch.equal(gradient.nonzero(), torch.tensor([[row, 0, 0, 0] for row in range(4)]))


def test_logits_are_in_single_precision_whatever_the_network_computes_in() -> None:
    assert watch(Threat("linf", 0.3))(pixels(0.5, 0.5, 0.5, 0.5)).dtype == torch.float32


class Talkative(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return self.net(images), None


@pytest.mark.parametrize("name", sorted({*ATTACKS} - {"noise", *MINIMUM_NORM}))
def test_a_network_that_returns_more_than_logits_is_refused_with_advice(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str
) -> None:
    """Noise looks at no network."""
    stage = AttackRun(attack_setting(Threat("linf", 0.1), 2, name=name))
    with pytest.raises(
        UsageError, match=r"more than logits, .* got tuple\. Wrap it in a module that returns the logit"
    ):
        craft(Talkative(net), images, labels, stage, range(8))
