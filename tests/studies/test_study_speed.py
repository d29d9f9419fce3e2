"""The bench: how networks are written, who runs when, what is compared with what, and what memory is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from sdnet_bench.backbones import BACKBONES
from sdnet_bench.csc import csc_layers
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import TrainingError, UsageError
from sdnet_bench.progress import Progress, Task
from sdnet_bench.studies import speed as module
from sdnet_bench.studies.speed import MEASURE, Figure, Loaded, Network, Spread, peak_resident, run_bench, take_turns


@pytest.fixture
def plugins(register_part: Any) -> None:
    """A backbone that warms up, and has no width of its own."""

    def square(num_classes: int, *, warmup: int = 100, text: str = "", **options: Any) -> nn.Module:
        return nn.Linear(num_classes, num_classes, bias=False)

    register_part(BACKBONES, "square", square)


@pytest.mark.parametrize(
    ("title", "scale", "width"),
    [
        ("resnet18", 1.0, 64),
        ("resnet18", 0.25, 16),
        ("sdnet34", 0.25, 16),
        ("resnet18", 0.07, 4),
        ("resnet18", 0.001, 1),
        ("resnet18,width=5", 0.25, 5),
    ],
)
def test_networks_are_scaled_unless_they_say_their_width(title: str, scale: float, width: int) -> None:
    network = Network.parse(title, scale)
    assert (network.title, network.options["width"]) == (title, width)
    assert network.build().classifier.in_features == 8 * width  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("title", "options"),
    [
        ("square", {"warmup": 0}),
        ("square,warmup=7", {"warmup": 7}),
        ("square,a=true,b=0.5,c=1e-3", {"warmup": 0, "a": True, "b": 0.5, "c": 1e-3}),
        ('square,text="a, b"', {"warmup": 0, "text": "a, b"}),
        ("square,text=word,b=other", {"warmup": 0, "text": "word", "b": "other"}),
        ("square,a=[1, 2],b=false", {"warmup": 0, "a": [1, 2], "b": False}),
    ],
)
@pytest.mark.usefixtures("plugins")
def test_options_are_toml_and_a_bare_word_is_text(title: str, options: dict[str, Any]) -> None:
    assert Network.parse(title, 0.25) == Network(title, "square", options, parameters=100)


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("resnet19", r"^unknown backbone 'resnet19'\. Did you mean 'resnet18', 'resnet34' or 'sdnet18'\?"),
        ("resnet18,width", r"^not a network, expected name or name,option=value,\.\.\., got resnet18,width$"),
        ("resnet18,width=", r"^not a network"),
        ("resnet18,width=1=2", r"^not a network"),
        ("resnet18,width=2,width=3", r"^not a network"),
        ("resnet18,widht=2", r"^backbone 'resnet18': .*'widht'"),
        ("resnet18,width=0", r"expected width >= 1, got 0"),
        ("resnet18,width=wide", r"^backbone 'resnet18': "),
    ],
)
def test_what_is_no_network_is_one_line(title: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Network.parse(title, 0.25)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_is_positive(runtime: Runtime, scale: float) -> None:
    with pytest.raises(UsageError, match=r"scale out of range, expected a finite number > 0"):
        run_bench([], runtime, Progress(), scale=scale, batch_size=2, rounds=1)


class Machine(Progress):
    """A clock of its own, on which tracks take their time, and which is slower in some rounds."""

    def __init__(self, *slowness: float) -> None:
        self.now, self.slowness, self.ran = 0.0, 1.0, list[str]()
        self._coming = [1.0, *slowness]

    def clock(self) -> float:
        return self.now

    def track(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += self.slowness * seconds
            self.ran.append(name)

        return run

    def race(self, rounds: int, **seconds: float) -> dict[str, list[float]]:
        tracks = {name: self.track(name, cost) for name, cost in seconds.items()}
        return take_turns(tracks, rounds, self.clock, self, "test")

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """The warm-up, and every round, is a task."""
        self.slowness = self._coming.pop(0)
        yield Task()


def test_the_order_rotates_after_two_runs_to_warm_up() -> None:
    machine = Machine(1, 1, 1, 1)
    machine.race(4, a=1, b=1, c=1)
    assert "".join(machine.ran) == "aabbcc" + "abc" + "bca" + "cab" + "abc"


def test_each_network_fills_its_moment() -> None:
    machine = Machine(1, 1)
    seconds = machine.race(2, quick=module.MOMENT / 2.5, slow=2 * module.MOMENT)
    assert machine.ran.count("quick") == 2 + 2 * 3
    assert machine.ran.count("slow") == 2 + 2 * 1
    assert seconds["quick"] == pytest.approx([module.MOMENT / 2.5] * 2)
    assert seconds["slow"] == pytest.approx([2 * module.MOMENT] * 2)


def test_a_machine_that_slows_down_between_rounds_changes_no_ratio() -> None:
    seconds = Machine(1, 4, 2).race(3, one=1, other=2)
    assert seconds == {"one": [1, 4, 2], "other": [2, 8, 4]}
    speeds = {name: [1 / lap for lap in laps] for name, laps in seconds.items()}
    figure = Figure.of(speeds["other"], speeds["one"])
    assert figure.ratio == Spread(0.5, 0.5, 0.5)
    assert figure.median == 0.25


def test_a_ratio_is_that_of_a_round_and_not_of_medians() -> None:
    figure = Figure.of([10, 60, 80], [20, 30, 100])
    assert figure.ratio == Spread(median=0.8, low=0.5, high=2)
    assert figure.median == 60


def test_a_lane_trains_as_training_does(runtime: Runtime) -> None:
    lane = Loaded.of(Network.parse("sdnet18,width=2", 1), 4, runtime)
    net, optimizer = lane.training.net.train(), lane.training.optimizer
    before = [parameter.detach().clone() for parameter in net.parameters()]
    lane.train()
    (layer,) = csc_layers(net)
    torch.testing.assert_close(layer.dictionary.flatten(1).norm(dim=1), torch.ones(2))
    moved = [float((new.detach() - old).abs().max()) for new, old in zip(net.parameters(), before, strict=True)]
    assert 0 < max(moved) < 1e-3
    assert len(optimizer.state) == len(before)


def test_a_lane_in_eval_mode_leaves_its_network_as_it_is(runtime: Runtime) -> None:
    lane = Loaded.of(Network.parse("resnet18,width=2", 1), 4, runtime)
    before = {name: tensor.clone() for name, tensor in lane.training.net.eval().state_dict().items()}
    lane.classify()
    after = lane.training.net.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert all(parameter.grad is None for parameter in lane.training.net.parameters())


def test_a_process_that_ends_early_is_one_line(runtime: Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingError, match=r"^the process that trained nobody ended early\. Give a smaller --batch"):
        peak_resident(Network("nobody", "nobody", {}, 0), 2, runtime)
    assert "unknown backbone 'nobody'" in capfd.readouterr().err


def test_resnet18_is_the_measure_and_nobody_runs_twice(
    runtime: Runtime, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOMENT", 0.001)
    monkeypatch.setattr(module, "peak_resident", lambda network, batch_size, _: batch_size * network.parameters)
    titles = ["sdnet18,steps=3", MEASURE, "sdnet18,steps=3"]
    first, second = run_bench(titles, runtime, told, scale=1 / 32, batch_size=2, rounds=3)
    assert (first.network.title, second.network.title) == (MEASURE, "sdnet18,steps=3")
    assert {first.training.ratio, first.inference.ratio, first.memory.ratio} == {Spread(1, 1, 1)}
    for kind in ("training", "inference"):
        own, measure = getattr(second, kind), getattr(first, kind)
        assert len(own.rounds) == 3
        assert min(own.rounds) > 0
        assert own == Figure.of(own.rounds, measure.rounds)
    assert first.memory.rounds == (2 * first.network.parameters,)
    assert told.notes[0].startswith("plan: 2 networks, batches of 2 images of 32x32, float32 on cpu; memory, then 3")
    assert "peak resident set" in told.notes[1]


def test_lanes_train_in_training_mode_and_classify_in_eval_mode(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[tuple[str, bool]] = []
    monkeypatch.setattr(module, "MOMENT", 1e-9)
    monkeypatch.setattr(module, "peak_resident", lambda *_: 1)
    monkeypatch.setattr(Loaded, "train", lambda lane: modes.append(("train", lane.training.net.training)))
    monkeypatch.setattr(Loaded, "classify", lambda lane: modes.append(("classify", lane.training.net.training)))
    run_bench([MEASURE], runtime, Progress(), scale=1 / 32, batch_size=2, rounds=1)
    assert modes == [("train", True)] * 3 + [("classify", False)] * 3
