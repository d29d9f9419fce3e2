"""What a network starts from: weights of files and of libraries, with or without a head for the same classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdnet_bench.backbones import External, build
from sdnet_bench.config import Backbone, ModelConfig
from sdnet_bench.csc import csc_layers
from sdnet_bench.data import open_dataset
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.progress import Progress
from sdnet_bench.zoo.initial import check_forward, find_weights, initial_net
from sdnet_bench.zoo.weights import file_digest

NAME = "timm:test_resnet"


def start(weights: str | None, name: str = NAME, classes: int = 5, new_head: bool = False, **options: Any) -> nn.Module:
    given = find_weights(name, weights) if weights else None
    return initial_net(config(name, classes, **options), given, Progress(), new_head=new_head)


def config(name: str, classes: int, **options: Any) -> ModelConfig:
    return ModelConfig(backbone=Backbone(name=name, options=options), num_classes=classes, dataset="any")


@pytest.fixture
def net() -> nn.Module:
    """A network that has learned something, for five classes."""
    net = build(NAME, num_classes=5)
    for tensor in net.parameters():
        nn.init.normal_(tensor)
    return net


@pytest.fixture
def file(net: nn.Module, tmp_path: Path) -> str:
    """Its weights, as this package names them."""
    return written(net, tmp_path / "ours.safetensors")


def written(net: nn.Module, path: Path) -> str:
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    return str(path)


def is_same(net: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in net.state_dict().items())


def test_without_weights_they_are_drawn() -> None:
    torch.manual_seed(7)
    drawn = start(None)
    torch.manual_seed(7)
    assert is_same(drawn, build(NAME, num_classes=5))


def test_a_file_fills_the_network_it_was_written_from(net: nn.Module, file: str) -> None:
    assert is_same(start(file), net)


def test_a_file_may_have_the_names_of_the_library(net: nn.Module, tmp_path: Path) -> None:
    assert isinstance(net, External)
    assert is_same(start(written(net.net, tmp_path / "theirs.safetensors")), net)


def test_one_of_our_own_networks_starts_from_a_file_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "width": 2}
    net = build("sdnet18", num_classes=5, **options)
    assert is_same(start(written(net, tmp_path / "own.safetensors"), "sdnet18", **options), net)


def test_a_file_is_known_by_its_content(file: str) -> None:
    assert find_weights(NAME, file).revision == f"sha256 {file_digest(Path(file))}"


def test_a_csc_stem_starts_from_the_weights(net: nn.Module, file: str) -> None:
    started = start(file, csc_stem=True)
    assert isinstance(started, External)
    assert isinstance(net, External)
    (stem,) = csc_layers(started)
    weight: Tensor = net.net.conv1[0].weight
    torch.testing.assert_close(stem.dictionary, weight / weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
    assert torch.equal(started.net.fc.weight, net.net.fc.weight)


def test_a_csc_stem_may_be_in_the_file_already(tmp_path: Path) -> None:
    net = build(NAME, num_classes=5, csc_stem={"lambda_": 0.7})
    assert is_same(start(written(net, tmp_path / "coded.safetensors"), csc_stem=True), net)


def test_a_head_for_other_classes_is_fresh_in_training(net: nn.Module, file: str, told: Any) -> None:
    started = initial_net(config(NAME, 7), find_weights(NAME, file), told, new_head=True)
    assert isinstance(started, External)
    assert isinstance(net, External)
    assert started.net.fc.weight.shape[0] == 7
    assert torch.equal(started.net.conv1[0].weight, net.net.conv1[0].weight)
    assert told.notes == [f"{file}: fresh for these classes: net.fc.bias, net.fc.weight"]


def test_weights_without_a_head_get_one_in_training(tmp_path: Path) -> None:
    body = timm.create_model("test_resnet", num_classes=0)
    started = start(written(body, tmp_path / "body.safetensors"), new_head=True)
    assert isinstance(started, External)
    assert torch.equal(started.net.conv1[0].weight, body.conv1[0].weight)


def test_a_head_for_other_classes_is_refused_elsewhere(file: str) -> None:
    with pytest.raises(ModelError, match=r"are the weights of another network, or of other classes: .*net\.fc\.weight"):
        start(file, classes=7)


@pytest.mark.parametrize("new_head", [False, True])
def test_the_weights_of_another_network_are_refused(file: str, new_head: bool) -> None:
    with pytest.raises(ModelError, match="are the weights of another network"):
        start(file, "timm:test_convnext", new_head=new_head)


def test_a_file_that_is_not_there_or_only_calls_itself_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the weights: .*none\.safetensors"):
        start(str(tmp_path / "none.safetensors"))
    (tmp_path / "no.safetensors").write_bytes(b"PK\x03\x04 a pickle")
    with pytest.raises(ModelError, match=r"no\.safetensors: .*Expected a whole safetensors file"):
        start(str(tmp_path / "no.safetensors"))


@pytest.mark.parametrize("name", ["resnet18", "nets.py:tiny"])
def test_a_network_of_ones_own_has_no_published_weights(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"no published weights, expected a \.safetensors file or \.pth, got pretrained"
    ):
        start("pretrained", name)


def test_published_weights_are_fetched_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = timm.create_model("test_resnet")
    build_it = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained, **rest: theirs if pretrained else build_it(name, **rest)
    )
    started = start("pretrained", classes=1000)
    assert isinstance(started, External)
    assert is_same(started.net, theirs)


class Counting(nn.Module):
    """Writes a buffer and draws at every forward, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Tensor
        self.register_buffer("count", torch.zeros(()))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> Tensor:
        self.count += torch.rand(())
        return self.norm(image)[:, 0].flatten(1)[:, :10]  # type: ignore[no-any-return]


def test_checking_a_network_leaves_no_trace(tmp_path: Path) -> None:
    net = Counting()
    before, drawn = {name: tensor.clone() for name, tensor in net.state_dict().items()}, torch.get_rng_state()
    check_forward(net, "counting", open_dataset("digits", tmp_path))
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
