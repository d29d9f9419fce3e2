"""Attacks leave the world as they found it, keep to their budget, and are a function of their seed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sdnet_bench.attacks import ATTACKS, Threat
from sdnet_bench.backbones import build
from sdnet_bench.errors import UnknownNameError, UsageError
from sdnet_bench.records import AttackSetting
from sdnet_bench.studies.adversarial import attack_setting

NORMS = ["linf", "l2"]


def victim() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 5)
    return nn.Sequential(*layers)


@pytest.fixture
def net() -> nn.Sequential:
    return victim()


IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(6) % 5


def make(net: nn.Module, setting: AttackSetting, seed: int = 0, images: Tensor = IMAGES) -> Tensor:
    return ATTACKS[setting.name](net, images, LABELS, setting, seed)


def setting(norm: str, eps: float = 0.1, steps: int = 3) -> AttackSetting:
    return attack_setting(Threat(norm, eps), steps)


def state_of(net: nn.Module) -> dict[str, object]:
    return {
        "modes": [module.training for module in net.modules()],
        "gradients": [parameter.requires_grad for parameter in net.parameters()],
        "grad": [parameter.grad for parameter in net.parameters()],
        "weights": [tensor.tolist() for tensor in net.state_dict().values()],
        "rng": torch.get_rng_state().tolist(),
        "enabled": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_leaves_the_world_as_it_was(net: nn.Sequential, norm: str) -> None:
    net.train()
    net[1].eval()  # frozen statistics inside a net that trains
    net[0].weight.requires_grad_(False)
    before = state_of(net)
    make(net, setting(norm))
    assert state_of(net) == before


class Fails(nn.Module):
    """Raises at its second forward."""

    def __init__(self) -> None:
        super().__init__()
        self.net = victim()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 2:
            raise ValueError("out of order")
        return self.net(images)  # type: ignore[no-any-return]


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_that_fails_leaves_the_world_as_it_was(norm: str) -> None:
    net = Fails().train()
    net.net[1].eval()
    before = state_of(net)
    with pytest.raises(ValueError, match="out of order"):
        make(net, setting(norm))
    assert state_of(net) == before


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_is_a_function_of_its_seed(net: nn.Sequential, norm: str) -> None:
    first = make(net, setting(norm), seed=1)
    torch.manual_seed(99)
    assert torch.equal(first, make(net, setting(norm), seed=1))
    assert not torch.equal(first, make(net, setting(norm), seed=2))


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_sees_the_network_in_eval_mode(net: nn.Sequential, norm: str) -> None:
    """Dropout would make two attacks with one seed differ, and batch norm would learn from the images."""
    in_training = make(net.train(), setting(norm))
    assert torch.equal(in_training, make(net.eval(), setting(norm)))


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_works_where_gradients_are_switched_off(net: nn.Sequential, norm: str) -> None:
    with torch.no_grad():
        assert torch.equal(make(net, setting(norm)), make(net, setting(norm)))


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_raises_the_loss(net: nn.Sequential, norm: str) -> None:
    net.eval()
    adversarial = make(net, setting(norm, 0.5, steps=10))
    assert F.cross_entropy(net(adversarial), LABELS) > F.cross_entropy(net(IMAGES), LABELS) + 0.05


@pytest.mark.parametrize("norm", NORMS)
def test_the_images_of_the_caller_stay_as_they_are(net: nn.Sequential, norm: str) -> None:
    mine = IMAGES.clone()
    adversarial = make(net, setting(norm), images=mine)
    assert torch.equal(mine, IMAGES)
    assert (adversarial.shape, adversarial.dtype, adversarial.requires_grad) == (mine.shape, mine.dtype, False)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["sdnet18", "resnet18"])
def test_attacks_work_on_networks_of_any_layout(name: str, norm: str, layout: torch.memory_format) -> None:
    net = build(name, num_classes=5, width=2).to(memory_format=layout)  # type: ignore[call-overload]
    images = IMAGES.contiguous(memory_format=layout)
    adversarial = make(net, setting(norm), images=images)
    assert bool(Threat(norm, 0.1).allows(images, adversarial).all())
    assert not torch.equal(images, adversarial)


@settings(max_examples=40, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    eps=st.floats(1e-4, 3),
    seed=st.integers(0, 2**63 - 1),
    steps=st.integers(1, 4),
    black=st.booleans(),
)
def test_no_attack_leaves_its_ball(norm: str, eps: float, seed: int, steps: int, black: bool) -> None:
    images = torch.zeros_like(IMAGES) if black else IMAGES
    adversarial = make(victim(), setting(norm, eps, steps), seed, images)
    assert bool(Threat(norm, eps).allows(images, adversarial).all())


class Talkative(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return images.flatten(1)[:, :5], None


def test_a_network_that_returns_more_than_logits_is_refused_with_advice() -> None:
    with pytest.raises(
        UsageError, match=r"more than logits, .* got tuple\. Wrap it in a module that returns the logits"
    ):
        make(Talkative(), setting("linf"))


def test_a_misspelt_attack_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown attack 'pgdd'\. Did you mean 'pgd'"):
        ATTACKS["pgdd"]
