"""The suite: what is compared with what, and that both ways come to the same outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.progress import Progress
from sdnet_bench.records import Threat
from sdnet_bench.studies import speed
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.speed import Figure
from sdnet_bench.studies.suite import Suite, SuiteSize, plainly_attacked, run_suite, surviving
from sdnet_bench.studies.workbench import Workbench

TINY = SuiteSize(trained=8, tested=10, raced=20, attacked=4, epochs=1, width=1)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOMENT", 1e-9)


@pytest.mark.slow
def test_each_way_is_timed_beside_a_plain_one(runtime: Runtime) -> None:
    found = run_suite(runtime, Progress(), scale=1 / 32, batch_size=4, rounds=2, size=TINY)
    assert [(each.what, each.beside) for each in found] == [
        ("training, sdnet18", "training, resnet18"),
        ("inference, sdnet18", "inference, resnet18"),
        ("training loop", "DataLoader, float32, NCHW"),
        ("sweep of 15 lambdas", "an evaluation of each"),
        ("race", "grid"),
        ("attack", "torchattacks"),
        ("noise alone", "forward alone"),
        ("noise and forward", "forward alone"),
    ]
    for each in found:
        assert len(each.figure.rounds) == 2
        assert min(each.figure.rounds + each.plain.rounds) > 0
        assert each.figure == Figure.of(each.figure.rounds, each.plain.rounds)


def test_images_per_second_are_those_of_a_step(runtime: Runtime) -> None:
    steps: list[str] = []
    ways = {"one": lambda: steps.append("one"), "other": lambda: steps.append("other")}
    (found,) = Suite(runtime, Progress(), rounds=3).compare("both", 10**6, ways)
    assert (found.what, found.beside) == ("one", "other")
    assert min(found.figure.rounds) > 10**6, "a step takes less than a second"
    assert steps.count("one") == steps.count("other") == 2 + 3


def test_a_plain_attack_finds_what_the_survival_loop_finds(resnet: Workbench) -> None:
    split, setting = resnet.split("test", 40), attack_setting(Threat("linf", 8 / 255), restarts=2)
    plainly = np.array(plainly_attacked(resnet.model.net.eval(), split, setting, resnet.runtime))
    robust = np.array(surviving(resnet, split, setting))
    assert not (robust & ~plainly).any(), "an image that the last iterate fools is lost to the loop too"
    assert 0 < plainly.sum() < 30
