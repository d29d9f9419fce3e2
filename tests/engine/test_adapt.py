"""Streams under an adaptation: what each batch holds, and outcomes in the order of the split."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from found import there
from together import run_job
from torch import Tensor, nn
from toys import convolutional, same, state

from sdnet_bench.adaptations import setting_of
from sdnet_bench.csc import CSCConv2d, get_lambda
from sdnet_bench.data import Batch, Noise, limited, open_dataset
from sdnet_bench.data.splits import Augmentation, TensorSplit
from sdnet_bench.engine.adapt import evaluate_adapted
from sdnet_bench.engine.evaluate import EvalResult, evaluate
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import ModelError
from sdnet_bench.zoo.checkpoint import read_model

CPU = torch.device("cpu")
REAL = Path(os.environ.get("SDNET_BENCH_DATA", "/nowhere"))
MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def split() -> TensorSplit:
    """50 images of four classes, which are 100 to 149 of their data set."""
    images = torch.randint(256, (50, 3, 6, 6), dtype=torch.uint8)
    return TensorSplit(images, torch.randint(4, (50,)), torch.arange(100, 150), Augmentation())


@pytest.fixture
def sdnet() -> nn.Module:
    """A CSC-layer, batch norm and a classifier."""
    net = convolutional()
    net[0] = CSCConv2d(3, 5, padding=0)
    return net.eval()


def equal(first: EvalResult, second: EvalResult) -> bool:
    """Whether two results are equal, residuals and lambdas to the bit."""
    fields = ("correct", "residual", "lambda_")
    return all(np.array_equal(getattr(first, each), getattr(second, each)) for each in fields)  # type: ignore[arg-type]


def seen_by(order: str, split: TensorSplit, runtime: Runtime, seed: int = 0) -> list[list[int]]:
    """The places in the split of the images of each batch of 20 that the network is given."""
    seen: list[list[int]] = []

    def spy(batch: Batch) -> Tensor:
        seen.append((batch.index - 100).tolist())
        return batch.images

    setting = setting_of("bn", 20, order)  # type: ignore[arg-type]
    evaluate_adapted(convolutional(), split, runtime, setting, seed=seed, transform=spy)
    return seen


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_batches_hold_every_image_once_as_the_seed_says(split: TensorSplit, runtime: Runtime, order: str) -> None:
    batches = seen_by(order, split, runtime)
    assert [len(batch) for batch in batches] == [20, 20, 10]
    places = [place for batch in batches for place in batch]
    assert sorted(places) == list(range(50)) != places
    assert batches == seen_by(order, split, runtime)
    assert batches != seen_by(order, split, runtime, seed=1)
    labels = split.labels[places].tolist()
    assert (labels == sorted(labels)) == (order == "sorted")
    if order == "sorted":
        shuffled = [place for batch in seen_by("shuffled", split, runtime) for place in batch]
        assert places == sorted(shuffled, key=lambda place: int(split.labels[place]))


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_outcomes_are_those_of_the_batches_in_the_order_of_the_split(
    split: TensorSplit, runtime: Runtime, order: str
) -> None:
    net = convolutional()
    found = evaluate_adapted(net, split, runtime, setting_of("bn", 20, order))  # type: ignore[arg-type]
    net[1].train()
    expected = torch.zeros(50, dtype=torch.bool)
    for places in seen_by(order, split, runtime):
        expected[places] = net(split.images[places] / 255).argmax(1) == split.labels[places]
    assert found.correct.tolist() == expected.tolist()
    assert found.residual is None


@pytest.mark.parametrize("name", ["bn", "bn:prior=16", "bn-running", "tent:lr=0.05", "median", "median,tent"])
def test_a_stream_is_determined_by_its_seed_and_leaves_no_trace(
    split: TensorSplit, sdnet: nn.Module, runtime: Runtime, name: str
) -> None:
    before, drawn = state(sdnet), torch.get_rng_state()
    first, second = (evaluate_adapted(sdnet, split, runtime, setting_of(name, 20), seed=3) for _ in range(2))
    assert equal(first, second)
    assert same(state(sdnet), before)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_an_infinite_prior_is_plain_evaluation(split: TensorSplit, sdnet: nn.Module, runtime: Runtime) -> None:
    for choice in (None, 0.4):
        found = evaluate_adapted(sdnet, split, runtime, setting_of("bn:prior=inf", 20), choice=choice)
        plain = evaluate(sdnet, split, runtime, lambdas=[choice])[choice]
        assert found.correct.tolist() == plain.correct.tolist()
        assert (found.residual is None) == (plain.residual is None)
        if found.residual is not None:
            assert found.residual == pytest.approx(there(plain.residual), rel=1e-5)


@pytest.mark.parametrize("name", ["bn", "tent"])
def test_a_rule_sees_residuals_under_the_adaptation_once_for_each_batch(
    split: TensorSplit, sdnet: nn.Module, runtime: Runtime, name: str
) -> None:
    """The CSC-layer is behind a norm layer, so its residuals are other ones under the adaptation."""
    net = nn.Sequential(nn.BatchNorm2d(3), sdnet).eval()
    seen: dict[int, float] = {}
    sizes: list[int] = []

    def rule(residual: Tensor, batch: Batch) -> Tensor:
        sizes.append(len(residual))
        seen.update(zip(batch.index.tolist(), residual.tolist(), strict=True))
        return 0.01 * residual

    setting = setting_of(name, 50)
    ours = evaluate_adapted(net, split, runtime, setting, choice=rule)
    assert sizes == [50]
    own = there(evaluate_adapted(net, split, runtime, setting).residual)
    assert [seen[at] for at in range(100, 150)] == pytest.approx(own.tolist(), rel=1e-5)
    plain = there(evaluate(net, split, runtime)[None].residual)
    assert np.abs(own / plain - 1).min() > 0.05
    assert ours.lambda_ == pytest.approx(0.01 * own, rel=1e-5)
    assert get_lambda(net) == 0.1


@pytest.mark.parametrize("name", ["bn", "bn-running", "median"])
def test_logits_that_are_not_finite_are_counted(split: TensorSplit, runtime: Runtime, name: str) -> None:
    class Spoiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = convolutional()

        def forward(self, images: Tensor) -> Tensor:
            return self.net(images).where(torch.arange(len(images))[:, None] > 0, torch.nan)  # type: ignore[no-any-return]

    count = 1 if name == "median" else 3
    with pytest.raises(ModelError, match=rf"^logits of {count} of 50 images are not finite"):
        evaluate_adapted(Spoiled(), split, runtime, setting_of(name, 20))


TWO = """
import torch
from sdnet_bench.adaptations import setting_of
from sdnet_bench.engine.adapt import evaluate_adapted
from sdnet_bench.errors import UsageError

