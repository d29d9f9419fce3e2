"""Accuracy as a function of lambda."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdnet_bench.config import Backbone, Recipe
from sdnet_bench.csc import csc_layers
from sdnet_bench.data import open_dataset
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import UsageError
from sdnet_bench.paper.results import Results
from sdnet_bench.progress import Progress
from sdnet_bench.studies.accuracy import measure_corrupted, sweep_lambda
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.checkpoint import build_net, write_model
from sdnet_bench.zoo.initial import configure


def test_a_sweep_has_a_record_per_severity_and_lambda(sdnet: Workbench, told: Any) -> None:
    records = sweep_lambda(sdnet, sdnet.images("test", 30), "shot", [1, 5], [0.1, 0.5])
    cells = [(record.images.corruption, record.images.severity, record.inference.lambda_) for record in records]
    assert cells == [("shot", 1, 0.1), ("shot", 1, 0.5), ("shot", 5, 0.1), ("shot", 5, 0.5)]
    assert told.images == 4 * 30


def test_a_record_says_how_many_share_its_time(sdnet: Workbench) -> None:
    images = sdnet.images("test", 10)
    swept = sweep_lambda(sdnet, images, "shot", [1], [0.1, 0.5, 0.9])
    assert [record.provenance.get("cells") for record in swept] == [3, 3, 3]
    assert "cells" not in measure_corrupted(sdnet, images, ["shot"], [2])[0].provenance


def test_a_sweep_is_by_default_that_of_figure_2(sdnet: Workbench) -> None:
    records = sweep_lambda(sdnet, sdnet.images("test", 10), "gaussian")
    assert len(records) == 5 * 15
    assert {record.inference.lambda_ for record in records} == {round(0.1 * step, 1) for step in range(1, 16)}


def test_a_sweep_shares_the_records_of_an_evaluation(sdnet: Workbench, told: Any) -> None:
    known = measure_corrupted(sdnet, sdnet.images("test", 30), ["gaussian"], [3])
    told.images = 0
    swept = sweep_lambda(sdnet, sdnet.images("test", 30), "gaussian", [3], [0.1, 0.5])
    assert told.images == 30
    assert swept[0] == known[0]


def test_a_sweep_with_a_lambda_twice_is_a_sweep_with_it_once(sdnet: Workbench, told: Any) -> None:
    first, second = sweep_lambda(sdnet, sdnet.images("test", 30), "gaussian", [1], [0.2, 0.2])
    assert first == second
    assert told.images == 30


@pytest.fixture
def deep(tmp_path: Path, runtime: Runtime, told: Any) -> Workbench:
    """A network of CSC-layers throughout on the bench, untrained, but for the statistics of its batch norms."""
    backbone = Backbone(name="sdnet18_all", options={"width": 2, "lambda_": 0.02})
    recipe = Recipe(name="deep", dataset="digits", backbone=backbone, epochs=1, batch_size=32)
    dataset = open_dataset("digits", tmp_path, Progress())
    config = configure(backbone, dataset)
    net = build_net(config)
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():
        for batch in dataset.open("train").subset(range(100)).batches(100, runtime.device):
            net.train()(runtime.to_pixels(batch.images))
    (tmp_path / "deep").mkdir()
    write_model(tmp_path / "deep", recipe, config, net)
    return Workbench.open("deep", tmp_path, tmp_path, runtime, told)


def test_iterations_that_only_some_layers_have_are_not_those_of_training(deep: Workbench) -> None:
    assert deep.inference(steps=2).steps is None
    csc_layers(deep.model.net)[1].steps = 4
    assert [deep.inference(steps=steps).steps for steps in (None, 2, 4)] == [None, 2, 4]


def lambdas_of(bench: Workbench) -> list[float]:
    return [round(float(layer.lambda_), 7) for layer in csc_layers(bench.model.net)]


@pytest.mark.parametrize(
    ("choice", "layers", "lambdas"),
    [({"layers": "stem"}, "stem", [0.4, *16 * [0.02]]), ({}, "all", 17 * [0.4])],
    ids=["stem", "by default"],
)
def test_a_sweep_of_the_stem_leaves_the_other_layers_alone(
    deep: Workbench, choice: dict[str, Any], layers: str, lambdas: list[float]
) -> None:
    seen: list[list[float]] = []
    deep.model.net.register_forward_pre_hook(lambda _net, _images: seen.append(lambdas_of(deep)))
    (record,) = sweep_lambda(deep, deep.images("test", 30), "gaussian", [3], [0.4], **choice)
    assert (record.inference.layers, seen) == (layers, [lambdas])
    assert lambdas_of(deep) == 17 * [0.02]


def test_at_lambda_0_every_sweep_is_the_same(deep: Workbench, told: Any) -> None:
    stem = sweep_lambda(deep, deep.images("test", 30), "gaussian", [3], [0.02, 0.4], layers="stem")
    every = sweep_lambda(deep, deep.images("test", 30), "gaussian", [3], [0.02, 0.4])
    assert told.images == 3 * 30
    assert stem[0] == every[0]
    assert stem[1].cell == every[1].cell.with_inference(deep.inference(0.4, layers="stem"))


def test_figures_are_about_sweeps_of_all_layers(deep: Workbench) -> None:
    sweep_lambda(deep, deep.images("test", 30), "gaussian", [3], [0.02, 0.2, 0.4], layers="stem")
    sweep_lambda(deep, deep.images("test", 30), "gaussian", [3], [0.02, 0.3])
    (curve,) = Results.read(deep.model.folder, deep.folder.parent).sweep("gaussian")
    assert [lambda_ for lambda_, _ in curve.points] == [0.02, 0.3]


def test_a_sweep_of_the_only_layer_is_one_of_the_stem(sdnet: Workbench, told: Any) -> None:
    every = sweep_lambda(sdnet, sdnet.images("test", 30), "gaussian", [3], [0.1, 0.5])
    assert sweep_lambda(sdnet, sdnet.images("test", 30), "gaussian", [3], [0.1, 0.5], layers="stem") == every
    assert told.images == 2 * 30


def test_a_network_without_csc_layers_cannot_be_swept(resnet: Workbench, told: Any) -> None:
    with pytest.raises(UsageError, match=r"this network has no CSC-layer, .* Take an SDNet, such as sdnet18-digits"):
        sweep_lambda(resnet, resnet.images("test"), "gaussian")
    assert told.images == 0
    assert told.notes == []
