"""Other people's networks go the whole way of ours: trained, corrupted, swept, attacked and reported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import timm
from PIL import Image
from torchvision.models import WeightsEnum, get_model
from typer.testing import CliRunner

from sdnet_bench.cli.app import app
from sdnet_bench.config import Backbone, ModelConfig, Origin, Recipe
from sdnet_bench.errors import BenchError, ModelError, UsageError
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.tables import Entry, build_tables
from sdnet_bench.records import Cell, Images, Inference, Record

QUICK = ["--epochs", "1", "--limit", "48", "--batch-size", "16"]
CPU = ["--device", "cpu"]
ATTACK = ["--steps", "2", "--limit", "10", "--lambdas", "0.1,0.5"]
SMALLEST = "torchvision:shufflenet_v2_x0_5"


def call(*words: str) -> str:
    """What a command prints; it must succeed."""
    result = CliRunner().invoke(app, list(words))
    if result.exception:
        raise result.exception
    return result.stdout


def rows(*words: str) -> list[dict[str, Any]]:
    return json.loads(call(*words, "--json", *CPU))  # type: ignore[no-any-return]


WORDNET_IDS = ("n01440764", "n02102040", "n03888257")
"""A tench, a springer and a parachute: labels 0, 217 and 701 of ImageNet."""


def fill(root: Path, names: Sequence[str] = ("colour0", "colour1", "colour2")) -> None:
    """Images of 96x80, of three classes that differ in their colour."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 6)):
        for label, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 120, (80, 96, 3), dtype=np.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which commands run, with three classes of images in `images`, and three of ImageNet's in `data`."""
    folder, before = tmp_path_factory.mktemp("path"), Path.cwd()
    fill(folder / "images")
    fill(folder / "data" / "imagenet", WORDNET_IDS)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SDNET_BENCH_RUNS", "SDNET_BENCH_DATA"):
            patch.delenv(name, raising=False)
        os.chdir(folder)
        yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def trained(at: Path) -> list[str]:
    """On digits: a network of torchvision, and one of timm without and with a CSC-layer in its stem."""
    stem = ["--csc-stem"]
    call("train", "--backbone", SMALLEST, *QUICK, *CPU)
    for words in ([], stem):
        call("train", "--backbone", "timm:test_resnet", *words, *QUICK, *CPU)
    return ["torchvision-shufflenet_v2_x0_5-digits", "timm-test_resnet-digits", "timm-test_resnet_csc-digits"]


@pytest.fixture(scope="module")
def measured(trained: list[str]) -> list[str]:
    """The same, attacked and under noise."""
    for name in trained:
        call("attack", name, *ATTACK, *CPU)
        call("evaluate", name, "--corruption", "gaussian", "--limit", "10", *CPU)
    return trained


def test_training_names_the_run_after_the_network(trained: list[str], at: Path) -> None:
    for name in trained:
        assert Recipe.read(at / "runs" / name / "recipe.toml").name == name
    coded = ModelConfig.read(at / "runs" / trained[-1]).backbone
    assert coded.architecture == "timm:test_resnet with a CSC stem"
    assert coded.options["mean"] == [0.5] * 3


def test_a_csc_stem_is_swept(trained: list[str]) -> None:
    found = rows("sweep-lambda", trained[-1], "--severity", "3", "--lambdas", "0.1,0.5", "--limit", "10")
    assert [row["lambda_"] for row in found] == [0.1, 0.5]


def test_its_atoms_and_what_they_rebuild_are_drawn(trained: list[str], at: Path) -> None:
    for figure in ("dictionary", "features", "sparsity"):
        call("visualize", figure, trained[-1], "--output", f"drawn/{figure}", *CPU)
        assert list((at / "drawn" / figure).glob("*.png"))


def test_a_network_without_one_is_not(trained: list[str]) -> None:
    with pytest.raises(UsageError, match="CSC"):
        call("sweep-lambda", trained[0], "--severity", "3", "--limit", "10", *CPU)


def test_the_tables_have_their_rows(measured: list[str], at: Path) -> None:
    call("report", *measured, "--output", "there")
    clean = pandas.read_csv(at / "there" / "digits-table1.csv").query("column == 'Top-1 Acc (%)'")
    titles = [SMALLEST, "timm:test_resnet", "timm:test_resnet with a CSC stem"]
    assert all(float(clean.set_index("row").loc[title, "ours"]) > 0 for title in titles)
    noise = pandas.read_csv(at / "there" / "digits-table2.csv").set_index("row")
    assert noise.loc[SMALLEST, "ours"].notna().all()
    assert noise.loc["timm:test_resnet with a CSC stem w/ lambda = 0.1", "ours"].notna().all()
    attacks = pandas.read_csv(at / "there" / "digits-table4.csv").set_index("row")
    assert attacks.loc["timm:test_resnet with a CSC stem (after tuning lambda)", "ours"].notna().any()


def test_a_csc_stem_is_compared_with_the_same_network_without_one(measured: list[str], at: Path) -> None:
    found = [Results.read(at / "runs" / name, at / "runs") for name in measured]
    table = next(table for table in build_tables(found) if table.name == "table2")
    wanted = "timm:test_resnet with a CSC stem w/ lambda = 0.1"
    compared = [entry for entry in table.entries if entry.row == wanted]
    assert {entry.against for entry in compared} == {"timm:test_resnet"}
    assert all(entry.p is not None for entry in compared)


