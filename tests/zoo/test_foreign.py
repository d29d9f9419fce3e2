"""Files that others wrote: their names are no paths, their sizes take no memory, their code is not run."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import Hub, running
from huggingface_hub import close_session, constants
from safetensors.torch import save_file
from torch import Tensor, nn

from sdnet_bench.backbones import build
from sdnet_bench.config import CONFIG, ORIGIN, Backbone, ModelConfig, Origin, Recipe
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import BenchError, ModelError, UsageError
from sdnet_bench.progress import Progress
from sdnet_bench.studies.training import train_model
from sdnet_bench.zoo.checkpoint import read_model, skeleton
from sdnet_bench.zoo.find import find_model
from sdnet_bench.zoo.hub.download import pull
from sdnet_bench.zoo.hub.layout import is_published
from sdnet_bench.zoo.initial import find_weights, initial_net
from sdnet_bench.zoo.weights import WEIGHTS

STATISTICS: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
OPTIONS: dict[str, Any] = STATISTICS | {"width": 2}
PLAIN: dict[str, Any] = STATISTICS | {"num_classes": 5}


def config_of(name: str = "resnet18", **options: Any) -> ModelConfig:
    return ModelConfig(backbone=Backbone(name=name, options=OPTIONS | options), num_classes=5, dataset="digits")


def started(path: Path, progress: Progress | None = None) -> dict[str, Tensor]:
    """The tensors of a ResNet-18 that starts from a file of weights."""
    return initial_net(config_of(), find_weights("resnet18", str(path)), progress or Progress()).state_dict()


def is_same(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


class TestCheckpoints:
    """What other programs write of a network."""

    @pytest.fixture
    def state(self) -> dict[str, Tensor]:
        return build("resnet18", num_classes=5, **OPTIONS).state_dict()

    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod."])
    @pytest.mark.parametrize("inside", [None, "state_dict", "model", "ema"])
    def test_prefixes_and_dicts_around_it_are_left_out(
        self, state: dict[str, Tensor], prefix: str, inside: str | None, tmp_path: Path, told: Any
    ) -> None:
        named = {f"{prefix}{name}": tensor for name, tensor in state.items()}
        steps = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
        torch.save({inside: named, "epoch": 3, "optimizer": steps} if inside else named, tmp_path / "theirs.pth")
        assert is_same(started(tmp_path / "theirs.pth", told), state)
        found = f"{inside}.{prefix}" if inside else prefix
        assert told.notes == ([f"{tmp_path / 'theirs.pth'}: the tensors under {found}"] if found else [])

    def test_a_safetensors_file_may_have_a_prefix_too(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        save_file({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "theirs.safetensors")
        assert is_same(started(tmp_path / "theirs.safetensors"), state)

    def test_weights_as_they_are_come_before_their_moving_average(
        self, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        average = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        torch.save({"ema": average, "state_dict": state}, tmp_path / "theirs.pth")
        assert is_same(started(tmp_path / "theirs.pth"), state)

    @pytest.mark.parametrize(
        ("mean_name", "std_name", "white"),
        [
            ("0.mean", "0.std", 1),
            ("normalize.mean", "normalize.std", 1),
            ("normalizer.new_mean", "normalizer.new_std", 1),
            ("mu", "sigma", 1),
            ("pixel_mean", "pixel_std", 255),
        ],
    )
    def test_a_network_behind_its_own_normalisation_keeps_it(
        self, mean_name: str, std_name: str, white: int, tmp_path: Path, told: Any
    ) -> None:
        (tmp_path / "nets.py").write_text(
            "from torch import nn\n\n\ndef tiny(num_classes):\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))\n"
        )
        name, file = f"{tmp_path}/nets.py:tiny", tmp_path / "theirs.pth"
        mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
        theirs = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        state = {f"module.model.{key}": tensor for key, tensor in theirs.state_dict().items()}
        state |= {f"module.{mean_name}": white * mean.flatten(), f"module.{std_name}": white * std[None]}
        torch.save({"state_dict": state}, file)
        config = ModelConfig(backbone=Backbone(name=name, options=STATISTICS), num_classes=5, dataset="digits")
        net, images = initial_net(config, find_weights(name, str(file)), told), torch.rand(2, 3, 8, 8)
        torch.testing.assert_close(net(images), theirs((images - mean) / std))
        assert told.notes[0] == f"{file}: pixels are normalised with the mean and the deviation in it"

    def test_names_that_do_not_fit_are_listed_on_both_sides(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        state["fc.bias"], state["fc.weight"] = state.pop("classifier.bias"), state.pop("classifier.weight")
        torch.save({"state_dict": state}, tmp_path / "theirs.pth")
        with pytest.raises(
            ModelError, match=r"it lacks classifier\.bias, classifier\.weight, got fc\.bias, fc\.weight$"
        ):
            started(tmp_path / "theirs.pth")

    def test_code_in_one_is_not_run(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(3, 5), tmp_path / "theirs.pth")
        with pytest.raises(ModelError, match=r"theirs\.pth is damaged, or more than tensors and plain values"):
            started(tmp_path / "theirs.pth")


class TestSiblings:
    """Files beside a file of networks."""

    @pytest.fixture
    def nets(self, tmp_path: Path) -> list[str]:
        """Two files of networks, with files of equal names beside them that say the number of atoms."""
        for width in (3, 4):
            folder = tmp_path / f"of {width}"
            folder.mkdir()
            (folder / "sibling_of_nets.py").write_text(f"WIDTH = {width}")
            (folder / "colorsys.py").write_text("raise ImportError('this is not the standard library')")
            (folder / "nets.py").write_text(
                "from torch import nn\nimport sibling_of_nets as outside\n\n\ndef tiny(num_classes):\n"
                "    import colorsys\n    from sibling_of_nets import WIDTH\n\n    assert outside.WIDTH == WIDTH\n"
                "    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
                " nn.Linear(WIDTH, num_classes))\n"
            )
        return [f"{tmp_path}/of {width}/nets.py:tiny" for width in (3, 4)]

    def test_each_file_has_its_own_and_none_in_the_place_of_a_module(self, nets: list[str]) -> None:
        before, path = set(sys.modules), list(sys.path)
        widths = [build(name, **PLAIN).get_parameter("net.0.weight").shape[0] for name in (*nets, nets[0])]
        assert widths == [3, 4, 3]
        assert sys.path == path
        assert "sibling_of_nets" not in sys.modules.keys() - before


class TestNames:
    """Names from a mirror of the Hub, and from the command line."""

    @pytest.mark.parametrize("commit", ["/../../kept", "0" * 39, "..", "\x1b[2J" + "0" * 40])
    def test_a_commit_that_is_a_path_removes_nothing(
        self, commit: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = tmp_path / "to" / "kept" / "records.jsonl"
        kept.parent.mkdir(parents=True)
        kept.write_text("of weeks")
        content = json.loads((runs / "sdnet18-tiny" / CONFIG).read_text()) | {"weights_sha256": None}
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        with running() as hub:
            monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
            self.publish(hub, runs / "sdnet18-tiny", json.dumps(content).encode(), commit)
            with pytest.raises(
                ModelError, match="names no commit of me/tiny, expected 40 hexadecimal digits"
            ) as caught:
                pull("hf:me/tiny", tmp_path / "to" / "pulled", Progress())
            close_session()
        assert str(caught.value).isprintable()
        assert kept.read_text() == "of weeks"

    @staticmethod
    def publish(hub: Hub, model: Path, config: bytes, commit: str) -> None:
        repo = hub.publish("me/tiny", model, **{CONFIG: config})
        repo.commits = {commit: repo.files}

    @pytest.mark.parametrize("name", ["../figure2.png", "..\\figure2.png", "\x1b[2J.png", ".png", "a\n.png", "a" * 300])
    def test_a_file_with_the_name_of_a_path_or_a_command_is_none_of_a_model(self, name: str) -> None:
        assert not is_published(name)
        assert is_published("figure2.png")

    @pytest.mark.parametrize("name", ["a" * 300, "timm:" + "a" * 300, "hf:me/" + "a" * 300, "a\0b", "runs/" * 1000])
    def test_a_model_with_a_name_that_no_file_can_have_is_one_line(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            find_model(name, tmp_path)
        assert "\n" not in str(caught.value)


NESTED = json.dumps({"backbone": {"name": "resnet18", "options": {"mean": 0}}, "num_classes": 5, "dataset": "digits"})


class TestConfigurations:
    """What a configuration may say."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        save_file({}, tmp_path / WEIGHTS)
        return tmp_path

    def write(self, folder: Path, config: ModelConfig) -> None:
        (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")

    @pytest.mark.parametrize("name", ["sdnet18", "sdnet34_all", "scn"])
    def test_a_large_network_without_weights_takes_no_memory(self, folder: Path, name: str) -> None:
        options = OPTIONS | {"width": 2000}
        self.write(folder, ModelConfig(backbone=Backbone(name=name, options=options), num_classes=5, dataset="digits"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ModelError, match=r"does not hold the weights of this .*: it lacks .*, \.\.\.$"):
            read_model(folder)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000

    def test_a_skeleton_has_no_values_except_of_networks_that_need_them(self) -> None:
        assert all(tensor.is_meta for tensor in skeleton(config_of("sdnet18_all")).state_dict().values())
        regnet = ModelConfig(backbone=Backbone(name="torchvision:regnet_x_400mf"), num_classes=5, dataset="imagenet")
        assert not any(tensor.is_meta for tensor in skeleton(regnet).state_dict().values())

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (NESTED.replace("0}", "0, " + '"width": 1000000000}'), r"options: a size is at most 65536"),
            (NESTED.replace("0}", '0, "csc_stem": {"steps": 1000000000}}'), r"options: a size is at most 65536"),
            (NESTED.replace("0}", f"{[0.5] * 10**6}}}"), r"options: a network has at most 1000 options"),
            (NESTED.replace(" 5,", " 1000000000,"), r"num_classes: input should be less than or equal to 65536"),
            (NESTED.replace(" 5,", f" {'9' * 5000},"), r"cannot read .*config\.json: Exceeds the limit"),
            ("[" * 100_000, r"cannot read .*config\.json: maximum recursion"),
            (NESTED + " " * 2**24, r"config\.json: it has more than 16,777,216 characters"),
            (NESTED.replace("0}", '"\\u001b[2J"}'), r"options: a text is one line of at most 4096 printable"),
        ],
        ids=["width", "steps", "mean", "classes", "digits", "nesting", "spaces", "escape"],
    )
    def test_what_costs_memory_or_time_is_one_short_line(self, folder: Path, content: str, complaint: str) -> None:
        (folder / CONFIG).write_text(content, encoding="utf-8")
        with pytest.raises(ModelError, match=complaint) as caught:
            ModelConfig.read(folder)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500

    def test_names_do_not_command_the_terminal(self, folder: Path) -> None:
        texts = {"source": "hf:me/\x1b[2Jtiny\n", "revision": "\x1b]0;mine\x07"}
        (folder / ORIGIN).write_text(json.dumps(texts), encoding="utf-8")
        assert Origin.read(folder) == Origin(source=r"hf:me/\x1b[2Jtiny\n", revision=r"\x1b]0;mine\x07")
        (folder / CONFIG).write_text(NESTED.replace("digits", "dig\\u001b[31mits"), encoding="utf-8")
        assert ModelConfig.read(folder).dataset == r"dig\x1b[31mits"

    def test_a_finished_run_that_was_not_trained_here_runs_no_code(
        self, runs: Path, runtime: Runtime, settled_recipes: dict[str, Recipe], tmp_path: Path
    ) -> None:
        (tmp_path / "nets.py").write_text(f"open({str(tmp_path / 'this-ran')!r}, 'w').close()")
        path = runs / "sdnet18-tiny" / CONFIG
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"backbone": {"name": f"{tmp_path}/nets.py:tiny"}}))
        with pytest.raises(BenchError, match=r"wants to run .*nets\.py:tiny, but was not made here"):
            train_model(settled_recipes["sdnet18-tiny"], runs, runs / "data", runtime, Progress())
        assert not (tmp_path / "this-ran").exists()
