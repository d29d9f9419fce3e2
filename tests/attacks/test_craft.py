"""Every attack keeps to its budget, is a function of the image and the seed, and leaves the world as it found it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from sdnet_bench.attacks import ATTACKS, NARROWING, Adversarials, AttackRun, craft, surrogate
from sdnet_bench.attacks.threat import allows
from sdnet_bench.backbones import build
from sdnet_bench.csc import csc_layers
from sdnet_bench.errors import AttackError
from sdnet_bench.records import MINIMUM_NORM, AttackSetting, Threat
from sdnet_bench.studies.protocols import attack_setting

NORMS = ["linf", "l2"]
NAMES = sorted({*ATTACKS} - {*MINIMUM_NORM})
LOOKING = [name for name in NAMES if name != "noise"]
"""Those that look at a network."""
RANDOM = [name for name in NAMES if not name.startswith("fab")]
"""Those whose first run draws numbers: FAB starts from the clean image, its restarts elsewhere."""
LARGE = {"linf": 0.3, "l2": 2.0}
"""Budgets that fool the small network on most images."""
SOME = {"linf": 0.03, "l2": 0.3}
"""Budgets that fool it on some and not on all."""


def stage(name: str, norm: str = "linf", eps: float = 0.1, steps: int = 3, restart: int = 0, **rest: Any) -> AttackRun:
    setting = attack_setting(Threat(norm, eps), steps, name=name)
    return AttackRun(setting.model_copy(update=rest), restart)


class Witness(nn.Module):
    """Remembers the batches that it has seen; may fail at one of them."""

    def __init__(self, net: nn.Module, fails_at: float = math.inf) -> None:
        super().__init__()
        self.net, self.fails_at = net, fails_at
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        if len(self.seen) == self.fails_at:
            raise ValueError("out of order")
        return self.net(images)  # type: ignore[no-any-return]


# budgets

BRIGHTNESS = {
    "black": torch.zeros(6, 3, 8, 8),
    "white": torch.ones(6, 3, 8, 8),
    "grey": torch.full((6, 3, 8, 8), 0.5),
    "random": torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
}


def excess(images: Tensor, adversarial: Tensor, norm: str, eps: float) -> float:
    """By how much the worst image is outside, in double precision."""
    moved, pixels = (adversarial.double() - images.double()).flatten(1), adversarial.double()
    distance = moved.abs().amax(1) if norm == "linf" else moved.square().sum(1).sqrt()
    return max(float(distance.max()) - eps, float(-pixels.min()), float(pixels.max()) - 1)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    norm=st.sampled_from(NORMS),
    eps=st.floats(math.log(1e-4), math.log(3)).map(math.exp),
    steps=st.integers(1, 3),
    restart=st.integers(0, 2),
    seed=st.integers(0, 2**63 - 1),
    brightness=st.sampled_from(sorted(BRIGHTNESS)),
)
def test_no_attack_leaves_its_ball(
    name: str, norm: str, eps: float, steps: int, restart: int, seed: int, brightness: str
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 5)).eval()
    images = BRIGHTNESS[brightness]
    labels = net(images).argmax(1)
    labels[0] = (labels[0] + 1) % 5  # one that is wrong already
    crafted = craft(net, images, labels, stage(name, norm, eps, steps, restart), range(6), seed=seed)
    assert excess(images, crafted.last, norm, eps) <= 1e-6
    assert excess(images, crafted.first, norm, eps) <= 1e-6


@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "noise", "square"])
@pytest.mark.parametrize("eps", [5.0, 10.0, 20.0])
def test_a_large_ball_is_no_excuse_for_rounding(name: str, eps: float) -> None:
    """A projection rounds in proportion to eps; a sweep over eps reaches into the tens."""
    images = torch.full((20, 3, 64, 64), 0.5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5)).eval()
    labels = net(images).argmax(1)
    crafted = craft(net, images, labels, stage(name, "l2", eps), range(20))
    assert excess(images, crafted.last, "l2", eps) <= 1e-6 * eps


@pytest.mark.parametrize(
    "answer",
    [
        lambda images: 1 - images,
        lambda images: images - 0.05 - images.amax(),
        lambda images: torch.full_like(images, float("nan")),
    ],
    ids=["negative", "below black", "not a number"],
)
def test_an_attack_that_leaves_its_budget_is_an_error(
    net: nn.Sequential, images: Tensor, labels: Tensor, answer: Callable[[Tensor], Tensor], register_part: Any
) -> None:
    register_part(ATTACKS, "liar", lambda victim, images, *_: answer(images))
    setting = AttackSetting(name="liar", norm="linf", eps=0.1, steps=1)
    with pytest.raises(AttackError, match=r"attack 'liar' left its budget on 8 of 8 images, expected linf <= 0\.1"):
        craft(net, images, labels, AttackRun(setting), range(8))


# what an attack is a function of


def together(
    net: nn.Module, images: Tensor, labels: Tensor, at: AttackRun, order: list[int], **rest: Any
) -> Adversarials:
    """The images at the places of `order`, in one batch; results in the old places."""
    crafted = craft(net, images[order], labels[order], at, order, **rest)
    back = torch.argsort(torch.tensor(order))
    return Adversarials(crafted.last[back], crafted.fallen[back], crafted.first[back], crafted.finished)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NAMES)
def test_what_becomes_of_an_image_does_not_depend_on_its_batch(
    one_by_one: nn.Module, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    """To the bit, as this network does not round one way in one batch and another way in the next."""
    labels[2] = (labels[2] + 1) % 5
    for restart in range(2):
        at = stage(name, norm, SOME[norm], 5, restart)
        whole = craft(one_by_one, images, labels, at, range(8))
        reverse = together(one_by_one, images, labels, at, [7, 3, 1, 0, 5, 2, 6, 4])
        alone = {row: craft(one_by_one, images[[row]], labels[[row]], at, [row]) for row in (0, 2, 5)}
        for part in ("last", "fallen", "first"):
            assert torch.equal(getattr(reverse, part), getattr(whole, part))
            for row, crafted in alone.items():
                assert torch.equal(getattr(crafted, part)[0], getattr(whole, part)[row])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", LOOKING)
def test_budgets_of_this_test_fool_some_images_and_not_all(
    one_by_one: nn.Module, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    """Or else the test above would have little to compare."""
    for restart in range(2):
        crafted = craft(one_by_one, images, labels, stage(name, norm, SOME[norm], 5, restart), range(8))
        assert 0 < crafted.fallen.sum() < 8


def drawn(
    net: nn.Module, images: Tensor, labels: Tensor, at: AttackRun, index: Any = range(8), seed: int = 0
) -> Tensor:
    """`(N, ...)`: what the attack shows the network and what it ends with, of those that it shows whole batches."""
    witness = Witness(net)
    last = craft(witness, images, labels, at, index, seed=seed).last
    return torch.stack([*(seen for seen in witness.seen if len(seen) == len(images)), last], dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", RANDOM)
def test_seeds_restarts_and_images_have_random_numbers_of_their_own(
    net: nn.Module, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    same, label = images[[0, 0, 0]], labels[[0, 0, 0]]
    of = {
        what: drawn(net, same, label, stage(name, norm, LARGE[norm], restart=restart), [0, 0, 1], seed)
        for what, restart, seed in (("run", 0, 0), ("seed", 0, 1), ("restart", 1, 0))
    }
    assert torch.equal(of["run"][0], of["run"][1])
    assert not torch.equal(of["run"][0], of["run"][2])
    for other in ("seed", "restart"):
        count = min(of[other].shape[1], of["run"].shape[1])
        assert not torch.equal(of[other][0, :count], of["run"][0, :count])


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_of_fab_start_elsewhere(net: nn.Module, images: Tensor, labels: Tensor, norm: str) -> None:
    first, second, third = (drawn(net, images, labels, stage("fab", norm, LARGE[norm], restart=r)) for r in range(3))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert not torch.equal(second, drawn(net, images, labels, stage("fab", norm, LARGE[norm], restart=1), seed=1))


@pytest.mark.parametrize("name", ["fab-t", "apgd-t"])
def test_restarts_of_targeted_attacks_have_other_targets(
    net: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    first, second = (drawn(net, images, labels, stage(name, "l2", 2.0, restart=restart)) for restart in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_of_torch_has_no_say_and_is_left_alone(
    net: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    first = drawn(net, images, labels, stage(name))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(drawn(net, images, labels, stage(name)), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_of_images_and_of_stages_are_no_two_alike() -> None:
    stages = [stage(name, restart=restart) for name in NAMES for restart in range(3)]
    seeds = [one.seed(seed, image) for one in stages for seed in range(3) for image in (None, *range(20))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


# what is left of it


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", LOOKING)
def test_those_that_have_fallen_are_misclassified_at_first(
    one_by_one: nn.Module, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    crafted = craft(one_by_one, images, labels, stage(name, norm, LARGE[norm], 5), range(8))
    wrong = one_by_one(crafted.first).argmax(1) != labels
    assert wrong[crafted.fallen].all()
    assert torch.equal(crafted.first[~crafted.fallen], crafted.last[~crafted.fallen])
    assert crafted.finished


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", LOOKING)
def test_impatience_takes_nothing_from_what_has_fallen(
    one_by_one: nn.Module, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    at = stage(name, norm, LARGE[norm], 5)
    whole = craft(one_by_one, images, labels, at, range(8))
    hasty = craft(one_by_one, images, labels, at, range(8), patience=0.75)
    assert hasty.fallen.any()
    assert not hasty.finished
    assert not (hasty.fallen & ~whole.fallen).any()
    assert torch.equal(hasty.first[hasty.fallen], whole.first[hasty.fallen])


class Noisy(nn.Module):
    """Classifies images with noise of their own."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images + 0.01 * torch.randn_like(images))  # type: ignore[no-any-return]


