"""Models by name: what is here is found, what is elsewhere is brought once, and files name no code that is not ours."""

from __future__ import annotations

import hmac
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from filelock import FileLock
from safetensors.torch import save_file

from sdnet_bench.backbones import External, Published, build
from sdnet_bench.config import CONFIG, MODELS, RECIPE, Backbone, ModelConfig, Origin
from sdnet_bench.data import open_dataset
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.paper.results import Results
from sdnet_bench.progress import Progress
from sdnet_bench.zoo import adding
from sdnet_bench.zoo.adding import add_model
from sdnet_bench.zoo.find import find_model, load_model
from sdnet_bench.zoo.mark import MARK
from sdnet_bench.zoo.weights import file_digest

NAME = "timm:test_resnet"
CODE = """\
from torch import nn


def tiny(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of runs that is not there yet."""
    return tmp_path / "runs"


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the networks of timm whose weights were fetched, which are drawn instead."""
    found: list[str] = []
    create = timm.create_model

    def fetched(name: str, pretrained: bool, **rest: Any) -> Any:
        if pretrained:
            found.append(name)
        return create(name, **rest)

    monkeypatch.setattr(timm, "create_model", fetched)
    return found


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Weights of the network for the ten digits."""
    path = tmp_path / "mine.safetensors"
    save_file(build(NAME, num_classes=10).state_dict(), path)
    return str(path)


def added(shelf: Path, file: str, name: str | None = None, **options: Any) -> Path:
    digits = open_dataset("digits", shelf)
    return add_model(NAME, shelf, Progress(), dataset=digits, weights=file, name=name, **options)


def test_a_run_that_is_made_anew_is_waited_for_not_mistaken_for_a_shipped_model(shelf: Path, file: str) -> None:
    lock, name = shelf / ".sdnet18-cifar10.lock", "sdnet18-cifar10"
    assert find_model(name, shelf) == MODELS / name

    class Finishes(Progress):
        def note(self, text: str) -> None:
            assert text == f"another process makes {shelf / name}: waiting for it"
            (shelf / name).mkdir()
            (shelf / name / CONFIG).touch()
            held.release()

    shelf.mkdir()
    with FileLock(lock) as held:
        assert find_model(name, shelf, Finishes()) == shelf / name


def test_an_unfinished_run_is_not_mistaken_for_a_shipped_model(shelf: Path) -> None:
    (shelf / "sdnet18-cifar10").mkdir(parents=True)
    (shelf / "sdnet18-cifar10" / RECIPE).touch()
    recipe = shelf / "sdnet18-cifar10" / RECIPE
    with pytest.raises(ModelError, match=rf"is unfinished\. Go on with `sdnet-bench train {recipe} --resume`"):
        find_model("sdnet18-cifar10", shelf)


def test_a_network_by_name_becomes_a_run_with_its_published_weights(shelf: Path, fetches: list[str]) -> None:
    model = load_model(NAME, runs_dir=shelf)
    assert model.folder == shelf / "timm-test_resnet"
    assert (model.config.dataset, model.config.num_classes) == ("imagenet", 1000)
    assert model.config.backbone.options == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert Origin.read(model.folder) == Origin(source=NAME, revision="r160_in1k")
    assert model.net(torch.rand(1, 3, 64, 64)).shape == (1, 1000)
    assert model.trained_lambda is None
    assert fetches == ["test_resnet"]


def test_it_is_brought_once(shelf: Path, fetches: list[str]) -> None:
    first, again = load_model(NAME, runs_dir=shelf), load_model(NAME, runs_dir=shelf)
    assert again.weights == first.weights == load_model("timm-test_resnet", runs_dir=shelf).weights
    assert len(fetches) == 1


def test_a_run_of_that_name_with_other_weights_is_not_taken_for_it(shelf: Path, file: str) -> None:
    added(shelf, file)
    with pytest.raises(
        UsageError, match=r"timm-test_resnet is another model\. Give timm:test_resnet another name: .* add"
    ):
        load_model(NAME, runs_dir=shelf)