@pytest.mark.parametrize(
    ("backbone", "words", "name"),
    [
        (SMALLEST, ["--csc-stem"], "torchvision-shufflenet_v2_x0_5_csc-pictures"),
        ("timm:test_convnext", [], "timm-test_convnext-pictures"),
    ],
)
def test_a_folder_of_images_is_learned_attacked_and_reported(
    at: Path, backbone: str, words: list[str], name: str
) -> None:
    (at / "sdnet18-pictures.toml").write_text(
        'dataset = "imagefolder"\nepochs = 1\nbatch_size = 16\nbackbone = {name = "sdnet18"}\n', encoding="utf-8"
    )
    data = ["--data-dir", "images"]
    call("train", "sdnet18-pictures.toml", "--backbone", backbone, *words, *QUICK, *data, *CPU)
    assert len(rows("evaluate", name, "--corruption", "shot", "--limit", "6", *data)) == 5
    assert rows("attack", name, "--norm", "l2", "--protocol", "matched", *ATTACK, *data)
    assert Backbone.model_validate(ModelConfig.read(at / "runs" / name).backbone).architecture in call("report", name)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published weights are drawn here, as there is no network to fetch them from."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **rest: create(name, **rest))
    state = get_model("shufflenet_v2_x0_5").state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **_: state)


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("name", "revision"),
    [("timm:test_resnet", "r160_in1k"), (SMALLEST, "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1")],
)
def test_published_weights_are_measured_on_imagenet(at: Path, name: str, revision: str) -> None:
    run = name.replace(":", "-")
    (row,) = rows("evaluate", name)
    assert row["n"] == 18
    assert row["classes"].startswith("3 of 1000: ")
    folder = at / "runs" / run
    assert Origin.read(folder) == Origin(source=name, revision=revision)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert revision in text
    assert "Measured among 3 of 1000 classes alone" in text
    assert rows("attack", name, *ATTACK)[0]["n"] == 10
    table = pandas.read_csv(table_of(at, run)).query(f"row == '{name}'").set_index("column")
    assert table.loc["Top-1 Acc (%)", "ours"] == pytest.approx(row["accuracy"])
    with pytest.raises(UsageError, match=rf"runs/{run} was not trained here\. Choose another --name"):
        call("train", "--name", run, *QUICK, *CPU)


@pytest.mark.usefixtures("drawn")
def test_published_weights_are_not_measured_on_classes_of_other_names(at: Path) -> None:
    fill(at / "mine" / "imagenet")
    wrong = (
        r"other classes than imagenet, expected 1000 classes \(from label 0: n01440764, .*got 3 .*: colour0, colour1"
    )
    for command in ("evaluate", "attack", "audit"):
        with pytest.raises(ModelError, match=wrong):
            call(command, "timm:test_resnet", "--data-dir", "mine", *CPU)


def table_of(at: Path, model: str) -> Path:
    call("report", model, "--output", "imagenet")
    return at / "imagenet" / "imagenet-table1.csv"


@pytest.mark.parametrize("backbone", ["torchvision:vit_b_16", "torchvision:inception_v3"])
def test_a_network_for_other_images_is_one_line_and_leaves_nothing(at: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match="takes no images of 32x32: "):
        call("train", "--backbone", backbone, "--name", "wrong", *QUICK, *CPU)
    assert not (at / "runs" / "wrong").exists()


def test_a_csc_stem_that_has_no_place_leaves_nothing(at: Path) -> None:
    with pytest.raises(BenchError, match=r"conv1 has no CSC-layer of its shape"):
        call("train", "--backbone", "timm:test_nfnet", "--csc-stem", "--name", "wrong", *QUICK, *CPU)
    assert not (at / "runs" / "wrong").exists()


class TestPartners:
    """Whom a row is compared with, on records that are made up."""

    def results(self, backbone: Backbone, right: int, lambda_: float | None) -> Results:
        config = ModelConfig(backbone=backbone, num_classes=10, dataset="cifar10", weights_sha256="w")
        clean = Images(dataset="cifar10", split="test", digest="i", corruption="gaussian", level=1.0)
        noisy = [clean.model_copy(update={"severity": severity}) for severity in range(1, 6)]
        cells = [Cell(weights="w", images=images, inference=Inference(lambda_=lambda_)) for images in noisy]
        name = f"{backbone.slug}-cifar10"
        return Results(name, config, tuple(Record.of(name, cell, np.arange(100) < right) for cell in cells))

    def against(self, *models: Results) -> dict[str, Entry]:
        table = next(table for table in build_tables(models) if table.name == "table2")
        return {entry.row: entry for entry in table.entries if entry.column == "1"}

    @pytest.mark.parametrize(
        ("name", "partner", "against"),
        [
            ("timm:test_resnet", "timm:test_resnet", "timm:test_resnet"),
            ("timm:test_resnet", "resnet18", "ResNet-18"),
            ("resnet34", "resnet34", "ResNet-34"),
        ],
    )
    def test_with_a_csc_stem_and_without(self, name: str, partner: str, against: str) -> None:
        """Where the same network is not there it is compared with a ResNet."""
        coded = self.results(Backbone(name=name, options={"csc_stem": {"lambda_": 0.3}}), 70, 0.3)
        plain = self.results(Backbone(name=partner), 60, None)
        assert coded.trained_lambda == 0.3
        row = self.against(coded, plain)[f"{name} with a CSC stem w/ lambda = 0.1"]
        assert row.against == against
        assert row.p == pytest.approx(0.5**9)
