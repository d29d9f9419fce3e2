"""From a recipe to a model folder: records of training, and folders that are never left half-made."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from sdnet_bench.backbones import Published, count_parameters
from sdnet_bench.config import ORIGIN, STATE, Origin, Recipe
from sdnet_bench.data import open_dataset
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.engine.train import train as engine_train
from sdnet_bench.errors import DataError, InterruptError, RecordError, TrainingError, UnknownNameError, UsageError
from sdnet_bench.progress import Progress
from sdnet_bench.records import RecordStore
from sdnet_bench.studies.training import train_model, with_backbone
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.checkpoint import build_net
from sdnet_bench.zoo.initial import configure


@pytest.fixture
def small(tiny_recipes: dict[str, Recipe]) -> Recipe:
    return with_backbone(tiny_recipes["resnet18-tiny"].replace(name="small", limit=64), None, width=2)


@pytest.fixture
def sparse(tiny_recipes: dict[str, Recipe]) -> Recipe:
    """Of an SDNet."""
    return with_backbone(tiny_recipes["sdnet18-tiny"].replace(name="small", limit=64), None, width=2)


@pytest.fixture
def train(tmp_path: Path, runtime: Runtime, told: Progress) -> Any:
    def run(recipe: Recipe, progress: Progress = told, **options: bool) -> Workbench:
        return train_model(recipe, tmp_path / "runs", tmp_path / "data", runtime, progress, **options)

    return run


def test_training_leaves_two_records(sdnet: Workbench, settled_recipes: dict[str, Recipe]) -> None:
    kinds = [record.cell.kind for record in sdnet.store]
    assert kinds == ["training", "accuracy"]
    training = next(iter(sdnet.store))
    assert training.n == 1237
    assert training.metrics["parameters"] == count_parameters(sdnet.model.net)
    assert training.metrics["epochs"] == settled_recipes["sdnet18-tiny"].epochs
    assert training.metrics["images_per_second"] > 0
    assert training.metrics["peak_memory"] > 1e6
    assert training.provenance["seed"] == 0


def test_an_unfinished_run_is_not_touched_unless_asked(train: Any, small: Recipe) -> None:
    with pytest.raises(InterruptError):
        train(small, CtrlC())
    with pytest.raises(UsageError, match=r"is there already, and unfinished\. Go on with --resume, replace it with"):
        train(small)


def test_a_run_of_another_recipe_is_not_touched(train: Any, small: Recipe) -> None:
    weights = train(small).model.weights
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"was trained by another recipe\. Replace it with --overwrite, or"):
            train(small.replace(seed=1), resume=resume)
    assert train(small).model.weights == weights


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_is_taken_as_it_is(train: Any, small: Recipe, told: Any, resume: bool) -> None:
    first = train(small)
    told.notes.clear()
    again = train(small, resume=resume)
    assert again.model.weights == first.model.weights
    assert told.notes == [f"{first.folder} is trained already; --overwrite trains it anew"]


def test_overwriting_replaces_a_run(train: Any, small: Recipe) -> None:
    old = train(small)
    new = train(small.replace(seed=1), overwrite=True)
    assert new.model.weights != old.model.weights
    assert {record.cell.weights for record in new.store} == {new.model.weights}


def test_overwriting_nothing_is_training(train: Any, small: Recipe) -> None:
    assert train(small, overwrite=True).model.name == "small"


class CtrlC(Progress):
    def note(self, text: str) -> None:
        if text.startswith("epoch 1/"):
            raise InterruptError("interrupted")


def test_an_interrupted_run_goes_on(train: Any, sparse: Recipe) -> None:
    with pytest.raises(InterruptError):
        train(sparse, CtrlC())
    resumed = train(sparse, resume=True)
    assert resumed.model.weights == train(sparse.replace(name="twin")).model.weights
    assert [record.cell.kind for record in resumed.store] == ["training", "accuracy"]


def test_a_run_that_broke_off_before_its_record_gets_it_when_resumed(
    train: Any, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(*_: object) -> None:
        raise InterruptError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "append", power_cut)
        with pytest.raises(InterruptError):
            train(small)
    assert [record.cell.kind for record in train(small, resume=True).store] == ["training", "accuracy"]


WRONG = {
    "backbone": (UnknownNameError, {"backbone": {"name": "sdnet19"}}),
    "option": (UsageError, {"backbone": {"name": "sdnet18", "options": {"depth": 3}}}),
    "data set": (UnknownNameError, {"dataset": "digit"}),
    "images": (DataError, {"dataset": "imagefolder"}),
    "size": (UsageError, {"backbone": {"name": "torchvision:inception_v3"}}),
    "weights": (UsageError, {"weights": "pretrained"}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_recipe_that_cannot_be_run_leaves_nothing_behind_and_overwrites_nothing(
    train: Any, small: Recipe, tmp_path: Path, wrong: str
) -> None:
    error, change = WRONG[wrong]
    with pytest.raises(error):
        train(small.replace(**change))
    assert not (tmp_path / "runs" / "small").exists()
    good = train(small)
    with pytest.raises(error):
        train(small.replace(**change), overwrite=True)
    assert train(small, resume=True).model.weights == good.model.weights


HEADLESS = """\
from torch import nn


