"""The attacks against torchattacks' own, where that is right, and against their definitions, where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor, nn

from sdnet_bench.attacks import AttackRun, craft
from sdnet_bench.attacks.draws import ImageDraws
from sdnet_bench.attacks.threat import distance
from sdnet_bench.attacks.victim import guarded
from sdnet_bench.errors import UsageError
from sdnet_bench.records import Threat
from sdnet_bench.studies.protocols import attack_setting

NORMS = ["linf", "l2"]
EPS = {"linf": 0.06, "l2": 0.8}
TORCHATTACKS = {"linf": "Linf", "l2": "L2"}


def stage(name: str, norm: str, steps: int = 8, restart: int = 0) -> AttackRun:
    return AttackRun(attack_setting(Threat(norm, EPS[norm]), steps, name=name), restart)


def common(at: AttackRun) -> dict[str, Any]:
    return {"norm": TORCHATTACKS[at.setting.norm], "eps": at.setting.eps, "steps": at.setting.steps}


def own_pgd(net: nn.Module, images: Tensor, labels: Tensor, at: AttackRun) -> Tensor:
    setting = at.setting
    kind = torchattacks.PGD if setting.norm == "linf" else torchattacks.PGDL2
    return kind(net, eps=setting.eps, alpha=setting.step_size, steps=setting.steps)(images, labels)  # type: ignore[no-any-return]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("norm", NORMS)
def test_pgd_is_that_of_torchattacks(net: nn.Sequential, images: Tensor, labels: Tensor, norm: str, count: int) -> None:
    """From the same random starts, on a network that is sure of nothing: there their averaged loss does no harm."""
    at, images, labels = stage("pgd", norm), images[:count], labels[:count]
    ours = craft(net, images, labels, at, range(count)).last
    draws = ImageDraws([at.seed(0, index) for index in range(count)])
    with guarded(net, images.device, 0, draws):
        theirs = own_pgd(net, images, labels, at)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert not torch.equal(ours, images)


def pgd_by_hand(net: nn.Module, image: Tensor, label: Tensor, at: AttackRun, index: int) -> Tensor:
    """Madry et al. (2018), for one image."""
    setting, generator = at.setting, torch.Generator().manual_seed(at.seed(0, index))
    if setting.norm == "linf":
        delta = torch.empty(image.shape[1:]).uniform_(-setting.eps, setting.eps, generator=generator)
    else:
        direction = torch.empty(image.shape[1:]).normal_(generator=generator)
        delta = direction / direction.norm() * torch.empty(1).uniform_(0, 1, generator=generator) * setting.eps
    moved = (image + delta).clamp(0, 1)
    for _ in range(setting.steps):
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        step = gradient.sign() if setting.norm == "linf" else gradient / gradient.norm()
        delta = moved.detach() + (setting.step_size or 0) * step - image
        if setting.norm == "linf":
            delta = delta.clamp(-setting.eps, setting.eps)
        elif delta.norm() > setting.eps:
            delta = delta / delta.norm() * setting.eps
        moved = (image + delta).clamp(0, 1)
    return moved.detach()


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_is_its_definition(net: nn.Sequential, images: Tensor, labels: Tensor, norm: str) -> None:
    at = stage("pgd", norm)
    ours = craft(net, images, labels, at, range(8)).last
    by_hand = [pgd_by_hand(net, images[[row]], labels[[row]], at, row) for row in range(8)]
    torch.testing.assert_close(ours, torch.cat(by_hand), atol=1e-5, rtol=0)


class Louder(nn.Module):
    """Logits times a number: the same classes, and gradients of the cross-entropy that almost vanish."""

    def __init__(self, net: nn.Module, volume: float) -> None:
        super().__init__()
        self.net, self.volume = net, volume

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images) * self.volume  # type: ignore[no-any-return]


def lead(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """By how many nats the true class is ahead of the next."""
    logits = net(images)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return logits.gather(1, labels[:, None])[:, 0] - others  # type: ignore[no-any-return]


@pytest.fixture
def confident(net: nn.Sequential, images: Tensor, labels: Tensor) -> Louder:
    """Sure of the first image by 25 nats: its gradients are e^-25 of what they could be."""
    return Louder(net, 25 / float(lead(net, images[:1], labels[:1]).detach()))


NEAR = 1e-3
"""Too small a budget to fool anybody."""


@pytest.mark.parametrize("norm", NORMS)
def test_confident_images_take_steps_of_full_length(
    net: nn.Sequential, confident: Louder, images: Tensor, labels: Tensor, norm: str
) -> None:
    image, label = images[:1].repeat(64, 1, 1, 1), labels[:1].repeat(64)
    last = craft(confident, image, label, AttackRun(attack_setting(Threat(norm, NEAR), 8, name="pgd")), range(64)).last
    assert float(distance(Threat(norm, NEAR), image, last).min()) > 0.9 * NEAR
    assert (lead(net, last, label) < lead(net, image, label)).all()


def test_torchattacks_own_steps_fall_short_there(confident: Louder, images: Tensor, labels: Tensor) -> None:
    """It averages gradients over the batch, and its 1e-10 is more than they are: why both are dealt with."""
    image, label = images[:1].repeat(64, 1, 1, 1), labels[:1].repeat(64)
    attack = torchattacks.PGDL2(confident, eps=NEAR, alpha=2.5 * NEAR / 8, steps=8, random_start=False)
    assert float(distance(Threat("l2", NEAR), image, attack(image, label)).max()) < 0.5 * NEAR


def run_theirs(attack: Any, net: nn.Module, image: Tensor, label: Tensor, at: AttackRun, index: int) -> Tensor:
    """One image by a single run of torchattacks' own, with the random numbers of our stage."""
    draws = ImageDraws([at.seed(0, index)])
    with guarded(net, image.device, at.seed(0), draws):
        return attack(image, label)  # type: ignore[no-any-return]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("restart", [0, 1, 3])
