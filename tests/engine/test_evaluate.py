"""Evaluation: one pass for many lambdas says what many passes would, image by image."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from found import there
from torch import Tensor, nn

from sdnet_bench.csc import csc_layers, get_lambda, residuals, set_lambda
from sdnet_bench.data import Batch, Noise, Split
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.engine.evaluate import AHEAD, EvalResult, LambdaRule, ahead, evaluate, is_correct
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.studies.workbench import Workbench

CPU = torch.device("cpu")
LAMBDAS = [0.1, 0.4, 0.0, 1.5]


@pytest.fixture
def split(sdnet: Workbench) -> Split:
    return sdnet.split("test", 60)


@torch.no_grad()
def predictions(bench: Workbench, split: Split, lambda_: float | None = None) -> list[int]:
    """Classes by a plain forward over all images."""
    if lambda_ is not None:
        set_lambda(bench.model.net, lambda_)
    (batch,) = split.batches(1000, CPU)
    return bench.model.net(batch.images.float() / 255).argmax(1).tolist()  # type: ignore[no-any-return]


def labels(split: Split) -> list[int]:
    (batch,) = split.batches(1000, CPU)
    return batch.labels.tolist()  # type: ignore[no-any-return]


def same(first: EvalResult, second: EvalResult) -> bool:
    if first.residual is None or second.residual is None:
        return np.array_equal(first.correct, second.correct) and first.residual is second.residual
    return np.array_equal(first.correct, second.correct) and np.allclose(first.residual, second.residual, rtol=1e-5)


def test_outcomes_are_those_of_the_images_in_their_order(resnet: Workbench, runtime: Runtime) -> None:
    split = resnet.split("test")
    outcome = evaluate(resnet.model.net, split, runtime)[None]
    expected = [guess == label for guess, label in zip(predictions(resnet, split), labels(split), strict=True)]
    assert outcome.correct.tolist() == expected
    assert 0.5 < np.mean(expected) < 1
    assert outcome.residual is None


@pytest.mark.parametrize("lambda_", LAMBDAS)
def test_many_lambdas_at_once_are_one_at_a_time(
    sdnet: Workbench, split: Split, runtime: Runtime, lambda_: float
) -> None:
    together = evaluate(sdnet.model.net, split, runtime, lambdas=LAMBDAS)
    alone = evaluate(sdnet.model.net, split, runtime, lambdas=[lambda_])
    assert list(together) == LAMBDAS
    assert same(together[lambda_], alone[lambda_])
    hits = [guess == label for guess, label in zip(predictions(sdnet, split, lambda_), labels(split), strict=True)]
    assert together[lambda_].correct.tolist() == hits


def test_batches_are_made_ahead_in_their_order() -> None:
    made: list[int] = []

    def making() -> Iterator[int]:
        for number in range(1, 8):
            made.append(number)
            yield number

    items = ahead(making())
    assert next(items) == 1
    while len(made) < AHEAD:
        time.sleep(0.001)
    assert list(items) == list(range(2, 8))
    assert made == list(range(1, 8))


def test_a_fault_ahead_is_raised_in_its_place() -> None:
    items = ahead(1 // number for number in (1, 1, 0, 1))
    assert [next(items), next(items)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_images_are_the_same_with_and_without_a_core_to_spare(
    sdnet: Workbench, split: Split, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for cores in (1, 1000):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        found.append(evaluate(sdnet.model.net, split, runtime, transform=Noise("gaussian", 0.3))[None])
    assert same(*found)


def test_none_is_the_lambda_that_the_network_has(sdnet: Workbench, split: Split, runtime: Runtime) -> None:
    set_lambda(sdnet.model.net, 0.7)
    found = evaluate(sdnet.model.net, split, runtime, lambdas=[None, 0.7])
    assert same(found[None], found[0.7])


@pytest.mark.parametrize("batch_size", [1, 7, 59])
def test_outcomes_do_not_depend_on_the_batch_size(
    sdnet: Workbench, split: Split, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    view = Noise("gaussian", 0.2, seed=3)
    whole = evaluate(sdnet.model.net, split, runtime, lambdas=[0.1, 0.6], transform=view)
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", batch_size)
    parts = evaluate(sdnet.model.net, split, runtime, lambdas=[0.1, 0.6], transform=view)
    assert same(whole[0.1], parts[0.1])
    assert same(whole[0.6], parts[0.6])


def test_a_view_is_what_the_network_sees(sdnet: Workbench, split: Split, runtime: Runtime) -> None:
    noise = Noise("impulse", 0.2, seed=3)
    (batch,) = split.batches(1000, CPU)
    assert isinstance(split, TensorSplit)
    corrupted = TensorSplit(noise(batch), split.labels, split.index, split.augmentation)
    seen = evaluate(sdnet.model.net, split, runtime, transform=noise)[None]
    assert same(seen, evaluate(sdnet.model.net, corrupted, runtime)[None])
    assert not same(seen, evaluate(sdnet.model.net, split, runtime)[None])


def test_a_batch_is_corrupted_once_for_all_lambdas(sdnet: Workbench, split: Split, runtime: Runtime) -> None:
    seen = []
    evaluate(sdnet.model.net, split, runtime, lambdas=LAMBDAS, transform=lambda batch: seen.append(1) or batch.images)
    assert len(seen) == 1


@torch.no_grad()
def test_residuals_are_what_the_code_leaves_of_the_image(sdnet: Workbench, split: Split, runtime: Runtime) -> None:
    net: Any = sdnet.model.net
    set_lambda(net, 0.3)
    found = evaluate(net, split, runtime, lambdas=[0.3])[0.3].residual
    (batch,) = split.batches(1000, CPU)
    image = net.normalize(batch.images.float() / 255)
    (layer,) = csc_layers(net)
    left = image - layer.operator.synthesize(layer(image), (32, 32))
    assert found is not None
    assert found.tolist() == pytest.approx(left.flatten(1).norm(dim=1).tolist(), rel=1e-4)
    with residuals(net) as meter:
        net(batch.images.float() / 255)
    assert found.tolist() == pytest.approx(meter.per_image().tolist(), rel=1e-4)


def test_residuals_are_measured_at_the_lambda_of_the_network_alone(
    sdnet: Workbench, split: Split, runtime: Runtime
) -> None:
    own = get_lambda(sdnet.model.net)
    found = evaluate(sdnet.model.net, split, runtime, lambdas=[own, 0.4])
    assert found[own].residual is not None
    assert found[0.4].residual is None


def test_residuals_grow_with_lambda(sdnet: Workbench, split: Split, runtime: Runtime) -> None:
    means = []
    for lambda_ in (0.0, 0.1, 0.4, 1.5):
        set_lambda(sdnet.model.net, lambda_)
        found = there(evaluate(sdnet.model.net, split, runtime)[None].residual)
        means.append(float(found.mean()))
    assert means == sorted(means)


def test_a_network_in_training_mode_is_evaluated_in_eval_mode(resnet: Workbench, runtime: Runtime) -> None:
    split = resnet.split("test", 60)
    before = {name: value.clone() for name, value in resnet.model.net.state_dict().items()}
    expected = evaluate(resnet.model.net, split, runtime)[None]
    assert np.array_equal(expected.correct, evaluate(resnet.model.net.train(), split, runtime)[None].correct)
    assert all(torch.equal(value, before[name]) for name, value in resnet.model.net.state_dict().items())


def test_progress_counts_every_image_once_per_lambda(
    sdnet: Workbench, split: Split, runtime: Runtime, told: Any
) -> None:
    with told.task("", 0) as task:
        evaluate(sdnet.model.net, split, runtime, lambdas=LAMBDAS, task=task)
    assert told.images == 4 * 60


def test_half_precision_classifies_nearly_alike(sdnet: Workbench, split: Split, runtime: Runtime) -> None:
    half = evaluate(sdnet.model.net, split, Runtime(CPU, "bfloat16"))[None]
    full = evaluate(sdnet.model.net, split, runtime)[None]
    assert (half.correct == full.correct).mean() > 0.95
    assert np.allclose(there(half.residual), there(full.residual), rtol=0.05)


def line(slope: float, intercept: float) -> LambdaRule:
    """Lambda as a line of an image's residual; for every third image none."""

    def rule(residual: Tensor, batch: Batch) -> Tensor:
        return (slope * residual + intercept).clamp_min(0) * (batch.index % 3 > 0)

    return rule


