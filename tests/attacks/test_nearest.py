"""Minimum-norm attacks: the nearest iterate counts, whatever its radius, and those of foolbox against closed forms."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from networks import OneByOne
from torch import Tensor, nn
from walking import walking

from sdnet_bench.attacks import ATTACKS, AttackRun, craft
from sdnet_bench.attacks.threat import distance
from sdnet_bench.conformance import check_part
from sdnet_bench.errors import UsageError
from sdnet_bench.records import MINIMUM_NORM, Threat
from sdnet_bench.studies.protocols import attack_setting

EPS = {"ddn": 0.5, "fmn": 8 / 255}


def run(name: str, eps: float | None = None, steps: int | None = None) -> AttackRun:
    return AttackRun(attack_setting(Threat(MINIMUM_NORM[name], eps or EPS[name]), steps, name=name))


class Curved(nn.Module):
    """Two classes that a plane divides. Along the way to it the logits bend: where they are straight FMN ends on it."""

    weights = (3.0, -4.0, 1.0)

    def forward(self, images: Tensor) -> Tensor:
        ahead = images.flatten(1) @ torch.tensor(self.weights) + 0.5
        return torch.stack([ahead.tanh(), torch.zeros_like(ahead)], 1)

    def radius(self, image: Tensor, name: str) -> float:
        """How far the plane is: |w x + b| over the dual norm of w."""
        weights = torch.tensor(self.weights)
        return float((image.flatten() @ weights + 0.5).abs() / weights.norm(p=2 if name == "ddn" else 1))


def grey() -> Tensor:
    return torch.tensor([[0.5, 0.4, 0.5], [0.6, 0.3, 0.4], [0.4, 0.5, 0.6]]).view(3, 3, 1, 1)


@pytest.mark.parametrize("radii", [(0.9, 0.3, 0.6), (0.3, 0.9), (0.01, 0.7, 0.3)], ids=str)
def test_the_nearest_iterate_that_fools_is_the_image_of_the_attack(
    radii: tuple[float, ...], register_part: Any
) -> None:
    """Not the first; not a nearer one that fools nobody; and eps is no bound."""
    register_part(ATTACKS, "ddn", walking(*radii))
    images, net = grey()[:1], Curved()
    made = craft(net, images, torch.tensor([0]), run("ddn", eps=0.05), [0], patience=0.5)
    assert made.finished
    assert made.fallen.all()
    assert float(distance(Threat("l2", 1), images, made.last)) == pytest.approx(0.3, rel=1e-5)
    assert torch.equal(made.first, made.last)


def test_an_image_that_no_iterate_fools_is_left_as_it_is(register_part: Any) -> None:
    register_part(ATTACKS, "ddn", walking(0.01, 0.02))
    made = craft(Curved(), grey(), torch.tensor([0, 0, 0]), run("ddn"), range(3))
    assert torch.equal(made.last, grey())
    assert not made.fallen.any()


@pytest.mark.parametrize("name", MINIMUM_NORM)
def test_the_radius_is_that_of_the_closed_form(name: str) -> None:
    pytest.importorskip("foolbox")
    images, net = grey(), Curved()
    assert (net(images).argmax(1) == 0).all()
    made = craft(net, images, torch.zeros(3, dtype=torch.int64), run(name), range(3))
    expected = [net.radius(image, name) for image in images]
    assert distance(Threat(MINIMUM_NORM[name], 1), images, made.last).tolist() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", MINIMUM_NORM)
def test_radii_are_those_of_foolbox(net: nn.Sequential, images: Tensor, labels: Tensor, name: str) -> None:
    attacks = pytest.importorskip("foolbox.attacks")
    from foolbox import PyTorchModel

    kind = {"ddn": attacks.DDNAttack, "fmn": attacks.LInfFMNAttack}[name]
    theirs = kind(steps=100).run(PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels)
    made, threat = craft(net, images, labels, run(name), range(8)), Threat(MINIMUM_NORM[name], 1)
    assert made.fallen.all()
    assert (net(made.last).argmax(1) != labels).all()
    ours, bound = (distance(threat, images, each) for each in (made.last, theirs))
    assert ours.tolist() == pytest.approx(bound.tolist(), rel=0.06)  # a step of DDN


@pytest.mark.parametrize("name", MINIMUM_NORM)
def test_an_image_does_not_depend_on_its_batch(one_by_one: OneByOne, images: Tensor, labels: Tensor, name: str) -> None:
    pytest.importorskip("foolbox")
    alone = [craft(one_by_one, images[[row]], labels[[row]], run(name), [row]).last for row in range(8)]
    torch.testing.assert_close(craft(one_by_one, images, labels, run(name), range(8)).last, torch.cat(alone))


@pytest.mark.parametrize("name", MINIMUM_NORM)
def test_they_keep_the_contract_of_attacks(name: str) -> None:
    """They warn that they know one norm."""
    pytest.importorskip("foolbox")
    assert {found.check for found in check_part(name) if found.verdict != "pass"} == {"norms"}


@pytest.mark.parametrize(("name", "norm", "restarts"), [("ddn", "linf", 1), ("fmn", "l2", 1), ("ddn", "l2", 2)])
def test_the_other_norm_and_restarts_are_refused(name: str, norm: str, restarts: int) -> None:
    with pytest.raises(UsageError, match=f"{name} has one norm and one start, expected {MINIMUM_NORM[name]} and 1 re"):
        attack_setting(Threat(norm, 0.1), None, restarts, name=name)


@pytest.mark.parametrize("name", MINIMUM_NORM)
def test_without_foolbox_the_extra_is_named(
    net: nn.Sequential, images: Tensor, labels: Tensor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(UsageError, match=r'does not load: .* `pip install "sdnet-bench\[minimum-norm\]"`'):
        craft(net, images, labels, run(name), range(8))


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.5, 8])
def test_steps_follow_from_the_smallest_radius_of_a_curve(eps: float) -> None:
    """With half of them DDN is down at a quarter of eps."""
    steps = attack_setting(Threat("l2", eps), name="ddn").steps
    assert 0.95 ** (steps / 2) <= eps / 4
    assert (steps == 100) == (eps >= 0.5)