def test_targeted_apgd_is_that_of_torchattacks_for_one_image(
    net: nn.Sequential, images: Tensor, labels: Tensor, restart: int, norm: str
) -> None:
    """With more images theirs takes the step size of the first for all under L2."""
    at, fooled = AttackRun(attack_setting(Threat(norm, 2 * EPS[norm]), 10, name="apgd-t"), restart), 0
    theirs = torchattacks.APGDT(net, **common(at))
    theirs.target_class = restart + 2
    for row in range(4):
        image, label = images[[row]], labels[[row]]
        _, standing, _, best = run_theirs(theirs.attack_single_run, net, image, label, at, row)
        ours = craft(net, image, label, at, [row])
        torch.testing.assert_close(ours.last, image if standing.all() else best)
        fooled += int(not standing.all())
    assert fooled > 0


def test_targeted_apgd_is_that_of_torchattacks_for_many_images_under_linf(
    net: nn.Sequential, images: Tensor, labels: Tensor
) -> None:
    at = stage("apgd-t", "linf", steps=20)
    theirs = torchattacks.APGDT(net, n_classes=2, seed=3, **common(at))
    with guarded(net, images.device, 0, ImageDraws([at.seed(0, row) for row in range(8)])):
        expected = theirs(images, labels)
    torch.testing.assert_close(craft(net, images, labels, at, range(8)).last, expected)


def test_step_sizes_of_targeted_apgd_are_those_of_each_image(
    one_by_one: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """What torchattacks has wrong under L2: an image in a batch walks as it does alone."""
    at = stage("apgd-t", "l2", steps=20)
    alone = [craft(one_by_one, images[[row]], labels[[row]], at, [row]).last for row in range(8)]
    assert torch.equal(craft(one_by_one, images, labels, at, range(8)).last, torch.cat(alone))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("name", "loss"), [("apgd-ce", "ce"), ("apgd-dlr", "dlr")])
def test_apgd_is_that_of_torchattacks(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str, loss: str, norm: str
) -> None:
    at = stage(name, norm, steps=20)
    theirs = torchattacks.APGD(net, loss=loss, seed=3, **common(at))
    with guarded(net, images.device, 0, ImageDraws([at.seed(0, row) for row in range(8)])):
        expected = theirs(images, labels)
    torch.testing.assert_close(craft(net, images, labels, at, range(8)).last, expected)


@pytest.mark.parametrize("norm", NORMS)
def test_square_is_that_of_torchattacks_for_one_image(
    net: nn.Sequential, images: Tensor, labels: Tensor, norm: str
) -> None:
    at = stage("square", norm, steps=60)
    options = common(at)
    theirs = torchattacks.Square(net, n_queries=options.pop("steps"), seed=at.seed(0), **options)
    theirs.init_hyperparam(images)
    for row in range(4):
        _, expected = run_theirs(theirs.attack_single_run, net, images[[row]], labels[[row]], at, row)
        torch.testing.assert_close(craft(net, images[[row]], labels[[row]], at, [row]).last, expected)


