"""Model folders: what is written reads back, and what is missing, damaged or foreign is one line."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from bombs import Bomb
from safetensors.torch import load_file, save_file

import sdnet_bench
from sdnet_bench.backbones import build
from sdnet_bench.config import ModelConfig, Recipe
from sdnet_bench.csc import get_lambda, set_lambda
from sdnet_bench.errors import BenchError, ModelError, UnknownNameError
from sdnet_bench.zoo.checkpoint import Model, read_model, write_model
from sdnet_bench.zoo.find import load_model
from sdnet_bench.zoo.weights import WEIGHTS, file_digest

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(runs: Path) -> Path:
    return runs / "sdnet18-tiny"


@pytest.fixture
def model(folder: Path) -> Model:
    return read_model(folder)


def forget_digest(folder: Path) -> None:
    """As if the configuration did not know which weights belong to it."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(content | {"weights_sha256": None}), encoding="utf-8")


def test_a_model_that_is_written_reads_back(model: Model, tmp_path: Path) -> None:
    recipe = Recipe.read(model.folder / "recipe.toml")
    set_lambda(model.net, 0.45)
    again = write_model(tmp_path / "again", recipe, model.config, model.net)
    with torch.no_grad():
        assert torch.equal(model.net(IMAGES), again.net(IMAGES))
    assert get_lambda(again.net) == again.trained_lambda == 0.45
    assert again.name == "again"
    assert again.config.weights_sha256 == again.weights == file_digest(tmp_path / "again" / WEIGHTS)
    assert Recipe.read(tmp_path / "again" / "recipe.toml") == recipe.replace(name="again")


@pytest.mark.parametrize(("name", "value"), [("stem.dictionary", "nan"), ("step_size", "inf"), ("running_var", "nan")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(
    model: Model, tmp_path: Path, name: str, value: str
) -> None:
    spoiled = next(each for each in model.net.state_dict() if each.endswith(name))
    recipe = Recipe.read(model.folder / "recipe.toml")
    shutil.copytree(model.folder, tmp_path / "old")
    tensors = load_file(model.folder / WEIGHTS)
    tensors[spoiled].view(-1)[-1] = float(value)
    save_file(tensors, tmp_path / "old" / WEIGHTS)
    forget_digest(tmp_path / "old")
    message = rf"weights are not finite: {spoiled}\. Train it anew, at a lower learning rate"
    with pytest.raises(ModelError, match=message):
        read_model(tmp_path / "old")
    model.net.load_state_dict(tensors)
    with pytest.raises(ModelError, match=message):
        write_model(tmp_path / "new", recipe, model.config, model.net)
    assert not (tmp_path / "new").exists()


def test_a_model_is_written_whatever_its_memory_layout(model: Model, tmp_path: Path) -> None:
    net = model.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    again = write_model(tmp_path / "again", Recipe.read(model.folder / "recipe.toml"), model.config, net)
    assert again.weights == model.weights


def test_a_model_folder_holds_what_it_should_and_nothing_more(runs: Path) -> None:
    for name in ("sdnet18-tiny", "resnet18-tiny"):
        files = {path.name for path in (runs / name).iterdir()}
        assert files - {"records.jsonl.lock"} == {"recipe.toml", "config.json", WEIGHTS, "history.csv", "records.jsonl"}


def test_a_model_comes_in_eval_mode_and_only_one_with_csc_layers_has_a_lambda(model: Model, runs: Path) -> None:
    assert not any(module.training for module in model.net.modules())
    assert read_model(runs / "sdnet18-tiny").trained_lambda == 0.1
    assert read_model(runs / "resnet18-tiny").trained_lambda is None


def test_a_model_loads_by_path_and_by_name(runs: Path) -> None:
    by_path, by_name = load_model(runs / "sdnet18-tiny"), load_model("sdnet18-tiny", runs_dir=runs)
    assert by_path.name == by_name.name == "sdnet18-tiny"
    assert by_path.weights == by_name.weights
    assert load_model(str(runs / "sdnet18-tiny")).weights == by_path.weights
    assert sdnet_bench.load_model is load_model


def test_a_model_loads_by_a_relative_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_model(".").name == "sdnet18-tiny"


def test_a_misspelt_model_is_answered_with_the_nearest(runs: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'sdnet18-tinny'\. Did you mean 'sdnet18-tiny'"):
        load_model("sdnet18-tinny", runs_dir=runs)


def assert_damaged(folder: Path, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        read_model(folder)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_one_line_with_advice(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert_damaged(folder, rf"has no weights, expected {WEIGHTS} in it. Train it with `sdnet-bench train sdnet18-tiny`")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights_are_one_line(folder: Path, keep: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:keep])
    assert_damaged(folder, r"is damaged or foreign, expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}")
    forget_digest(folder)
    assert_damaged(folder, r"cannot read the weights .*Expected a whole safetensors file")


def test_weights_of_another_network_are_refused(folder: Path, runs: Path) -> None:
    shutil.copy(runs / "resnet18-tiny" / WEIGHTS, folder / WEIGHTS)
    assert_damaged(folder, "is damaged or foreign")
    forget_digest(folder)
    assert_damaged(folder, "does not hold the weights of this sdnet18")


def test_weights_of_another_width_are_refused(folder: Path) -> None:
    save_file(build("sdnet18", num_classes=10, width=2).state_dict(), folder / WEIGHTS)
    forget_digest(folder)
    assert_damaged(folder, "does not hold the weights of this sdnet18")


def test_a_pickle_that_poses_as_weights_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    forget_digest(folder)
    assert_damaged(folder, r"cannot read the weights .*Expected a whole safetensors file")
    assert not (tmp_path / "exploded").exists()


def test_a_folder_in_the_place_of_weights_is_one_line(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    assert_damaged(folder, WEIGHTS)


@pytest.mark.parametrize(
    ("backbone", "complaint"),
    [
        ({"name": "sdnet19"}, "unknown backbone 'sdnet19'. Did you mean 'sdnet18'"),
        ({"name": "sdnet18", "options": {"depth": 3}}, "backbone 'sdnet18': .*depth"),
        ({"name": "sdnet18", "options": {"width": "wide"}}, "backbone 'sdnet18': "),
    ],
)
def test_a_configuration_that_cannot_be_built_is_one_line(
    folder: Path, backbone: dict[str, object], complaint: str
) -> None:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(content | {"backbone": backbone}), encoding="utf-8")
    with pytest.raises(BenchError, match=complaint) as caught:
        read_model(folder)
    assert "\n" not in str(caught.value)


def test_the_configuration_alone_says_how_to_build(model: Model) -> None:
    config = ModelConfig.read(model.folder)
    net = build(config.backbone.name, num_classes=config.num_classes, **config.backbone.options)
    assert {name: tensor.shape for name, tensor in net.state_dict().items()} == {
        name: tensor.shape for name, tensor in load_file(model.folder / WEIGHTS).items()
    }