@pytest.fixture
def noisy(split: Split) -> Split:
    """With Gaussian noise, so that lambda matters."""
    (batch,) = split.batches(1000, CPU)
    assert isinstance(split, TensorSplit)
    return TensorSplit(Noise("gaussian", 0.3)(batch), split.labels, split.index, split.augmentation)


def test_a_rule_classifies_every_image_as_its_lambda_alone_would(
    sdnet: Workbench, noisy: Split, runtime: Runtime
) -> None:
    net, rule = sdnet.model.net, line(0.1, -0.5)
    found = evaluate(net, noisy, runtime, lambdas=[rule])[rule]
    assert len(set(there(found.lambda_))) > 30
    alone = [
        evaluate(net, noisy.subset([place]), runtime, lambdas=[lambda_])[lambda_].correct[0]
        for place, lambda_ in enumerate(there(found.lambda_).tolist())
    ]
    assert found.correct.tolist() == alone
    assert alone != evaluate(net, noisy, runtime)[None].correct.tolist()


def test_a_rule_sees_the_residuals_at_the_lambda_of_the_network(
    sdnet: Workbench, noisy: Split, runtime: Runtime
) -> None:
    seen: list[Tensor] = []

    def rule(residual: Tensor, batch: Batch) -> Tensor:
        seen.extend([residual, batch.index])
        return torch.full_like(residual, 0.9)

    set_lambda(sdnet.model.net, 0.3)
    found = evaluate(sdnet.model.net, noisy, runtime, lambdas=[0.7, rule])
    own = there(evaluate(sdnet.model.net, noisy, runtime)[None].residual)
    assert seen[0].tolist() == pytest.approx(own.tolist(), rel=1e-6)
    (batch,) = noisy.batches(1000, CPU)
    assert torch.equal(seen[1], batch.index)
    assert found[rule].residual is None
    assert found[rule].lambda_ == pytest.approx(np.full(60, 0.9))
    assert found[0.7].lambda_ is None