@pytest.mark.parametrize("is_noisy", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NARROWING)
def test_images_that_have_fallen_rest_and_the_others_do_not_notice(
    one_by_one: nn.Module, images: Tensor, labels: Tensor, name: str, norm: str, is_noisy: bool
) -> None:
    net = Witness(Noisy(one_by_one) if is_noisy else one_by_one)
    at = stage(name, norm, SOME[norm], 8)
    whole = craft(net, images, labels, at, range(8))
    assert 0 < whole.fallen.sum() < 8
    net.seen.clear()
    hasty = craft(net, images, labels, at, range(8), patience=0)
    assert torch.equal(hasty.fallen, whole.fallen)
    assert torch.equal(hasty.first, whole.first)
    assert len(net.seen[-1]) < 8


def test_an_attack_that_was_abandoned_fooled_as_many_as_it_was_to(
    one_by_one: nn.Module, images: Tensor, labels: Tensor
) -> None:
    at = stage("pgd", "linf", LARGE["linf"], 10)
    standing = [
        int((~craft(one_by_one, images, labels, at, range(8), patience=p).fallen).sum()) for p in (0.75, 0.5, 0)
    ]
    assert all(left <= most for left, most in zip(standing, (6, 4, 0), strict=True))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_images_of_the_caller_stay_as_they_are(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    mine = images.clone()
    crafted = craft(net, mine, labels, stage(name, norm), range(8))
    assert torch.equal(mine, images)
    assert (crafted.last.shape, crafted.last.dtype, crafted.last.requires_grad) == (mine.shape, mine.dtype, False)


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_raises_the_loss(net: nn.Sequential, images: Tensor, labels: Tensor, norm: str) -> None:
    adversarial = craft(net, images, labels, stage("pgd", norm, 0.5, 10), range(8)).last
    assert F.cross_entropy(net(adversarial), labels) > F.cross_entropy(net(images), labels) + 0.05


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NAMES)
def test_attacks_work_on_networks_and_images_in_channels_last(images: Tensor, name: str, norm: str) -> None:
    """Where torchattacks' own PGD under L2 asks for a view that there is none of."""
    net = build("sdnet18", num_classes=5, width=2).eval()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=torch.channels_last)
    labels = net(images).argmax(1)
    crafted = craft(net, images, labels, stage(name, norm, LARGE[norm], 2), range(8))
    assert bool(allows(Threat(norm, LARGE[norm]), images, crafted.last).all())


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_sees_the_network_in_eval_mode(net: nn.Sequential, images: Tensor, labels: Tensor, name: str) -> None:
    """Dropout would make two attacks with one seed differ, and batch norm would learn from the images."""
    in_training = craft(net.train(), images, labels, stage(name), range(8)).last
    assert net.training
    assert torch.equal(in_training, craft(net.eval(), images, labels, stage(name), range(8)).last)


