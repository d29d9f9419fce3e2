"""Recipes and model configurations: what is shipped parses, what is wrong gets one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sdnet_bench.config import (
    FIELDS,
    MODELS,
    ORIGIN,
    SGD,
    Adam,
    Backbone,
    Cosine,
    ModelConfig,
    MultiStep,
    OneCycle,
    Origin,
    Recipe,
)
from sdnet_bench.errors import ModelError, UsageError

SHIPPED = sorted(MODELS.glob("*/recipe.toml"))
GOOD = """
dataset = "digits"
epochs = 3
batch_size = 16
backbone = {name = "sdnet18", options = {width = 8}}
"""


def write(folder: Path, content: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe.read(write(tmp_path, GOOD))


def test_recipes_are_shipped() -> None:
    backbones = ("resnet18", "resnet34", "sdnet18", "sdnet34")
    expected = {f"{name}-{data}" for name in backbones for data in ("digits", "cifar10", "cifar100", "imagenet")}
    assert expected | {"resnet18-cifar10-small", "sdnet18-cifar10-small"} <= {path.parent.name for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_a_shipped_recipe_is_named_after_its_folder_which_says_backbone_and_data(path: Path) -> None:
    recipe = Recipe.read(path)
    assert recipe.name == path.parent.name
    assert recipe.name.removesuffix("-small") == f"{recipe.backbone.name}-{recipe.dataset}"


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "sdnet18", "sdnet34"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_cifar_recipes_are_those_of_the_paper(backbone: str, dataset: str) -> None:
    recipe = Recipe.read(MODELS / f"{backbone}-{dataset}" / "recipe.toml")
    assert (recipe.epochs, recipe.batch_size, recipe.schedule) == (220, 128, Cosine())
    assert recipe.optimizer == SGD(lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "sdnet18", "sdnet34"])
def test_imagenet_recipes_are_those_of_the_paper(backbone: str) -> None:
    recipe = Recipe.read(MODELS / f"{backbone}-imagenet" / "recipe.toml")
    assert (recipe.epochs, recipe.batch_size) == (100, 512)
    assert recipe.schedule == MultiStep(name="multistep", milestones=(30, 60, 90), gamma=0.1)
    assert recipe.backbone.options["stem"] == "imagenet"


def test_a_recipe_says_what_it_was_told(recipe: Recipe) -> None:
    assert recipe == Recipe(
        name="mine", dataset="digits", epochs=3, batch_size=16, backbone=Backbone(name="sdnet18", options={"width": 8})
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_a_recipe_may_be_written_by_an_editor_of_windows(tmp_path: Path, encoding: str, line_break: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(GOOD.replace("\n", line_break).encode(encoding))
    assert Recipe.read(path).epochs == 3


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace("8", "0x" + 5000 * "f"),
        GOOD.replace("epochs = 3", "epochs = 0x" + 5000 * "f"),
        GOOD.replace("epochs = 3", "epochs = 1" + 5000 * "0"),
        GOOD.replace("width", ".".join(5000 * "a")),
        GOOD.replace("8", 3000 * "{a=" + "1" + 3000 * "}"),
        GOOD + "\0",
        "\udcff",
    ],
    ids=["hexadecimal option", "hexadecimal epochs", "decimal epochs", "dotted", "nested", "nul", "no text"],
)
def test_a_recipe_that_no_parser_survives_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=f"cannot read the recipe {path}: ") as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


def test_a_recipe_may_name_itself(tmp_path: Path) -> None:
    assert Recipe.read(write(tmp_path, 'name = "other"' + GOOD)).name == "other"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ('name = "cosine"', Cosine()),
        ('name = "onecycle"\nwarmup = 0.5', OneCycle(name="onecycle", warmup=0.5)),
        ('name = "multistep"\nmilestones = [1, 2]', MultiStep(name="multistep", milestones=(1, 2))),
    ],
)
def test_the_schedule_is_chosen_by_name(tmp_path: Path, schedule: str, expected: object) -> None:
    assert Recipe.read(write(tmp_path, f"{GOOD}[schedule]\n{schedule}")).schedule == expected


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("lr = 0.2", SGD(lr=0.2)),
        ('name = "sgd"\nnesterov = false', SGD(nesterov=False)),
        ('name = "adam"\nlr = 0.01', Adam(name="adam", lr=0.01)),
    ],
)
def test_the_optimizer_is_chosen_by_name_and_is_sgd_without_one(
    tmp_path: Path, optimizer: str, expected: object
) -> None:
    assert Recipe.read(write(tmp_path, f"{GOOD}[optimizer]\n{optimizer}")).optimizer == expected


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("epoch = 3" + GOOD, "epoch: extra inputs are not permitted, got 3"),
        (GOOD + "[optimizer]\nlearning_rate = 1.0", "optimizer.sgd.learning_rate: extra inputs"),
        (GOOD.replace("epochs = 3", ""), "epochs: field required"),
        (GOOD.replace("epochs = 3", "epochs = 0"), "epochs: input should be greater than 0, got 0"),
        (GOOD.replace("epochs = 3", 'epochs = "many"'), "epochs: input should be a valid integer"),
        (GOOD.replace("epochs = 3", "epochs = 2.5"), "epochs: input should be a valid integer"),
        (GOOD.replace("batch_size = 16", "batch_size = -1"), "batch_size: input should be greater than 0"),
        (GOOD.replace('name = "sdnet18"', "name = 18"), "backbone.name: input should be a valid string"),
        (GOOD + "[optimizer]\nlr = 0", "optimizer.sgd.lr: input should be greater than 0"),
        (GOOD + "[optimizer]\nlr = nan", "optimizer.sgd.lr: "),
        (GOOD + "[optimizer]\nmomentum = 1.0", "optimizer.sgd.momentum: input should be less than 1"),
        (GOOD + '[optimizer]\nname = "sdg"', "optimizer: there are sgd and adam, got .*sdg"),
        (GOOD + '[optimizer]\nname = "adam"\nmomentum = 0.9', "optimizer.adam.momentum: extra inputs"),
        (GOOD + '[schedule]\nname = "cosin"', "schedule: .*'cosin'"),
        (GOOD + '[schedule]\nname = "multistep"', "schedule.multistep.milestones: field required"),
        (GOOD + '[schedule]\nname = "onecycle"\nwarmup = 1.5', "schedule.onecycle.warmup: "),
        ('name = "../up"' + GOOD, "name: at most 200 letters, digits, dots"),
        ("seed = -1" + GOOD, "seed: input should be greater than or equal to 0"),
        ("limit = 0" + GOOD, "limit: input should be greater than 0"),
        (GOOD + "[optimizer]\nlr = inf", "optimizer.sgd.lr: input should be a finite number, got inf"),
        (GOOD + "[optimizer]\nlr = 1e300", "optimizer.sgd.lr: input should be less than or equal to 10*, got 1e.300"),
        (GOOD + "[optimizer]\nweight_decay = inf", "optimizer.sgd.weight_decay: input should be a finite number"),
        (GOOD + "[schedule]\nname = 'cosine'\nfinal_lr = 1e300", "schedule.cosine.final_lr: input should be less"),
        (GOOD.replace("epochs = 3", "epochs = 1" + 30 * "0"), "epochs: input should be less than 2147483648"),
        (GOOD.replace("batch_size = 16", "batch_size = 1" + 30 * "0"), "batch_size: input should be less than"),
        (f"limit = 1{30 * '0'}" + GOOD, "limit: input should be less than"),
    ],
)
def test_a_fault_of_a_recipe_is_one_line_with_file_and_field(tmp_path: Path, content: str, field: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UsageError, match=f"{path}: {field}") as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["epochs 3", "[backbone", 'dataset = "digits', "epochs = 3\nepochs = 4"])
def test_broken_toml_is_one_line_with_its_place(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UsageError, match=rf"cannot read the recipe {path}: .*\(at ") as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the recipe .*none\.toml: .*No such file"):
        Recipe.read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"epochs": 7}, "epochs", 7),
        ({"epochs": None}, "epochs", 3),
        ({"seed": 0}, "seed", 0),
        ({"limit": 10}, "limit", 10),
        ({"backbone": {"name": "resnet18"}}, "backbone", Backbone(name="resnet18")),
    ],
)
def test_replace_changes_what_is_given(recipe: Recipe, changes: dict[str, Any], field: str, value: object) -> None:
    replaced = recipe.replace(**changes)
    assert getattr(replaced, field) == value
    assert replaced.model_copy(update={field: getattr(recipe, field)}) == recipe


def test_replace_checks_what_is_given(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match="options: epochs: input should be greater than 0, got 0"):
        recipe.replace(epochs=0)


def test_a_recipe_does_not_change(recipe: Recipe) -> None:
    with pytest.raises(ValidationError):
        recipe.epochs = 9  # type: ignore[misc]


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig(backbone=Backbone(name="sdnet18"), num_classes=10, dataset="digits", weights_sha256="ab")


def test_a_model_configuration_reads_back_as_it_was_written(tmp_path: Path, config: ModelConfig) -> None:
    (tmp_path / "config.json").write_text(config.to_json(), encoding="utf-8")
    assert ModelConfig.read(tmp_path) == config


def test_a_folder_without_a_configuration_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no model folder, expected config\.json in it"):
        ModelConfig.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", r"cannot read .*config\.json"),
        ("[]", r"config\.json: content: "),
        ("{}", r"config\.json: backbone: field required"),
        ('{"backbone": {"name": "x"}, "num_classes": 0, "dataset": "digits"}', r"config\.json: num_classes: "),
    ],
)
def test_a_damaged_configuration_is_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=complaint) as caught:
        ModelConfig.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "architecture", "slug"),
    [
        ("sdnet18", {"width": 8}, "sdnet18", "sdnet18"),
        ("resnet18", {"csc_stem": False}, "resnet18", "resnet18"),
        ("resnet18", {"csc_stem": {"steps": 4}}, "resnet18 with a CSC stem", "resnet18_csc"),
        (
            "torchvision:resnet18",
            {"csc_stem": True},
            "torchvision:resnet18 with a CSC stem",
            "torchvision-resnet18_csc",
        ),
        ("timm:resnet50.a1_in1k", {}, "timm:resnet50.a1_in1k", "timm-resnet50.a1_in1k"),
        ("of mine/nets.py:tiny", {}, "of mine/nets.py:tiny", "nets-tiny"),
    ],
)
def test_a_backbone_has_a_name_in_tables_and_one_in_files(
    name: str, options: dict[str, Any], architecture: str, slug: str
) -> None:
    backbone = Backbone(name=name, options=options)
    assert (backbone.architecture, backbone.slug) == (architecture, slug)
    assert Recipe(name=f"{slug}-digits", dataset="digits", backbone=backbone, epochs=1, batch_size=1).name


def test_the_origin_of_a_model_is_read_from_its_folder(tmp_path: Path) -> None:
    assert Origin.read(tmp_path) is None
    origin = Origin(source="timm:resnet18", revision="a1_in1k")
    (tmp_path / ORIGIN).write_text(origin.model_dump_json(), encoding="utf-8")
    assert Origin.read(tmp_path) == origin


@pytest.mark.parametrize("content", ["no json", '{"source": "x"}', '{"source": "x", "revision": "y", "more": 1}'])
def test_an_origin_that_says_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / ORIGIN).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"origin\.json: "):
        Origin.read(tmp_path)


def test_fields_are_set_by_their_names(recipe: Recipe) -> None:
    changed = recipe.set({"optimizer.lr": 0.05, "epochs": 7, "backbone.options.csc_stem.lambda_": 0.2, "seed": 1})
    assert changed.optimizer == SGD(lr=0.05)
    assert changed.backbone.options == {"width": 8, "csc_stem": {"lambda_": 0.2}}
    assert (changed.epochs, changed.seed, changed.batch_size) == (7, 1, recipe.batch_size)
    assert recipe.set({}) == recipe


def test_another_optimizer_or_schedule_brings_its_own_defaults(recipe: Recipe) -> None:
    changed = recipe.set({"schedule.milestones": [2, 3], "schedule.name": "multistep", "optimizer.name": "adam"})
    assert changed.optimizer == Adam(name="adam")
    assert changed.schedule == MultiStep(name="multistep", milestones=(2, 3))
    assert recipe.set({"optimizer.name": "sgd", "optimizer.momentum": 0.5}).optimizer == SGD(momentum=0.5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimizer.rate", 1, r"^unknown field of a recipe 'optimizer\.rate'\. Did you mean 'optimizer\."),
        ("optimiser.lr", 1, r"Did you mean 'optimizer\.lr'"),
        ("epoch", 1, r"Did you mean 'epochs'"),
        ("epochs.first", 1, r"^unknown field of a recipe 'epochs\.first'"),
        ("optimizer", "sgd", r"^unknown field of a recipe 'optimizer'"),
        ("optimizer.lr", -1, r"^options: optimizer\.sgd\.lr: input should be greater than 0, got -1$"),
        ("optimizer.name", "adma", r"^options: optimizer: there are sgd and adam, got "),
        ("schedule.warmup", 0.5, r"^options: schedule\.cosine\.warmup: extra inputs are not permitted, got 0\.5$"),
        ("epochs", "many", r"^options: epochs: input should be a valid integer"),
        ("name", "../up", r"^options: name: at most 200 letters"),
        ("backbone.options.width", 70000, r"^options: backbone\.options: a size is at most 65536"),
    ],
)
def test_what_cannot_be_set_is_one_line_with_its_name(recipe: Recipe, field: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe.set({field: value})


def test_every_field_of_every_recipe_can_be_set() -> None:
    for path in SHIPPED:
        content = Recipe.read(path).model_dump()
        fields = {
            f"{table}.{field}" for table in ("optimizer", "schedule") for field in content[table]
        } | content.keys() - {"backbone", "optimizer", "schedule"}
        assert fields <= {*FIELDS}
