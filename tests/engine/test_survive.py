"""Robust accuracy: what is wrong already is lost, nothing outside the budget counts, more attack is never less."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.attacks import ATTACKS, Threat
from sdnet_bench.csc import get_lambda
from sdnet_bench.data import Split
from sdnet_bench.engine.evaluate import Outcome, evaluate
from sdnet_bench.engine.survive import AttackRun, survive
from sdnet_bench.errors import AttackError
from sdnet_bench.records import AttackSetting
from sdnet_bench.studies.adversarial import attack_setting
from sdnet_bench.studies.workbench import Workbench

NORMS = ["linf", "l2"]
MODERATE = {"linf": 0.06, "l2": 1.0}
"""Budgets that turn some of the images of the small networks, and not all."""


@pytest.fixture
def split(sdnet: Workbench) -> Split:
    return sdnet.split("test", 100)


def attacked(
    bench: Workbench, split: Split, setting: AttackSetting, lambdas: Sequence[float | None] = (None,), **rest: Any
) -> dict[float | None, Outcome]:
    return survive(AttackRun(bench.model.net, setting, bench.runtime, **rest), split, lambdas=lambdas)


def robust(bench: Workbench, split: Split, setting: AttackSetting, lambda_: float | None = None) -> float:
    return float(attacked(bench, split, setting, [lambda_])[lambda_].correct.mean())


def clean(bench: Workbench, split: Split, lambda_: float | None = None) -> Any:
    return evaluate(bench.model.net, split, bench.runtime, lambdas=[lambda_])[lambda_].correct


@pytest.mark.parametrize("norm", NORMS)
def test_images_that_are_misclassified_are_lost(resnet: Workbench, split: Split, norm: str) -> None:
    standing = attacked(resnet, split, attack_setting(Threat(norm, MODERATE[norm])))[None].correct
    right = clean(resnet, split)
    assert not (standing & ~right).any()
    assert standing.sum() < right.sum() < len(right)


@pytest.mark.parametrize("norm", NORMS)
def test_a_budget_of_nothing_leaves_clean_accuracy(sdnet: Workbench, split: Split, norm: str) -> None:
    standing = attacked(sdnet, split, attack_setting(Threat(norm, 1e-6)))[None].correct
    assert np.array_equal(standing, clean(sdnet, split))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.5), ("l2", 20.0)])
def test_a_budget_for_anything_leaves_nothing(resnet: Workbench, split: Split, norm: str, eps: float) -> None:
    assert robust(resnet, split, attack_setting(Threat(norm, eps))) <= 0.02


@pytest.mark.parametrize("norm", NORMS)
def test_a_larger_budget_is_never_better(sdnet: Workbench, split: Split, norm: str) -> None:
    found = [
        robust(sdnet, split, attack_setting(Threat(norm, scale * MODERATE[norm]))) for scale in (0.1, 0.5, 1, 2, 4)
    ]
    assert all(larger <= smaller + 0.01 for smaller, larger in pairwise(found))
    assert found[-1] < found[0]


@pytest.mark.parametrize("norm", NORMS)
def test_more_restarts_are_never_better(sdnet: Workbench, split: Split, norm: str) -> None:
    threat = Threat(norm, MODERATE[norm])
    once = attacked(sdnet, split, attack_setting(threat, steps=2))[None].correct
    often = attacked(sdnet, split, attack_setting(threat, steps=2, restarts=4))[None].correct
    assert not (often & ~once).any()


@pytest.mark.parametrize("norm", NORMS)
def test_knowing_lambda_is_worse_than_not_knowing_it(sdnet: Workbench, split: Split, norm: str) -> None:
    setting = attack_setting(Threat(norm, MODERATE[norm]))
    for lambda_ in (0.5, 1.0):
        transfer = attacked(sdnet, split, setting.model_copy(update={"crafted_at": 0.1}), [lambda_])[lambda_]
        matched = attacked(sdnet, split, setting.model_copy(update={"crafted_at": lambda_}), [lambda_])[lambda_]
        assert matched.correct.mean() <= transfer.correct.mean() + 0.02


@pytest.mark.parametrize("norm", NORMS)
def test_an_outcome_does_not_depend_on_the_lambdas_scored_beside_it(sdnet: Workbench, split: Split, norm: str) -> None:
    """A record names its own lambda only, so it must not matter what else was measured in the same pass."""
    setting = attack_setting(Threat(norm, MODERATE[norm]), steps=2, restarts=2).model_copy(update={"crafted_at": 0.1})
    together = attacked(sdnet, split, setting, [0.0, 0.1, 0.5, 1.5])
    for lambda_ in (0.1, 0.5):
        alone = attacked(sdnet, split, setting, [lambda_])
        assert np.array_equal(alone[lambda_].correct, together[lambda_].correct)


def test_an_attack_is_a_function_of_its_seed(sdnet: Workbench, split: Split) -> None:
    setting = attack_setting(Threat("linf", MODERATE["linf"]), steps=1)
    first = attacked(sdnet, split, setting, seed=3)[None].correct
    torch.manual_seed(77)
    assert np.array_equal(first, attacked(sdnet, split, setting, seed=3)[None].correct)


class Spy:
    """An attack that looks at what it is given and answers with images of its own."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.images: list[int] = []
        self.lambdas: list[float] = []
        self.seeds: list[int] = []

    def __call__(self, net: nn.Module, images: Tensor, labels: Tensor, setting: AttackSetting, seed: int) -> Tensor:
        self.images.append(len(images))
        self.lambdas.append(get_lambda(net))
        self.seeds.append(seed)
        return self.answer(images)  # type: ignore[no-any-return]