def test_an_attack_works_where_gradients_are_switched_off(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    with_gradients = craft(net, images, labels, stage("pgd"), range(8)).last
    with torch.no_grad():
        assert torch.equal(craft(net, images, labels, stage("pgd"), range(8)).last, with_gradients)
        assert not torch.is_grad_enabled()


# the state of the world

SURROGATES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "lambda": {"crafted_at": 0.4},
    "ensemble": {"crafted_at": (0.05, 0.1, 0.3)},
    "attached": {"through": "attached"},
    "detached": {"through": "detached"},
    "smooth": {"crafted_at": 0.4, "smooth": True},
    "more steps": {"inference_steps": 3},
}


def state_of(net: nn.Module) -> dict[str, Any]:
    layers = csc_layers(net)
    return {
        "modes": [module.training for module in net.modules()],
        "gradients": [parameter.requires_grad for parameter in net.parameters()],
        "grad": [parameter.grad for parameter in net.parameters()],
        "weights": {name: tensor.tolist() for name, tensor in net.state_dict().items()},
        "rng": torch.get_rng_state().tolist(),
        "enabled": torch.is_grad_enabled(),
        "steps": [layer.steps for layer in layers],
        "prox": [layer.prox for layer in layers],
        "attributes": [sorted(vars(layer)) for layer in layers],
        "hooks": [len(layer._forward_hooks) for layer in layers],
        "function modes": _get_current_function_mode_stack(),
    }