net, split = torch.load(folder / "all.pt", weights_only=False)
found = [evaluate_adapted(net, split, runtime, setting_of("bn", size)) for size in (20, 8, 50)]
try:
    evaluate_adapted(net, split, runtime, setting_of("tent", 20))
except UsageError as error:
    torch.save((found, str(error)), folder / f"{rank}.pt")
"""


def test_two_processes_give_the_outcomes_of_one(
    split: TensorSplit, sdnet: nn.Module, runtime: Runtime, tmp_path: Path
) -> None:
    """Of batches of 50 there is one, so the second process has none."""
    torch.save((sdnet, split), tmp_path / "all.pt")
    run_job(TWO, tmp_path)
    for rank in (0, 1):
        found, refused = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        for size, result in zip((20, 8, 50), found, strict=True):
            assert equal(result, evaluate_adapted(sdnet, split, runtime, setting_of("bn", size)))
        assert refused.endswith("follows one stream of batches, expected one process, got 2")


def published(net: Any, batches: list[Tensor], learns: bool) -> list[Tensor]:
    """Nado et al.'s batch norm, and TENT as its paper describes it, on batches of pixels."""
    net = copy.deepcopy(net).train().requires_grad_(False)
    norms = [each for each in net.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
        norm.requires_grad_(learns)
    weights = [weight for norm in norms for weight in (norm.weight, norm.bias)]
    optimiser = torch.optim.Adam(weights, 1e-3, betas=(0.9, 0.999))
    found = []
    for batch in batches:
        logits = net(batch)
        found.append(logits.detach().argmax(1))
        if learns:
            optimiser.zero_grad()
            torch.distributions.Categorical(logits=logits).entropy().mean().backward()
            optimiser.step()
    return found


@pytest.mark.cifar10
@pytest.mark.skipif(not (REAL / "cifar-10-batches-py").is_dir(), reason="SDNET_BENCH_DATA names no CIFAR-10")
@pytest.mark.parametrize("name", ["bn", "tent"])
@pytest.mark.parametrize(
    ("model", "count"),
    [("resnet18-cifar10-small", 400), pytest.param("resnet18-cifar10", 1000, marks=pytest.mark.soak)],
)
def test_real_images_are_classified_as_the_papers_say(runtime: Runtime, name: str, model: str, count: int) -> None:
    net = runtime.place(read_model(MODELS / model).net)
    split, noise = limited(open_dataset("cifar10", REAL).open("test"), count), Noise("gaussian", 0.1, seed=0)
    places: list[Tensor] = []

    def spy(batch: Batch) -> Tensor:
        places.append(batch.index)
        return noise(batch)

    ours = evaluate_adapted(net, split, runtime, setting_of(name, 200), transform=spy)
    (whole,) = split.batches(count, CPU)
    at = [torch.searchsorted(whole.index, index) for index in places]
    assert [len(each) for each in at] == [200] * (count // 200)
    pixels = runtime.to_pixels(noise(whole))
    expected = torch.zeros(count, dtype=torch.bool)
    for each, guess in zip(at, published(net, [pixels[each] for each in at], name == "tent"), strict=True):
        expected[each] = guess == whole.labels[each]
    assert (ours.correct == expected.numpy()).mean() >= 0.99
    assert ours.correct.mean() > evaluate(net, split, runtime, transform=noise)[None].correct.mean() + 0.05