def test_choices_on_one_pass_are_those_of_passes_of_their_own(
    sdnet: Workbench, noisy: Split, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", 25)
    choices = [line(0.1, -0.5), 0.4, None, line(0.05, 0.0), 0.1]
    together = evaluate(sdnet.model.net, noisy, runtime, lambdas=choices)
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", 60)
    for choice in choices:
        alone = evaluate(sdnet.model.net, noisy, runtime, lambdas=[choice])[choice]
        assert same(together[choice], alone)
        if alone.lambda_ is not None:
            assert together[choice].lambda_ == pytest.approx(alone.lambda_, rel=1e-5)


@pytest.mark.parametrize(
    ("good", "wrong"), [(LAMBDAS, [0.2, -1]), ([line(0.1, -0.5)], [lambda residual, batch: -residual])]
)
def test_a_network_gets_its_lambda_back(
    sdnet: Workbench, noisy: Split, runtime: Runtime, good: list[Any], wrong: list[Any]
) -> None:
    set_lambda(sdnet.model.net, 0.35)
    evaluate(sdnet.model.net, noisy, runtime, lambdas=good)
    assert get_lambda(sdnet.model.net) == 0.35
    with pytest.raises(UsageError, match="lambda out of range"):
        evaluate(sdnet.model.net, noisy, runtime, lambdas=wrong)
    assert get_lambda(sdnet.model.net) == 0.35


@pytest.mark.parametrize("choice", [0.1, line(1, 0)])
def test_a_network_without_csc_layers_takes_no_lambda_and_no_rule(
    resnet: Workbench, runtime: Runtime, choice: float | LambdaRule
) -> None:
    with pytest.raises(UsageError, match="no CSC-layer"):
        evaluate(resnet.model.net, resnet.split("test", 10), runtime, lambdas=[choice])


class Spoiled(nn.Module):
    """A network that spoils images of some labels on the way in, `value` in the place of their first pixel."""

    def __init__(self, net: nn.Module, first: Tensor, value: float) -> None:
        super().__init__()
        self.net, self.first, self.value = net, first, value

    def forward(self, images: Tensor) -> Tensor:
        spoil = (images[:, None] == self.first).flatten(2).all(2).any(1).view(-1, 1, 1, 1)
        return self.net(images.where(~spoil, self.value))  # type: ignore[no-any-return]


@pytest.fixture
def three(split: Split) -> Tensor:
    """The pixels of three images."""
    (batch,) = split.subset([0, 7, 59]).batches(3, CPU)
    return batch.images.float() / 255


@pytest.mark.parametrize("batch_size", [20, 250])
def test_logits_that_are_not_finite_are_no_class(
    resnet: Workbench, split: Split, three: Tensor, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    monkeypatch.setattr("sdnet_bench.engine.batches.BATCH_SIZE", batch_size)
    with pytest.raises(ModelError, match=r"^logits of 3 of 60 images are not finite\. Look for"):
        evaluate(Spoiled(resnet.model.net, three, torch.nan), split, runtime)
    (batch,) = split.batches(60, CPU)
    with pytest.raises(ModelError, match=r"^logits of 3 of 60 images"):
        is_correct(Spoiled(resnet.model.net, three, torch.nan), batch.images / 255, batch.labels, None, runtime)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_at_one_lambda_is_said_with_it(
    sdnet: Workbench, split: Split, three: Tensor, runtime: Runtime, value: float
) -> None:
    with pytest.raises(ModelError, match=r"^logits at lambda 0\.4 of 3 of 60 images are not finite"):
        evaluate(Spoiled(sdnet.model.net, three, value), split, runtime, lambdas=[0.4])


def test_residuals_and_lambdas_are_finite(sdnet: Workbench, split: Split, runtime: Runtime) -> None:
    """The codes of a huge lambda are zero whatever the image, so the logits are finite."""
    set_lambda(sdnet.model.net, 0.1)

    def no_number(residual: Tensor, batch: Batch) -> Tensor:
        return residual.where(batch.index != batch.index[0], torch.nan)

    with pytest.raises(ModelError, match=r"^lambdas of 1 of 60 images are not finite"):
        evaluate(sdnet.model.net, split, runtime, lambdas=[no_number])
    layer: Any = csc_layers(sdnet.model.net)[0]
    layer.residual = lambda image, code: torch.full_like(image, torch.inf)
    with pytest.raises(ModelError, match=r"^residuals of 60 of 60 images are not finite"):
        evaluate(sdnet.model.net, split, runtime)
