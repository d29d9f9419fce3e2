"""AutoAttack against the package of its authors, which has other code for every part of it."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.attacks.victim import ChannelsLast
from sdnet_bench.data import open_dataset
from sdnet_bench.engine.evaluate import is_correct
from sdnet_bench.engine.robust import RobustEval, robust_evaluate
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.records import Threat
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.zoo.checkpoint import read_model

REAL = Path(os.environ.get("SDNET_BENCH_DATA", "/nowhere"))
MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def published() -> Any:
    """The package from GitHub (autoattack), or its release on PyPI (pyautoattack); neither is a requirement."""
    for name in ("autoattack", "pyautoattack"):
        with suppress(ImportError):
            return import_module(name).AutoAttack
    pytest.skip("neither autoattack nor pyautoattack is installed")


class Contiguous(nn.Module):
    """The network with contiguous gradients, which the package wants as it wants contiguous images."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(ChannelsLast.apply(images))  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.cifar10
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not (REAL / "cifar-10-batches-py").is_dir(), reason="SDNET_BENCH_DATA names no CIFAR-10")
@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 2 / 255), *(pytest.param("l2", eps, marks=pytest.mark.soak) for eps in (0.15, 0.2))]
)
def test_the_same_images_withstand_autoattack(published: Any, runtime: Runtime, norm: str, eps: float) -> None:
    net = runtime.place(read_model(MODELS / "resnet18-cifar10-small").net).eval()
    split = open_dataset("cifar10", REAL).open("test").subset(range(64))
    setting = attack_setting(Threat(norm, eps), name="autoattack")
    scorers = {None: lambda pixels, batch: is_correct(net, pixels, batch.labels, None, runtime)}
    lost = robust_evaluate(RobustEval(net, setting, scorers, None, runtime, 10), split)[None]

    (batch,) = split.batches(64, torch.device("cpu"))
    attack = published(Contiguous(net).eval(), norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, seed=0, device="cpu")
    found = attack.run_standard_evaluation(runtime.to_pixels(batch.images).contiguous(), batch.labels)
    with torch.no_grad():
        theirs = net(found[0] if isinstance(found, tuple) else found).argmax(1) == batch.labels
    ours = ~np.logical_or.reduce(list(lost.values()))
    assert ours.tolist() == theirs.tolist()
    assert 0 < ours.sum() < 32