def mixed(net: nn.Sequential) -> nn.Sequential:
    """As people have it: training, but for its statistics; all gradients wanted, but those of the dictionary."""
    net.train()
    net[1].eval()
    net[0].dictionary.requires_grad_(False)
    return net


def rule(residual: Tensor) -> Tensor:
    return (0.1 * residual).clamp_min(0)


def expected_of(name: str) -> AbstractContextManager[Any]:
    """A network that fails is no concern of noise, which never looks at it."""
    return nullcontext() if name == "noise" else pytest.raises(ValueError, match="out of order")


@pytest.mark.parametrize(
    ("name", "look"), [*((name, "attached") for name in NAMES), *(("fab-t", look) for look in SURROGATES)]
)
def test_an_attack_leaves_the_world_as_it_was(csc_net: nn.Sequential, images: Tensor, name: str, look: str) -> None:
    """When it comes to its end, when it is abandoned, and when the network fails under it."""
    at = stage(name, "linf", 0.3, 2, **SURROGATES[look])
    with torch.no_grad(), surrogate(csc_net, at.setting, rule) as seen:
        labels = seen(images).argmax(1)
    net = Witness(mixed(csc_net))
    before = state_of(net)
    for patience in (None, 1.0):
        with surrogate(net, at.setting, rule) as seen:
            crafted = craft(seen, images, labels, at, range(8), patience=patience)
        assert crafted.finished == (patience is None or name == "noise")
        assert state_of(net) == before
    net.fails_at = 2
    net.seen.clear()
    with expected_of(name), surrogate(net, at.setting, rule) as seen:
        craft(seen, images, labels, at, range(8))
    assert state_of(net) == before
