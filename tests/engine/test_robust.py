"""Robust accuracy: what is wrong already is lost, more attack is never less, and haste changes no image's fate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import OneByOne
from torch import Tensor, nn
from walking import walking

from sdnet_bench.attacks import ATTACKS, Adversarials, AttackRun, craft, surrogate
from sdnet_bench.csc import CSCConv2d, get_lambda
from sdnet_bench.data import Batch, Split
from sdnet_bench.data.splits import Augmentation, TensorSplit
from sdnet_bench.engine import robust as loop
from sdnet_bench.engine.evaluate import evaluate, is_correct
from sdnet_bench.engine.robust import SUITES, RobustEval, Scorer, attack_runs, robust_evaluate, smallest_radii
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.records import CLEAN, MINIMUM_NORM, AttackSetting, Outcomes, Threat
from sdnet_bench.records.journal import Entry, Journal
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.workbench import Workbench

NORMS = ["linf", "l2"]
MODERATE = {"linf": 0.06, "l2": 1.0}
"""Budgets that turn some of the images of the trained networks, and not all."""
TINY = {"linf": 0.03, "l2": 0.3}
"""The same for the tiny one."""

Losses = Mapping[float | None, Mapping[str, Outcomes]]


def scorer(net: nn.Module, lambda_: float | None, runtime: Runtime) -> Scorer:
    return lambda pixels, batch: is_correct(net, pixels, batch.labels, lambda_, runtime)


def evaluation(
    net: nn.Module, runtime: Runtime, setting: AttackSetting, lambdas: Sequence[float | None] = (None,), **rest: Any
) -> RobustEval[float | None]:
    at = setting.crafted_at
    own = at if not isinstance(at, tuple) and at in lambdas else None
    scorers = {lambda_: scorer(net, lambda_, runtime) for lambda_ in lambdas}
    return RobustEval(net, setting, scorers, own, runtime, rest.pop("num_classes", 10), **rest)


def standing(lost: Mapping[str, Outcomes]) -> Outcomes:
    return ~np.logical_or.reduce(list(lost.values()))


def same(one: Losses, other: Losses) -> bool:
    """Whether every image fell to the same under every lambda."""
    return one.keys() == other.keys() and all(
        np.array_equal(one[lambda_][name], other[lambda_][name]) for lambda_ in one for name in one[lambda_]
    )


# on trained networks


@pytest.fixture
def split(sdnet: Workbench) -> Split:
    return sdnet.split("test", 20)


def robust(bench: Workbench, split: Split, setting: AttackSetting, lambda_: float | None = None) -> Outcomes:
    """`(n,)`: which images stand."""
    return standing(robust_evaluate(evaluation(bench.model.net, bench.runtime, setting, [lambda_]), split)[lambda_])


def clean(bench: Workbench, split: Split, lambda_: float | None = None) -> Outcomes:
    return evaluate(bench.model.net, split, bench.runtime, lambdas=[lambda_])[lambda_].correct


@pytest.mark.parametrize("name", sorted({*ATTACKS} - {*MINIMUM_NORM}))
def test_a_budget_of_nothing_leaves_clean_accuracy(resnet: Workbench, split: Split, name: str) -> None:
    for norm in NORMS:
        found = robust_evaluate(
            evaluation(resnet.model.net, resnet.runtime, attack_setting(Threat(norm, 1e-6), 3, 1, name=name)), split
        )[None]
        assert np.array_equal(standing(found), clean(resnet, split))
        assert np.array_equal(found[CLEAN], ~clean(resnet, split))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.5), ("l2", 20.0)])
@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "apgd-dlr", "fab-t"])
def test_a_budget_for_anything_leaves_nothing(
    resnet: Workbench, split: Split, name: str, norm: str, eps: float
) -> None:
    assert robust(resnet, split, attack_setting(Threat(norm, eps), 10, 3, name=name)).mean() <= 0.02


@pytest.mark.parametrize("norm", NORMS)
def test_a_larger_budget_is_never_better(sdnet: Workbench, split: Split, norm: str) -> None:
    found = [
        robust(sdnet, split, attack_setting(Threat(norm, scale * MODERATE[norm]), 5)).mean() for scale in (0.1, 1, 4)
    ]
    assert all(larger <= smaller for smaller, larger in pairwise(found))
    assert found[-1] < found[0]


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.3), ("l2", 16.0)])
def test_more_restarts_are_never_better_for_any_image(resnet: Workbench, split: Split, norm: str, eps: float) -> None:
    """Random noise, as all depends on chance there."""
    found = [robust(resnet, split, attack_setting(Threat(norm, eps), 1, count, name="noise")) for count in (1, 2, 8)]
    assert not any((often & ~once).any() for once, often in pairwise(found))
    assert found[2].sum() < found[0].sum()


@pytest.mark.parametrize("norm", NORMS)
def test_knowing_lambda_is_worse_than_not_knowing_it(sdnet: Workbench, split: Split, norm: str) -> None:
    setting = attack_setting(Threat(norm, MODERATE[norm]), 5)
    for lambda_ in (0.5, 1.0):
        transfer, matched = (
            robust(sdnet, split, setting.model_copy(update={"crafted_at": at}), lambda_) for at in (0.1, lambda_)
        )
        assert matched.mean() <= transfer.mean()


@pytest.mark.parametrize("norm", NORMS)
def test_an_outcome_does_not_depend_on_the_lambdas_scored_beside_it(sdnet: Workbench, split: Split, norm: str) -> None:
    """A record names its own lambda only, so it must not matter what else was measured in the same pass."""
    setting = attack_setting(Threat(norm, MODERATE[norm]), 2, 2).model_copy(update={"crafted_at": 0.1})
    together = robust_evaluate(evaluation(sdnet.model.net, sdnet.runtime, setting, [0.0, 0.1, 0.5, 1.5]), split)
    for lambda_ in (0.1, 0.5):
        alone = robust_evaluate(evaluation(sdnet.model.net, sdnet.runtime, setting, [lambda_]), split)
        assert same(alone, {lambda_: together[lambda_]})


@pytest.mark.parametrize("norm", NORMS)
def test_the_loop_equals_the_plain_loop_on_a_trained_network(
    sdnet: Workbench, split: Split, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", 8)
    setting = attack_setting(Threat(norm, MODERATE[norm]), 3, 3).model_copy(update={"crafted_at": 0.1})
    plan = evaluation(sdnet.model.net, sdnet.runtime, setting, [0.1])
    assert same(robust_evaluate(plan, split), plain(plan, split))


def test_progress_counts_every_image_once(sdnet: Workbench, split: Split, told: Any) -> None:
    setting = attack_setting(Threat("linf", MODERATE["linf"]), 1, 2)
    with told.task("", 0) as task:
        robust_evaluate(evaluation(sdnet.model.net, sdnet.runtime, setting, [0.1, 0.5]), split, task=task)
    assert told.images == 20


# on a tiny network that rounds in no batch otherwise than in another


@pytest.fixture
def tiny() -> OneByOne:
    torch.manual_seed(0)
    layers = CSCConv2d(3, 6, stride=2), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(96, 5)
    return OneByOne(nn.Sequential(*layers)).eval()


@pytest.fixture
def few(tiny: OneByOne) -> TensorSplit:
    """Fifteen images of five classes, every fifth of them classified wrongly, from places 100 and up."""
    images = torch.randint(256, (15, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = tiny(images.float() / 255).argmax(1)
    labels[::5] = (labels[::5] + 1) % 5
    return TensorSplit(images, labels, torch.arange(100, 115), Augmentation())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", 4)


def plain(plan: RobustEval[Any], split: Split) -> Losses:
    """Every stage on all images at once, whoever has fallen; the first that breaks an image has it."""
    (batch,) = split.batches(len(split), plan.runtime.device)
    pixels, net = plan.runtime.to_pixels(batch.images), plan.net
    lost: dict[Any, dict[str, Outcomes]] = {}
    with torch.no_grad():
        for key, decide in plan.scorers.items():
            lost[key] = {CLEAN: ~decide(pixels, batch).numpy()}
    for stage in attack_runs(plan.setting, plan.num_classes):
        with surrogate(net, stage.setting) as seen:
            crafted = craft(seen, pixels, batch.labels, stage, batch.index.tolist(), seed=plan.seed)
        for key, decide in plan.scorers.items():
            with torch.no_grad():
                broken = ~decide(crafted.first if key == plan.own else crafted.last, batch).numpy()
            new = broken & standing(lost[key])
            lost[key][stage.setting.name] = lost[key].get(stage.setting.name, np.zeros(len(split), bool)) | new
    return lost


SETTINGS = {
    "pgd": ("pgd", 3, 4),
    "apgd": ("apgd-ce", 4, 3),
    "square": ("square", 10, 2),
    "fab": ("fab", 3, 2),
    "suite": ("autoattack", 1, 1),
}


@pytest.mark.parametrize(
    ("name", "lambdas", "norm"),
    [
        *((name, at, norm) for name in SETTINGS for at, norm in (((0.1,), "l2"), ((0.1, 0.3), "linf"))),
        ("pgd", (0.3,), "linf"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("small_batches")
def test_the_loop_equals_the_plain_loop_image_for_image(
    tiny: OneByOne, few: TensorSplit, runtime: Runtime, name: str, norm: str, lambdas: tuple[float, ...]
) -> None:
    """Matched, matched beside transfer, and transfer: to the bit, and down to which attack broke which image."""
    attack, steps, restarts = SETTINGS[name]
    setting = attack_setting(Threat(norm, TINY[norm] / 4), steps, restarts, name=attack)
    plan = evaluation(tiny, runtime, setting.model_copy(update={"crafted_at": 0.1}), lambdas, num_classes=5, seed=3)
    found = robust_evaluate(plan, few)
    assert same(found, plain(plan, few))
    assert found[lambdas[0]][CLEAN].sum() >= 3 * (0.1 in lambdas)
    if 0.1 in lambdas:
        assert 0 < standing(found[0.1]).sum() < 12


def attacked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, list[int]]]:
    """Attack, restart and images of every batch that is attacked from now on."""
    batches: list[tuple[str, int, list[int]]] = []

    def counted(
        net: nn.Module, images: Tensor, labels: Tensor, stage: AttackRun, index: Any, **rest: Any
    ) -> Adversarials:
        batches.append((stage.setting.name, stage.restart, list(index)))
        return craft(net, images, labels, stage, index, **rest)

    monkeypatch.setattr(loop, "craft", counted)
    return batches


@pytest.fixture
def plan(tiny: OneByOne, runtime: Runtime) -> RobustEval[float | None]:
    setting = attack_setting(Threat("linf", TINY["linf"] / 4), 3, 4).model_copy(update={"crafted_at": 0.1})
    return evaluation(tiny, runtime, setting, [0.1], num_classes=5)


@pytest.mark.usefixtures("small_batches")
def test_stages_see_in_full_batches_those_that_are_left(
    plan: RobustEval[float | None], few: TensorSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = attacked(monkeypatch)
    lost = robust_evaluate(plan, few)[0.1]
    alive = ~lost[CLEAN]
    for restart in range(4):
        mine = [index for _, number, index in batches if number == restart]
        assert {image for batch in mine for image in batch} <= set(few.index[alive].tolist())
        assert all(len(batch) == 4 for batch in mine[:-1])
        assert len({image for batch in mine for image in batch}) == sum(map(len, mine))  # on a CPU nobody comes again
    counts = [len({i for _, number, index in batches if number == r for i in index}) for r in range(4)]
    assert counts[0] == alive.sum()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0]
    survivors = set(few.index[standing(lost)].tolist())
    assert survivors <= {i for _, number, index in batches if number == 3 for i in index}


def test_nobody_is_attacked_who_is_misclassified_for_all(
    plan: RobustEval[float | None], few: TensorSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = attacked(monkeypatch)
    wrong = TensorSplit(few.images, (few.labels + torch.tensor([0, 1, 1, 1, 1] * 3)) % 5, few.index, few.augmentation)
    assert robust_evaluate(plan, wrong)[0.1][CLEAN].all()
    assert batches == []


def test_the_attack_looks_at_the_lambda_it_is_made_at(
    tiny: OneByOne, few: TensorSplit, runtime: Runtime, register_part: Any
) -> None:
    seen: list[float] = []
    register_part(ATTACKS, "spy", lambda victim, images, *_: seen.append(get_lambda(victim.net)) or images)
    setting = AttackSetting(name="spy", norm="linf", eps=0.1, steps=1, crafted_at=0.3)
    robust_evaluate(evaluation(tiny, runtime, setting, [0.1, 0.9]), few)
    assert set(seen) == {0.3}
    assert get_lambda(tiny) == 0.1


def test_only_the_own_judge_is_told_of_images_on_the_way(
    tiny: OneByOne, few: TensorSplit, runtime: Runtime, register_part: Any
) -> None:
    """What another network, or another lambda, is scored on is what the attack ended with."""

    def wavering(victim: Any, images: Tensor, *_: Any) -> Tensor:
        victim(1 - images)
        return images

    register_part(ATTACKS, "wavering", wavering)
    setting = AttackSetting(name="wavering", norm="linf", eps=1.0, steps=1, crafted_at=0.1)
    lost = robust_evaluate(evaluation(tiny, runtime, setting, [0.1, 0.11]), few)
    assert lost[0.1]["wavering"].sum() > 2
    assert lost[0.11]["wavering"].sum() == 0


@pytest.mark.parametrize("seed", [0, 5])
def test_an_attack_is_a_function_of_its_seed(tiny: OneByOne, few: TensorSplit, runtime: Runtime, seed: int) -> None:
    setting = attack_setting(Threat("linf", 0.006), 1).model_copy(update={"crafted_at": 0.1})
    first = robust_evaluate(evaluation(tiny, runtime, setting, [0.1], seed=seed), few)
    torch.manual_seed(77)
    assert same(first, robust_evaluate(evaluation(tiny, runtime, setting, [0.1], seed=seed), few))


def test_the_seed_of_the_user_counts(tiny: OneByOne, few: TensorSplit, runtime: Runtime) -> None:
    for name in ("pgd", "apgd-ce", "square"):
        setting = attack_setting(Threat("linf", 0.006), 2, name=name).model_copy(update={"crafted_at": 0.1})
        kept: list[Tensor] = []

        def keep(batch: Batch, adversarial: Tensor, ended: Sequence[bool], kept: list[Tensor] = kept) -> None:
            kept.append(adversarial)

        for seed in (0, 1):
            robust_evaluate(evaluation(tiny, runtime, setting, [0.1], seed=seed, keep=keep), few)
        first, second = kept
        assert not torch.equal(first, second)


# suites


def test_autoattack_has_the_budgets_of_its_authors() -> None:
    plan = attack_runs(attack_setting(Threat("linf", 0.03), name="autoattack"), 10)
    count = {name: len([stage for stage in plan if stage.setting.name == name]) for name, _ in SUITES["autoattack"]}
    assert count == {"apgd-ce": 1, "apgd-t": 9, "fab-t": 9, "square": 1}
    steps = {stage.setting.name: stage.setting.steps for stage in plan}
    assert steps == {"apgd-ce": 100, "apgd-t": 100, "fab-t": 100, "square": 5000}
    assert [stage.restart for stage in plan] == [0, *range(9), *range(9), 0]


def test_there_are_no_more_targets_than_wrong_classes() -> None:
    plan = attack_runs(attack_setting(Threat("linf", 0.03), name="autoattack"), 4)
    assert len([stage for stage in plan if stage.setting.name == "apgd-t"]) == 3
    assert len(attack_runs(attack_setting(Threat("linf", 0.03), 5, 9, name="apgd-t"), 4)) == 3
    assert len(attack_runs(attack_setting(Threat("linf", 0.03), 5, 9, name="pgd"), 4)) == 9


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_few_classes_have_the_attacks_that_are_defined_there(runtime: Runtime, classes: int, norm: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.Flatten(), nn.Linear(54, classes)).eval()
    images = torch.randint(256, (15, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = net(images.float() / 255).argmax(1)
    split = TensorSplit(images, labels, torch.arange(15), Augmentation())
    setting = attack_setting(Threat(norm, 10 * MODERATE[norm]), 2, name="autoattack-few")
    assert [run.setting.name for run in attack_runs(setting, classes)] == (
        ["apgd-ce", *["fab-t"] * (classes - 1), "square"]
    )
    lost = robust_evaluate(evaluation(net, runtime, setting, num_classes=classes), split)[None]
    assert set(lost) == {CLEAN, "apgd-ce", "fab-t", "square"}
    assert not standing(lost).any()


# going on after a crash


class Killed(BaseException):
    """As Ctrl-C, or worse."""


class Mortal(Journal):
    """Dies when it is to write the entry after the first `left`."""

    def __init__(self, folder: Path, left: int) -> None:
        super().__init__(folder)
        self.left = left

    def append(self, entry: Entry) -> None:
        if not self.left:
            raise Killed
        self.left -= 1
        super().append(entry)


def tear(folder: Path) -> None:
    """The crash came in the middle of a line."""
    with (folder / "0.jsonl").open("ab") as file:
        file.write(b'{"stage": 1, "places": [1, 2')


@pytest.mark.parametrize(
    ("name", "lambdas", "is_torn"),
    [("pgd", (0.1,), False), ("pgd", (0.1, 0.3), True), ("suite", (0.1,), True)],
    ids=str,
)
@pytest.mark.usefixtures("small_batches")
def test_a_killed_attack_goes_on_to_the_same_outcomes(
    tiny: OneByOne,
    few: TensorSplit,
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    lambdas: tuple[float, ...],
    is_torn: bool,
) -> None:
    """It is killed again and again, every time after five more batches."""
    attack, steps, restarts = SETTINGS[name]
    setting = attack_setting(Threat("linf", TINY["linf"] / 4), steps, restarts, name=attack)
    plan = evaluation(tiny, runtime, setting.model_copy(update={"crafted_at": 0.1}), lambdas, num_classes=5)
    expected, batches, deaths = robust_evaluate(plan, few), attacked(monkeypatch), 0
    while True:
        done = {
            (entry.stage, place) for entry in Journal(tmp_path).read(len(lambdas), 15, 20) for place in entry.places
        }
        before = len(batches)
        try:
            found = robust_evaluate(plan, few, journal=Mortal(tmp_path, 5))
            break
        except Killed:
            deaths += 1
        numbers = {(one.setting.name, one.restart): at for at, one in enumerate(attack_runs(plan.setting, 5), start=1)}
        again = {(numbers[name, restart], i - 100) for name, restart, index in batches[before:] for i in index}
        assert not again & done
        if is_torn:
            tear(tmp_path)
    assert deaths > 1
    assert same(found, expected)


def test_what_is_in_the_journal_is_not_done_again(
    plan: RobustEval[float | None], few: TensorSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = robust_evaluate(plan, few, journal=Journal(tmp_path))
    batches = attacked(monkeypatch)
    assert same(robust_evaluate(plan, few, journal=Journal(tmp_path)), expected)
    assert batches == []


def test_progress_of_what_is_gone_on_with_ends_at_all(
    plan: RobustEval[float | None], few: TensorSplit, tmp_path: Path, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", 4)
    with pytest.raises(Killed):
        robust_evaluate(plan, few, journal=Mortal(tmp_path, 6))
    with told.task("", 0) as task:
        robust_evaluate(plan, few, journal=Journal(tmp_path), task=task)
    assert told.images == 15


# minimum-norm attacks


@pytest.fixture
def nearest(tiny: OneByOne, runtime: Runtime) -> RobustEval[float | None]:
    """Made at lambda 0.1 and scored there and at lambda 0.3."""
    setting = attack_setting(Threat("l2", 0.15), name="ddn").model_copy(update={"crafted_at": 0.1})
    return evaluation(tiny, runtime, setting, (0.1, 0.3), num_classes=5)


WALK = (0.4, 0.05, 0.1, 0.2)


@pytest.mark.usefixtures("small_batches")
def test_a_radius_is_the_smallest_that_fools(
    nearest: RobustEval[float | None], few: TensorSplit, register_part: Any
) -> None:
    """As if every radius had been tried alone; images that are wrong as they are have 0."""
    alone = []
    for radius in WALK:
        register_part(ATTACKS, "ddn", walking(radius))
        alone.append(smallest_radii(nearest, few)[0.1])
    register_part(ATTACKS, "ddn", walking(*WALK))
    radii = smallest_radii(nearest, few)
    assert np.array_equal(radii[0.1], np.min(alone, axis=0))
    assert len(np.unique(radii[0.1])) >= 4
    lost = robust_evaluate(nearest, few)
    for at in (0.1, 0.3):
        assert np.array_equal(radii[at] == 0, lost[at][CLEAN])
        assert np.array_equal(np.isinf(radii[at]), standing(lost[at]))
    transferred = np.isfinite(radii[0.3]) & (radii[0.3] > 0)
    assert np.array_equal(radii[0.3][transferred], radii[0.1][transferred])


@pytest.mark.usefixtures("small_batches")
def test_a_killed_minimum_norm_attack_goes_on_to_the_same_radii(
    nearest: RobustEval[float | None], few: TensorSplit, register_part: Any, tmp_path: Path
) -> None:
    register_part(ATTACKS, "ddn", walking(*WALK))
    expected = smallest_radii(nearest, few)
    with pytest.raises(Killed):
        smallest_radii(nearest, few, journal=Mortal(tmp_path, 6))
    found = smallest_radii(nearest, few, journal=Journal(tmp_path))
    assert all(np.array_equal(found[at], expected[at]) for at in (0.1, 0.3))


# what is kept


def test_every_image_is_kept_until_its_last_stage(tiny: OneByOne, few: TensorSplit, runtime: Runtime) -> None:
    kept: dict[int, Tensor] = {}

    def keep(batch: Batch, adversarial: Tensor, ended: Sequence[bool]) -> None:
        for index, image, over in zip(batch.index.tolist(), adversarial, ended, strict=True):
            if over:
                kept[index] = image

    setting = attack_setting(Threat("linf", TINY["linf"] / 4), 3, 3).model_copy(update={"crafted_at": 0.1})
    lost = robust_evaluate(evaluation(tiny, runtime, setting, [0.1], keep=keep), few)[0.1]
    assert set(kept) == set(few.index[~lost[CLEAN]].tolist())
    labels = dict(zip(few.index.tolist(), few.labels, strict=True))
    right = {index for index, image in kept.items() if is_correct(tiny, image[None], labels[index][None], 0.1, runtime)}
    assert right == set(few.index[standing(lost)].tolist())