def hire(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Spy:
    spy = Spy(answer)
    monkeypatch.setitem(ATTACKS._parts, "spy", spy)
    return spy


SPY = AttackSetting(name="spy", norm="linf", eps=0.1, step_size=0.1, steps=1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda images: 1 - images,
        lambda images: torch.rand_like(images),
        lambda images: images - 0.05 - images.amax(),
        lambda images: torch.full_like(images, float("nan")),
    ],
    ids=["negative", "noise", "below black", "not a number"],
)
def test_an_attack_that_leaves_its_budget_is_an_error(
    sdnet: Workbench, split: Split, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    hire(monkeypatch, answer)
    with pytest.raises(AttackError, match=r"attack 'spy' left its budget on \d+ of 100 images, expected linf <= 0\.1"):
        attacked(sdnet, split, SPY)


def test_the_same_images_within_the_budget_count(
    sdnet: Workbench, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    hire(monkeypatch, lambda images: 1 - images)
    wide = SPY.model_copy(update={"eps": 1.0})
    assert attacked(sdnet, split, wide)[None].correct.mean() < clean(sdnet, split).mean() - 0.2


def test_the_attack_looks_at_the_lambda_it_is_made_at(
    sdnet: Workbench, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = hire(monkeypatch, lambda images: images)
    attacked(sdnet, split, SPY.model_copy(update={"crafted_at": 0.3}), [0.1, 0.9])
    assert set(spy.lambdas) == {0.3}
    assert get_lambda(sdnet.model.net) == 0.1


def test_every_restart_has_its_own_seed(sdnet: Workbench, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = hire(monkeypatch, lambda images: images)
    attacked(sdnet, split, SPY.model_copy(update={"restarts": 3}))
    assert len(set(spy.seeds)) == len(spy.seeds) == 3


def test_one_turned_restart_is_enough(sdnet: Workbench, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([1, 0, 0])
    hire(monkeypatch, lambda images: 1 - images if next(answers) else images)
    wide = SPY.model_copy(update={"eps": 1.0, "restarts": 3})
    found = attacked(sdnet, split, wide)[None].correct
    answers = iter([1])
    assert np.array_equal(found, attacked(sdnet, split, wide.model_copy(update={"restarts": 1}))[None].correct)


def test_progress_counts_every_image_once(sdnet: Workbench, split: Split, told: Any) -> None:
    run = AttackRun(sdnet.model.net, attack_setting(Threat("linf", 0.01), steps=1, restarts=2), sdnet.runtime)
    with told.task("", 0) as task:
        survive(run, split, lambdas=[0.1, 0.5], task=task)
    assert told.images == 100