def test_a_file_of_weights_is_added_for_a_data_set(shelf: Path, file: str) -> None:
    folder = added(shelf, file, name="mine")
    assert folder == shelf / "mine"
    model = load_model("mine", runs_dir=shelf)
    assert (model.config.dataset, model.config.num_classes) == ("digits", 10)
    assert Origin.read(folder) == Origin(source=NAME, revision=f"sha256 {file_digest(Path(file))}")


def test_a_csc_stem_gives_a_model_its_lambda(shelf: Path, file: str) -> None:
    model = load_model(added(shelf, file, csc_stem=True), runs_dir=shelf)
    assert model.name == "timm-test_resnet_csc"
    assert model.trained_lambda == pytest.approx(0.1)


def test_what_weights_want_of_the_network_goes_into_the_configuration(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(*_: object) -> Published:
        weights = timm.create_model("test_vit", img_size=64).state_dict()
        return Published("of 64 pixels", {"mean": (0.1,) * 3, "std": (0.2,) * 3, "img_size": 64}, lambda: weights)

    monkeypatch.setattr("sdnet_bench.zoo.initial.published", small)
    model = load_model("timm:test_vit", runs_dir=shelf)
    assert model.config.backbone.options == {"mean": [0.1] * 3, "std": [0.2] * 3, "img_size": 64}
    assert Origin.read(model.folder) == Origin(source="timm:test_vit", revision="of 64 pixels")


def test_where_it_went_is_said(shelf: Path, file: str, told: Any) -> None:
    folder = add_model(NAME, shelf, told, dataset=open_dataset("digits", shelf), weights=file)
    assert told.notes == [f"{NAME} with the weights sha256 {file_digest(Path(file))} is in {folder}"]


def test_a_lambda_that_weights_bring_is_the_one_on_record(shelf: Path, file: str, tmp_path: Path) -> None:
    net = build(NAME, num_classes=10, csc_stem={"lambda_": 0.4})
    save_file(net.state_dict(), tmp_path / "coded.safetensors")
    folder = added(shelf, str(tmp_path / "coded.safetensors"), csc_stem=True)
    assert load_model(folder, runs_dir=shelf).trained_lambda == pytest.approx(0.4)
    assert Results.read(folder, shelf).trained_lambda == pytest.approx(0.4)


def test_a_network_that_cannot_take_the_images_is_not_added(shelf: Path, tmp_path: Path) -> None:
    vit = "timm:vit_tiny_patch16_224"
    save_file(build(vit, num_classes=10).state_dict(), tmp_path / "vit.safetensors")
    digits = open_dataset("digits", shelf)
    with pytest.raises(UsageError, match="takes no images of 32x32"):
        add_model(vit, shelf, Progress(), dataset=digits, weights=str(tmp_path / "vit.safetensors"))
    assert not list(shelf.glob("[!.]*"))


def test_a_name_that_is_a_path_or_taken_is_refused(shelf: Path, file: str) -> None:
    with pytest.raises(UsageError, match=r"no name for a run, expected at most 200 letters, .* got a/b"):
        added(shelf, file, name="a/b")
    added(shelf, file)
    with pytest.raises(UsageError, match=r"timm-test_resnet is there already\. Choose another name with --name"):
        added(shelf, file)


def test_weights_of_other_classes_are_refused_and_leave_nothing(shelf: Path, file: str) -> None:
    with pytest.raises(ModelError, match="another network, or of other classes"):
        add_model(NAME, shelf, Progress(), weights=file)
    assert not (shelf / "timm-test_resnet").exists()


def test_an_interrupted_adding_leaves_nothing(shelf: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(folder: Path, *_: object) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(adding, "write_model", torn)
        with pytest.raises(KeyboardInterrupt):
            added(shelf, file)
    assert list(shelf.iterdir()) == []
    assert added(shelf, file).is_dir()


class TestCode:
    """A configuration that names a Python file runs it, so it has to have been written here."""

    @pytest.fixture
    def nets(self, tmp_path: Path) -> str:
        (tmp_path / "nets.py").write_text(CODE, encoding="utf-8")
        return f"{tmp_path}/nets.py:tiny"

    @pytest.fixture
    def run(self, shelf: Path, nets: str, tmp_path: Path) -> Path:
        """A run of a function's network."""
        digits = open_dataset("digits", tmp_path)
        net = build(nets, num_classes=10, mean=digits.mean, std=digits.std)
        save_file(net.state_dict(), tmp_path / "tiny.safetensors")
        weights = str(tmp_path / "tiny.safetensors")
        return add_model(nets, shelf, Progress(), dataset=digits, weights=weights)

    def test_a_run_of_it_is_a_model_like_any_other(self, run: Path, shelf: Path) -> None:
        assert run.name == "nets-tiny"
        for name in ("nets-tiny", run):
            assert isinstance(load_model(name, runs_dir=shelf).net, External)

    def test_a_copy_is_still_made_here(self, run: Path, shelf: Path, tmp_path: Path) -> None:
        assert load_model(shutil.copytree(run, tmp_path / "copies" / "nets-tiny"), runs_dir=shelf).weights

    def test_what_another_user_made_runs_nothing_wherever_it_lies(
        self, run: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "somebody"))
        for name in (run, "nets-tiny"):
            with pytest.raises(ModelError, match=r"wants to run .*nets\.py:tiny, but was not made here"):
                load_model(name, runs_dir=shelf)

    def test_a_mark_is_of_one_configuration(self, run: Path, shelf: Path) -> None:
        content = (run / CONFIG).read_text(encoding="utf-8")
        (run / CONFIG).write_text(content.replace("digits", "cifar10"), encoding="utf-8")
        with pytest.raises(ModelError, match="was not made here"):
            load_model("nets-tiny", runs_dir=shelf)

    def test_a_mark_is_of_one_file(
        self, run: Path, shelf: Path, nets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "nets.py").write_text(CODE.replace("3, 4, 3)", "3, 4, 3, padding=1)"), encoding="utf-8")
        with pytest.raises(ModelError, match=r"or the file was changed since, .* --dataset digits --weights "):
            load_model("nets-tiny", runs_dir=shelf)
        (tmp_path / "nets.py").unlink()
        with pytest.raises(ModelError, match=r"no file .*nets\.py here, .*type the command in the folder"):
            load_model("nets-tiny", runs_dir=shelf)

    def test_a_mark_of_an_earlier_version_is_of_the_configuration_alone(
        self, run: Path, shelf: Path, tmp_path: Path
    ) -> None:
        (key,) = Path(os.environ["XDG_STATE_HOME"]).rglob("key")
        earlier = hmac.digest(key.read_bytes(), (run / CONFIG).read_bytes(), "sha256").hex()
        (run / MARK).write_text(earlier, encoding="utf-8")
        (tmp_path / "nets.py").write_text(f"{CODE}\n", encoding="utf-8")
        assert load_model("nets-tiny", runs_dir=shelf).weights

    def test_without_weights_there_is_nothing_to_add(self, shelf: Path, nets: str) -> None:
        with pytest.raises(UsageError, match=r"has no published weights, expected a \.safetensors file"):
            add_model(nets, shelf, Progress())

    def test_without_a_data_set_nobody_says_how_it_normalises(self, shelf: Path, nets: str, run: Path) -> None:
        with pytest.raises(UsageError, match=r"nobody says how .* normalises, expected --dataset"):
            add_model(nets, shelf, Progress(), weights=str(run / "model.safetensors"), name="other")


def test_the_configuration_alone_says_how_it_is_built(shelf: Path, file: str) -> None:
    folder = added(shelf, file)
    config = ModelConfig.read(folder)
    assert config.backbone == Backbone(name=NAME, options={"mean": [0.5] * 3, "std": [0.5] * 3})
    assert config.weights_sha256 == file_digest(folder / "model.safetensors")


def test_published_weights_are_not_taken_for_a_thousand_other_classes(shelf: Path, fetches: list[str]) -> None:
    names = tuple(f"bird{at:03}" for at in range(1000))
    birds = replace(open_dataset("digits", shelf), name="birds", num_classes=1000, classes=names)
    with pytest.raises(ModelError, match=r"for other classes, .*n01440764, .*from label 0: bird000"):
        add_model(NAME, shelf, Progress(), dataset=birds)
    assert (fetches, list(shelf.glob("*"))) == ([], [])
