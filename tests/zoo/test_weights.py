"""Weight files: one or several, and what is missing, damaged or not what it says it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sdnet_bench.errors import ModelError
from sdnet_bench.zoo.weights import (
    INDEX,
    WEIGHTS,
    file_digest,
    load_weights,
    read_weights,
    weight_files,
    weights_digest,
    write_shards,
    write_weights,
)


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 3))


def test_one_file_holds_every_tensor_as_it_is(net: nn.Module, tmp_path: Path) -> None:
    write_weights(tmp_path, net)
    files = weight_files(tmp_path)
    assert files == [tmp_path / WEIGHTS]
    assert weights_digest(files) == file_digest(tmp_path / WEIGHTS)
    for name, tensor in read_weights(files).items():
        assert torch.equal(tensor, net.state_dict()[name])


class Twice(nn.Module):
    """One convolution under three names, and two parameters that are one."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Conv2d(4, 4, 3)
        self.blocks = nn.ModuleList([block, block, block])
        self.into, self.out = nn.Linear(4, 5, bias=False), nn.Linear(4, 5)
        self.out.weight = self.into.weight


@pytest.mark.parametrize("write", [write_weights, lambda folder, net: write_shards(folder, net, "16MB")])
def test_shared_tensors_are_written_once_and_shared_again(
    write: Callable[[Path, nn.Module], None], tmp_path: Path
) -> None:
    net, other = Twice(), Twice()
    write(tmp_path, net)
    found = read_weights(weight_files(tmp_path))
    assert sorted(found) == ["blocks.0.bias", "blocks.0.weight", "into.weight", "out.bias"]
    load_weights(other, found)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=0.01, rtol=0.01)
    assert other.out.weight is other.into.weight
    load_weights(other, net.state_dict())  # a file may have all names
    del found["into.weight"]
    with pytest.raises(RuntimeError, match=r"into\.weight"):
        load_weights(other, found)


def test_shards_hold_parameters_in_bfloat16_and_buffers_as_they_are(net: nn.Module, tmp_path: Path) -> None:
    write_shards(tmp_path, net, "60KB")
    files, state = weight_files(tmp_path), net.state_dict()
    assert [path.name for path in files] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    found = read_weights(files)
    assert found.keys() == state.keys()
    for name, tensor in found.items():
        is_parameter = name in dict(net.named_parameters())
        assert tensor.dtype == (torch.bfloat16 if is_parameter else state[name].dtype)
        assert torch.equal(tensor, state[name].to(tensor.dtype))


def test_the_digest_of_shards_is_that_of_what_sha256sum_prints(net: nn.Module, tmp_path: Path) -> None:
    write_shards(tmp_path, net, "60KB")
    files = weight_files(tmp_path)
    printed = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    assert weights_digest(files) == hashlib.sha256(printed.encode()).hexdigest()


def test_weights_that_fit_into_one_shard_need_no_index(net: nn.Module, tmp_path: Path) -> None:
    write_shards(tmp_path, net, "16MB")
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]


@pytest.mark.parametrize("size", ["60KB", "16MB"])
def test_new_weights_take_the_place_of_old_ones(net: nn.Module, tmp_path: Path, size: str) -> None:
    other = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 3))
    write_weights(tmp_path, other)
    write_shards(tmp_path, other, "40KB")
    write_shards(tmp_path, net, size)
    written = {path.name for path in weight_files(tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} - {INDEX} == written
    found = read_weights(weight_files(tmp_path))
    assert torch.equal(found["0.weight"], net.state_dict()["0.weight"].to(torch.bfloat16))
    write_weights(tmp_path, net)
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]


def test_no_weights_are_no_files(tmp_path: Path) -> None:
    assert weight_files(tmp_path) == []


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "model.bin", "/etc/passwd", "", 3])
def test_an_index_names_shards_and_nothing_else(name: object, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"0.weight": name}}), encoding="utf-8")
    with pytest.raises(ModelError, match="names other files"):
        weight_files(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"weight_map": []}', "\x80"])
def test_a_damaged_index_is_said_to_be_so(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"cannot read .*index\.json"):
        weight_files(tmp_path)


def test_a_missing_shard_is_said_to_be_so(net: nn.Module, tmp_path: Path) -> None:
    write_shards(tmp_path, net, "60KB")
    files = weight_files(tmp_path)
    files[1].unlink()
    with pytest.raises(ModelError, match="cannot read the weights"):
        weights_digest(files)
