"""A model meets only images of its own classes, in its own order; a part of ImageNet is found by WordNet id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torchvision.datasets import Imagenette
from torchvision.models import ResNet18_Weights

from sdnet_bench.backbones import build
from sdnet_bench.config import Backbone, ModelConfig, Origin
from sdnet_bench.csc import CSCConv2d, csc_layers
from sdnet_bench.data import Augmentation, Dataset, TensorSplit, fixed_classes
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import DataError, ModelError
from sdnet_bench.progress import Progress
from sdnet_bench.records import AttackSetting, Cell, Record
from sdnet_bench.studies.codes import chain_of
from sdnet_bench.studies.export import export
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.checkpoint import Model, write_model
from sdnet_bench.zoo.classes import Selected, class_names, of_classes, whole
from sdnet_bench.zoo.weights import weight_files

IDS = fixed_classes("imagenet")
PART = ("n01440764", "n02102040", "n03888257")
PLACES = (0, 217, 701)
"""Their labels in ImageNet."""


class ByShade(nn.Module):
    """Finds the class whose shade an image has, but prefers one `favourite` class whatever it sees."""

    def __init__(self, shades: Sequence[float], favourite: int | None = None) -> None:
        super().__init__()
        self.shades = nn.Parameter(torch.tensor(shades))
        self.bias = nn.Parameter(torch.zeros(len(shades)))
        if favourite is not None:
            self.bias.data[favourite] = 1.0

    def forward(self, image: Tensor) -> Tensor:
        return self.bias - (image.mean((1, 2, 3))[:, None] - self.shades).abs()


def shades_of(count: int) -> list[float]:
    return [at / count for at in range(count)]


def images(labels: Sequence[int], shades: Sequence[float]) -> TensorSplit:
    """A grey image for each label, in the shade of that class."""
    grey = torch.tensor([round(255 * shades[label]) for label in range(len(shades))], dtype=torch.uint8)
    pixels = grey[torch.tensor(labels)][:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    return TensorSplit(pixels, torch.tensor(labels), torch.arange(len(labels)), Augmentation())


def dataset(split: TensorSplit, count: int, classes: Sequence[str] = (), name: str = "imagefolder") -> Dataset:
    return Dataset(name, count, (0.5,) * 3, (0.5,) * 3, "cifar", lambda _: split, tuple(classes))


def model(folder: Path, net: nn.Module, count: int, classes: Sequence[str] = (), name: str = "imagefolder") -> Model:
    config = ModelConfig(backbone=Backbone(name="resnet18"), num_classes=count, dataset=name, classes=tuple(classes))
    return Model("mine", folder / "mine", config, net.eval(), "w", None)


@pytest.fixture
def three() -> Dataset:
    """Seven images of three classes, the last one with a wrong label."""
    split = images([0, 1, 2, 0, 1, 2, 0], [PLACES[at] / 1000 for at in range(3)])
    wrong = replace(split, labels=torch.tensor([0, 1, 2, 0, 1, 2, 1]))
    return dataset(wrong, 3, PART, "imagenet")


@pytest.fixture
def thousand(tmp_path: Path) -> Model:
    return model(tmp_path, ByShade(shades_of(1000), favourite=500), 1000, name="imagenet")


def measured(bench: Workbench, attack: AttackSetting | None = None) -> tuple[Cell, Record]:
    cell = bench.cell(bench.images("test"), attack=attack)
    return cell, bench.measure([cell], "test")[0]


def test_the_ids_are_those_of_the_labels_of_imagenet() -> None:
    assert list(IDS) == ImageNetInfo().label_names()
    titles = ResNet18_Weights.DEFAULT.meta["categories"]
    for name, known in Imagenette._WNID_TO_CLASS.items():
        assert titles[IDS.index(name)] in known


def test_a_part_of_imagenet_is_classified_among_its_own_classes(
    thousand: Model, three: Dataset, tmp_path: Path, runtime: Runtime, told: Any
) -> None:
    """Among all thousand its favourite class always wins."""
    bench = Workbench(thousand, three, tmp_path / "runs", runtime, told)
    cell, record = measured(bench)
    assert record.accuracy == pytest.approx(6 / 7)
    assert cell.inference.classes is not None
    assert cell.inference.classes.startswith("3 of 1000: ")
    assert told.notes[0] == "mine: only the logits of 3 of its 1000 classes, found by WordNet id"
    assert Cell.model_validate_json(cell.model_dump_json()) == cell


def test_among_some_classes_is_another_measurement_than_among_all(
    thousand: Model, three: Dataset, tmp_path: Path, runtime: Runtime
) -> None:
    among_three = Workbench(thousand, three, tmp_path, runtime)
    first, other = (among_three.cell(among_three.images("test")), of_first(among_three, PART[:2]))
    whole_ = first.with_inference(first.inference.model_copy(update={"classes": None}))
    assert "classes" not in whole_.model_dump()
    assert len({first.key, other.key, whole_.key}) == 3
    assert len({first.images_key, whole_.images_key}) == 2


def of_first(bench: Workbench, names: Sequence[str]) -> Cell:
    """The cell of the same images among other classes."""
    split = images([0, 1], shades_of(2))
    fewer = of_classes(bench.model, dataset(split, len(names), names, "imagenet"), bench.progress)
    cell = bench.cell(bench.images("test"))
    return cell.with_inference(cell.inference.model_copy(update={"classes": fewer.selected}))


def test_an_attack_sees_the_logits_of_these_classes_alone(
    thousand: Model, three: Dataset, tmp_path: Path, runtime: Runtime
) -> None:
    """A ball of one grey level reaches no other of the three shades; half of all levels reaches them all."""
    bench = Workbench(thousand, three, tmp_path, runtime)
    near, far = (AttackSetting(norm="linf", eps=eps, steps=10, step_size=eps / 4) for eps in (1 / 255, 0.6))
    assert measured(bench, near)[1].accuracy == pytest.approx(6 / 7)
    assert measured(bench, far)[1].accuracy < 3 / 7


def test_the_order_of_the_folder_does_not_matter_with_wordnet_ids(thousand: Model, three: Dataset) -> None:
    turned = replace(three, classes=PART[::-1])
    chosen = of_classes(thousand, turned, Progress()).net(three.open("test").images[:3].float() / 255)
    assert chosen.argmax(1).tolist() == [2, 1, 0]


COLOURS = ("blue", "green", "red")
OTHERS = {
    "one more": (("aqua", *COLOURS), r"expected 3 .*from label 0: blue, green, red\), got 4 .*0: aqua, blue"),
    "one less": (COLOURS[:2], r"expected 3 .*from label 2: red\), got 2 .*from label 2: none\)"),
    "another": (("blue", "grey", "red"), r"from label 1: green, red\), got 3 .*from label 1: grey, red\)"),
    "another order": (("blue", "red", "green"), r"from label 1: green, red\), got 3 .*from label 1: red, green\)"),
    "no names": ((), "expected 3 .*, got 4 classes"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_images_of_other_classes_are_refused_before_anything_is_measured(
    tmp_path: Path, runtime: Runtime, other: str
) -> None:
    classes, message = OTHERS[other]
    count = len(classes) or 4
    data = dataset(images([0, 1], shades_of(count)), count, classes)
    with pytest.raises(ModelError, match=message) as caught:
        Workbench(model(tmp_path, ByShade(shades_of(3)), 3, COLOURS), data, tmp_path / "runs", runtime)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", [tuple, list])
def test_its_own_classes_are_all_right(tmp_path: Path, runtime: Runtime, kind: Callable[[Any], Any]) -> None:
    data = replace(dataset(images([0, 1, 2, 2], shades_of(3)), 3), classes=kind(COLOURS))
    bench = Workbench(model(tmp_path, ByShade(shades_of(3)), 3, COLOURS), data, tmp_path / "runs", runtime)
    cell, record = measured(bench)
    assert (record.accuracy, cell.inference.classes) == (1.0, None)
    assert whole(bench.model.net) is bench.model.net


def test_a_model_that_does_not_name_its_classes_is_measured_with_a_note(
    tmp_path: Path, runtime: Runtime, told: Any
) -> None:
    data, older = dataset(images([0, 1, 2], shades_of(3)), 3, COLOURS), model(tmp_path, ByShade(shades_of(3)), 3)
    bench = Workbench(older, data, tmp_path / "runs", runtime, told)
    assert told.notes == ["mine does not name its 3 classes: their order is not checked"]
    assert measured(bench)[1].accuracy == 1
    with pytest.raises(ModelError, match="expected 3 classes, got 4 classes"):
        Workbench(older, dataset(images([0], shades_of(4)), 4, ("aqua", *COLOURS)), tmp_path / "runs", runtime)


def test_what_older_models_leave_out_follows_from_their_data_set() -> None:
    config = ModelConfig(backbone=Backbone(name="resnet18"), num_classes=10, dataset="cifar10")
    assert class_names(config)[:3] == ("airplane", "automobile", "bird")
    assert '"classes"' not in config.to_json()
    assert class_names(config.model_copy(update={"num_classes": 9})) == ()


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "b"), ("a", "b", "c", "d")])
def test_every_class_has_one_name(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="3 classes have as many different names, or none"):
        ModelConfig(backbone=Backbone(name="resnet18"), num_classes=3, dataset="imagefolder", classes=names)
    with pytest.raises(DataError, match="expected 3 different names, or none"):
        dataset(images([0], shades_of(3)), 3, names)


def test_a_part_of_a_network_still_has_its_layers() -> None:
    net = build("sdnet18", num_classes=5, width=4)
    part = Selected(net, [1, 3])
    assert part(torch.rand(2, 3, 16, 16)).shape == (2, 2)
    assert csc_layers(part) == csc_layers(net)
    assert isinstance(chain_of(part)[1][0], CSCConv2d)


def test_an_export_keeps_all_classes(tmp_path: Path, runtime: Runtime) -> None:
    names = tuple(IDS[:5])
    backbone = Backbone(name="resnet18", options={"width": 2})
    config = ModelConfig(backbone=backbone, num_classes=5, dataset="imagefolder", classes=names)
    made = write_model(
        tmp_path / "mine", Origin(source="x", revision="y"), config, build("resnet18", num_classes=5, width=2)
    )
    for part in ("train", "val"):
        for name in names[1:3]:
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for at in range(2):
                Image.new("RGB", (70, 70), (40 * at,) * 3).save(folder / f"{at}.png")
    bench = Workbench.open("mine", tmp_path, tmp_path / "data", runtime, Progress())
    copy = export(bench, tmp_path / "out" / "mine")
    assert copy.model.config.classes == made.config.classes == names
    (path,) = weight_files(tmp_path / "out" / "mine")
    assert load_file(path)["classifier.bias"].shape == (5,)
