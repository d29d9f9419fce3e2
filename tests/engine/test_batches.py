"""How many images a network takes at once, and what happens where memory runs out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.data import Augmentation, TensorSplit
from sdnet_bench.engine.batches import AtOnce
from sdnet_bench.engine.evaluate import evaluate
from sdnet_bench.engine.robust import RobustEval, robust_evaluate
from sdnet_bench.records import Threat
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.workbench import Workbench

CPU = torch.device("cpu")
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.fixture(autouse=True)
def _uncollected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory runs out garbage is collected, which looks at all objects of the test run: half a second each."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


def images_of(side: int, count: int = 2) -> TensorSplit:
    images, numbers = torch.zeros(count, 3, side, side, dtype=torch.uint8), torch.arange(count)
    return TensorSplit(images, numbers, numbers, Augmentation())


@pytest.mark.parametrize(
    ("device", "side", "size"), [("cpu", 32, 250), ("cuda", 32, 2048), ("cuda", 64, 512), ("cuda", 224, 250)]
)
def test_a_gpu_takes_more_small_images(device: str, side: int, size: int) -> None:
    assert AtOnce(images_of(side), torch.device(device)).size == size


def test_no_images_have_no_size() -> None:
    assert AtOnce(images_of(32, 0), torch.device("cuda")).size == 250


class Small(nn.Module):
    """A network on a device that has memory for 16 images."""

    def __init__(self, net: nn.Module, error: Exception) -> None:
        super().__init__()
        self.net, self.error, self.seen = net, error, list[int]()

    def forward(self, images: Tensor) -> Any:
        self.seen.append(len(images))
        if len(images) > 16:
            raise self.error
        return self.net(images)


@pytest.fixture
def small(resnet: Workbench) -> Small:
    return Small(resnet.model.net.eval(), torch.OutOfMemoryError(OUT_OF_MEMORY))


def test_half_as_many_are_classified_where_memory_runs_out(resnet: Workbench, small: Small) -> None:
    split = resnet.split("test", 300)
    (found,) = evaluate(small, split, resnet.runtime).values()
    (whole,) = evaluate(small.net, split, resnet.runtime).values()
    assert np.array_equal(found.correct, whole.correct)
    assert small.seen[:5] == [250, 125, 62, 31, 15]
    assert set(small.seen[5:]) == {15, 10, 5}, "it stays at half"


def test_half_as_many_are_attacked_where_memory_runs_out(resnet: Workbench, small: Small) -> None:
    def lost(net: nn.Module) -> Any:
        score = lambda pixels, batch: net(pixels).argmax(1) == batch.labels  # noqa: E731
        setting = attack_setting(Threat("linf", 0.05), 3)
        return robust_evaluate(RobustEval(net, setting, {"net": score}, "net", resnet.runtime, 10), split)["net"]

    split = resnet.split("test", 60)
    found, whole = lost(small), lost(small.net)
    assert found.keys() == whole.keys()
    assert all(np.array_equal(found[cause], whole[cause]) for cause in whole)
    assert max(small.seen[5:]) <= 15


@pytest.mark.parametrize(("error", "size"), [(OUT_OF_MEMORY, 1), ("shapes differ", 250)])
def test_what_fewer_images_do_not_mend_is_raised(error: str, size: int) -> None:
    at_once = AtOnce(images_of(32), CPU)

    def fail(_: int) -> None:
        raise RuntimeError(error)

    with pytest.raises(RuntimeError, match=error):
        at_once(fail)
    assert at_once.size == size