def features(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Pair(nn.Sequential):
    def forward(self, image):
        return image, super().forward(image)


def pair(num_classes):
    return Pair(nn.Conv2d(3, 4, 3))
"""


UNTRAINABLE = """\
from torch import nn


class Odd(nn.Sequential):
    def forward(self, image):
        logits = super().forward(image)
        return self.seen(logits) if self.training else logits


def plain(num_classes, seen=lambda logits: logits, norm=nn.Identity()):
    net = Odd(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), norm, nn.Flatten(), nn.Linear(4, num_classes))
    net.seen = seen
    return net


def pair(num_classes):
    return plain(num_classes, lambda logits: (logits, logits))


def named(num_classes):
    return plain(num_classes, lambda logits: {"logits": logits})


def frozen(num_classes):
    return plain(num_classes).requires_grad_(False)


def broken(num_classes):
    return plain(num_classes, lambda logits: logits.no_such_thing)


def normal(num_classes):
    return plain(num_classes, norm=nn.BatchNorm2d(4))


def lazy(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(num_classes))


def shared(num_classes):
    block = nn.Conv2d(4, 4, 3, padding=1)
    head = nn.Linear(4, num_classes)
    return nn.Sequential(nn.Conv2d(3, 4, 3), block, block, block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
"""


@pytest.mark.parametrize(
    ("function", "limit", "words"),
    [
        ("pair", 64, r"makes no logits in training, expected \(2, 10\), got tuple"),
        ("named", 64, r"makes no logits in training, expected \(2, 10\), got dict"),
        ("frozen", 64, "has nothing to train, expected logits with a gradient"),
        (
            "broken",
            64,
            "takes no images of 32x32 in training, 2 at once: 'Tensor' object has no attribute 'no_such_thing'",
        ),
        ("normal", 1, "takes no images of 32x32 in training, 1 at once: Expected more than 1 value per channel"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_file_is_touched(
    train: Any, small: Recipe, tmp_path: Path, function: str, limit: int, words: str
) -> None:
    (tmp_path / "nets.py").write_text(UNTRAINABLE, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"nets\.py:{function} {words}"):
        train(small.replace(backbone={"name": f"{tmp_path}/nets.py:{function}"}, limit=limit))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("function", ["lazy", "shared"])
def test_lazy_layers_and_shared_weights_are_trained_saved_and_read_back(
    train: Any, small: Recipe, tmp_path: Path, function: str
) -> None:
    (tmp_path / "nets.py").write_text(UNTRAINABLE, encoding="utf-8")
    odd = small.replace(backbone={"name": f"{tmp_path}/nets.py:{function}"})
    with pytest.raises(InterruptError):
        train(odd, CtrlC())
    bench = train(odd, resume=True)
    weights = load_file(bench.folder / "model.safetensors")
    names = dict(bench.model.net.named_parameters())  # a shared one under its first name
    assert {name for name, _ in bench.model.net.named_buffers()} | names.keys() == weights.keys()
    assert all(torch.equal(weights[name], parameter) for name, parameter in names.items())


def test_training_goes_on_from_shared_weights(train: Any, small: Recipe, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(UNTRAINABLE, encoding="utf-8")
    odd = small.replace(backbone={"name": f"{tmp_path}/nets.py:shared"})
    first = train(odd)
    again = odd.replace(name="again", weights=str(first.folder / "model.safetensors"), optimizer={"lr": 1e-12})
    ours = dict(train(again).model.net.named_parameters())
    torch.testing.assert_close(ours, dict(first.model.net.named_parameters()))


def test_the_rehearsal_leaves_no_trace(train: Any, sparse: Recipe, tmp_path: Path, runtime: Runtime) -> None:
    dataset = open_dataset("digits", tmp_path)
    torch.manual_seed(sparse.seed)
    net = build_net(configure(sparse.backbone, dataset))
    unrehearsed = engine_train(sparse, net, dataset, tmp_path / "plain", runtime, Progress(), resume=False).net
    rehearsed = train(sparse).model.net.state_dict()
    assert all(torch.equal(tensor, rehearsed[name]) for name, tensor in unrehearsed.state_dict().items())


def test_a_run_is_trained_by_one_process_at_a_time(train: Any, small: Recipe, tmp_path: Path) -> None:
    class Second(Progress):
        """In the middle of the first training, asks for another in each of the ways."""

        def note(self, text: str) -> None:
            if text.startswith("epoch 1/"):
                for options in ({}, {"resume": True}, {"overwrite": True}):
                    with pytest.raises(UsageError, match=r"another process trains .*small\. Wait until it has ended"):
                        train(small, **options)

    bench = train(small, Second())
    assert [record.cell.kind for record in bench.store] == ["training", "accuracy"]
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == ["small"]
    assert train(small, overwrite=True).model.weights == bench.model.weights


def test_a_training_that_died_before_its_state_was_removed_is_recorded_once(
    train: Any, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == STATE:
            raise InterruptError("power cut")
        unlink(path, missing_ok=missing_ok)

    unlink = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", power_cut)
        with pytest.raises(InterruptError):
            train(small)
    bench = train(small, resume=True)
    lines = (bench.folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("function", "got"), [("features", r"got \(1, 4\)"), ("pair", "got tuple")], ids=["features", "pair"]
)
def test_a_network_that_makes_no_logits_is_refused(
    train: Any, small: Recipe, tmp_path: Path, function: str, got: str
) -> None:
    (tmp_path / "nets.py").write_text(HEADLESS, encoding="utf-8")
    backbone = {"name": f"{tmp_path}/nets.py:{function}"}
    with pytest.raises(UsageError, match=rf"nets\.py:{function} makes no logits, expected \(1, 10\), {got}"):
        train(small.replace(backbone=backbone))
    assert not (tmp_path / "runs" / "small").exists()


def test_what_weights_want_of_the_network_holds_in_training_too(
    train: Any, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = timm.create_model("test_vit", img_size=32).state_dict()
    given = Published("of 32 pixels", {"mean": (0.1,) * 3, "std": (0.2,) * 3, "img_size": 32}, lambda: weights)
    monkeypatch.setattr("sdnet_bench.zoo.initial.published", lambda *_: given)
    trained = train(small.replace(backbone={"name": "timm:test_vit"}, weights="pretrained", epochs=1))
    assert trained.model.config.backbone.options == {"mean": [0.1] * 3, "std": [0.2] * 3, "img_size": 32}
    assert next(iter(trained.store)).provenance["started_from"] == "of 32 pixels"


COUNTED = """\
from pathlib import Path
from torch import nn


def counted(num_classes):
    with Path(__file__).with_name("built.txt").open("a") as file:
        file.write("built ")
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


def test_a_network_is_built_twice_to_train_it_and_to_read_it_back(train: Any, small: Recipe, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(COUNTED, encoding="utf-8")
    train(small.replace(backbone={"name": f"{tmp_path}/nets.py:counted"}, epochs=1))
    assert (tmp_path / "built.txt").read_text() == "built built "


def test_a_model_from_elsewhere_is_not_trained_on_but_replaced(train: Any, small: Recipe) -> None:
    folder = train(small).folder
    (folder / "recipe.toml").rename(folder / "was.toml")
    origin = Origin(source="timm:test_resnet", revision="r160_in1k")
    (folder / ORIGIN).write_text(origin.model_dump_json(), encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"small was not trained here\. Choose another --name, or replace it"):
            train(small, resume=resume)
    train(small, overwrite=True)
    assert not (folder / ORIGIN).exists()


@pytest.mark.parametrize(
    ("name", "width", "csc_stem", "run", "options"),
    [
        (None, 2, False, "sdnet18-tiny", {"width": 2}),
        ("resnet34", None, False, "resnet34-tiny", {"width": 4}),
        ("resnet18", None, True, "resnet18_csc-tiny", {"width": 4, "csc_stem": True}),
        ("torchvision:resnet18", None, True, "torchvision-resnet18_csc-tiny", {"csc_stem": True}),
        ("lib/nets.py:tiny", None, False, "nets-tiny-tiny", {}),
    ],
)
def test_another_network_gives_a_recipe_its_name_and_keeps_what_it_takes(
    tiny_recipes: dict[str, Recipe], name: str | None, width: int | None, csc_stem: bool, run: str, options: Any
) -> None:
    recipe = with_backbone(tiny_recipes["sdnet18-tiny"], name, width, csc_stem=csc_stem)
    assert (recipe.name, recipe.backbone.options) == (run, options)


def test_damaged_data_leave_nothing_behind(train: Any, small: Recipe, tmp_path: Path) -> None:
    (tmp_path / "data" / "cifar-10-batches-py").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot read .*cifar-10-batches-py"):
        train(small.replace(dataset="cifar10"))
    assert not (tmp_path / "runs" / "small").exists()


def test_a_diverged_run_makes_no_model(train: Any, small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        train(small.replace(optimizer={"lr": 1e30}, schedule={"name": "cosine"}))
    assert not (tmp_path / "runs" / "small" / "model.safetensors").exists()
    assert not (tmp_path / "runs" / "small" / "config.json").exists()


def test_a_folder_that_cannot_be_written_is_one_line(
    small: Recipe, tmp_path: Path, runtime: Runtime, told: Any
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write .*Name another folder"):
        train_model(small, tmp_path / "file" / "runs", tmp_path, runtime, told)
    assert told.notes == []


def test_a_finished_run_of_other_classes_is_not_the_one_that_is_wanted(
    train: Any, small: Recipe, tmp_path: Path
) -> None:
    """The recipe is the same: it does not say which classes the folder holds."""
    draw_colours(tmp_path / "data", "blue", "green")
    recipe = small.replace(dataset="imagefolder", epochs=1, backbone={"name": "resnet18", "options": {"width": 16}})
    assert train(recipe).model.config.classes == ("blue", "green")
    assert train(recipe).store.path.parent == tmp_path / "runs" / "small"
    draw_colours(tmp_path / "data", "aqua")
    with pytest.raises(UsageError, match=r"trained on other classes, .*blue, green\), got 3 .*aqua, .*--overwrite"):
        train(recipe)
    assert train(recipe, overwrite=True).model.config.classes == ("aqua", "blue", "green")


def draw_colours(root: Path, *names: str) -> None:
    for part, name in itertools.product(("train", "val"), names):
        (root / part / name).mkdir(parents=True)
        for at in range(4):
            Image.new("RGB", (64, 64), name).save(root / part / name / f"{at}.png")