@pytest.mark.parametrize("size", [(12, 12), (24, 24), (8, 10), (10, 8), (4, 4)])
def test_images_that_square_cannot_tile_are_refused_where_torchattacks_fails(size: tuple[int, int]) -> None:
    net, images = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), torch.rand(2, 3, *size)
    labels, at = net(images).argmax(1), stage("square", "l2", steps=2)
    theirs = torchattacks.Square(net, n_queries=2, norm="L2", eps=EPS["l2"])
    theirs.init_hyperparam(images)
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        theirs.attack_single_run(images, labels)
    with pytest.raises(UsageError, match=f"square does not tile such images under l2, .*got {size[0]} x {size[1]}"):
        craft(net, images, labels, at, range(2))
    assert craft(net, images, labels, stage("square", "linf", steps=2), range(2)).finished


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fab", "fab-t"])
def test_fab_is_that_of_torchattacks_where_it_came_near_enough(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str, norm: str
) -> None:
    at = stage(name, norm, steps=10)
    theirs = torchattacks.FAB(net, n_classes=5, multi_targeted=name == "fab-t", **common(at))
    theirs.target_class = 2
    run = theirs.attack_single_run_targeted if name == "fab-t" else theirs.attack_single_run
    expected = run(images, labels)
    near = distance(Threat(norm, EPS[norm]), images, expected) <= EPS[norm] + 1e-6
    ours = craft(net, images, labels, at, range(8)).last
    torch.testing.assert_close(ours[near], expected[near])
    assert torch.equal(ours[~near], images[~near])
    assert near.any()


def test_fab_finds_the_border_of_a_linear_network() -> None:
    """Closed form: the nearest adversarial image is |logit difference| / |weights| away."""
    linear = nn.Linear(3, 2, bias=False)
    linear.weight.data = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    net = nn.Sequential(nn.Flatten(), linear).eval()
    image = torch.tensor([0.5, 0.25, 0.5]).view(1, 3, 1, 1)
    label = torch.tensor([0])  # ahead by 0.5; the difference of the weights is 5 long
    for eps, fallen in ((0.09, False), (0.11, True)):
        at = AttackRun(attack_setting(Threat("l2", eps), 20, name="fab"))
        crafted = craft(net, image, label, at, [0])
        assert crafted.fallen.tolist() == [fallen]
    assert float(distance(Threat("l2", 1), image, crafted.last)) == pytest.approx(0.1, rel=0.06)  # it overshoots by 5 %


@pytest.mark.parametrize("norm", NORMS)
def test_noise_is_as_far_away_as_it_may_be(net: nn.Sequential, images: Tensor, labels: Tensor, norm: str) -> None:
    grey = torch.full_like(images, 0.5)
    crafted = craft(net, grey, labels, stage("noise", norm), range(8))
    assert distance(Threat(norm, 1), grey, crafted.last).tolist() == pytest.approx([EPS[norm]] * 8, rel=1e-5)
    assert not crafted.fallen.any()


@pytest.mark.parametrize("norm", NORMS)
def test_noise_has_no_preferred_direction(net: nn.Sequential, norm: str) -> None:
    grey, labels = torch.full((400, 3, 8, 8), 0.5), torch.zeros(400, dtype=torch.int64)
    moved = craft(net, grey, labels, stage("noise", norm), range(400)).last - grey
    assert abs(float(moved.sign().mean())) < 4 / (400 * 192) ** 0.5


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"])
def test_an_image_that_is_wrong_already_is_left_as_it_is(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str
) -> None:
    labels[3] = (labels[3] + 1) % 5
    last = craft(net, images, labels, stage(name, "linf"), range(8)).last
    assert torch.equal(last[3], images[3])
    wrong = (labels + 1) % 5
    assert torch.equal(craft(net, images, wrong, stage(name, "linf"), range(8)).last, images)


@pytest.mark.parametrize(("name", "least"), [("apgd-dlr", 3), ("apgd-t", 4)])
def test_the_dlr_loss_asks_for_classes_to_compare(images: Tensor, name: str, least: int) -> None:
    def run(classes: int) -> Any:
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, classes)).eval()
        return craft(net, images, net(images).argmax(1), stage(name, "linf", 2), range(8))

    with pytest.raises(UsageError, match=f"the DLR loss compares logits, expected {least} classes, got {least - 1}"):
        run(least - 1)
    assert run(least).finished


@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "fab", "fab-t", "square"])
def test_two_classes_are_enough_for_the_others(images: Tensor, name: str) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    assert craft(net, images, net(images).argmax(1), stage(name, "linf", 2), range(8)).finished
