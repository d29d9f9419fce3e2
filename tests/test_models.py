"""The folders of models/: data only, each consistent with itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from sdnet_bench.audit.render import read_audits, to_markdown
from sdnet_bench.audit.robustbench import model_info
from sdnet_bench.backbones import count_parameters
from sdnet_bench.config import MODELS, NOTES, ModelConfig, Recipe
from sdnet_bench.data import Dataset
from sdnet_bench.data.datasets import DATASETS
from sdnet_bench.paper.results import Results
from sdnet_bench.progress import Progress
from sdnet_bench.records import DEFAULT_EPS, read_results
from sdnet_bench.records.lambda_fit import FILE as FITS
from sdnet_bench.report.card import FIGURES, HUB_DATASETS, card, count
from sdnet_bench.report.examples import FILE as EXAMPLES, Examples
from sdnet_bench.zoo.checkpoint import read_model, skeleton
from sdnet_bench.zoo.initial import configure
from sdnet_bench.zoo.weights import INDEX, weight_files, weights_digest

FOLDERS = sorted(path for path in MODELS.iterdir() if path.is_dir())
IMAGENET = (1000, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Classes, mean and standard deviation: its images are needed to open it."""

AUDIT_FILES = [("audit", ".json"), ("audit", ".md"), ("robustbench", ".json")]

BEHIND = ("features.csv", "sparsity.csv", "examples.json")
"""Numbers behind figures that stand in no record, and the images of the page."""

every_model = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders of CIFAR without files: enough to be opened, and nothing is downloaded."""
    for name in ("cifar-10-batches-py", "cifar-100-python"):
        (tmp_path / name).mkdir()
    return tmp_path


def describe(name: str, data: Path) -> Dataset:
    if name == "imagenet":
        return Dataset(name, *IMAGENET, family="imagenet", open=lambda which: pytest.fail(f"opened {which}"))
    return DATASETS[name](data, Progress())


def text_of(folder: Path) -> str:
    """Its card."""
    return (folder / "README.md").read_text(encoding="utf-8")


def test_nothing_but_folders_of_models_is_there() -> None:
    assert [path.name for path in MODELS.iterdir() if path not in FOLDERS] == []


@every_model
def test_a_model_is_data_only(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    audits = {f"{name}-{norm}{kind}" for norm in DEFAULT_EPS for name, kind in AUDIT_FILES}
    weights = {path.name for path in weight_files(folder)}
    expected = {"recipe.toml", "README.md", "config.json", "results.json"}
    assert names - weights - {INDEX, FITS, NOTES, "history.csv", *BEHIND, *FIGURES} - audits == expected


@every_model
def test_examples_are_of_these_weights_and_small(folder: Path) -> None:
    if (folder / EXAMPLES).exists():
        found = Examples.read([folder], ModelConfig.read(folder).weights_sha256)
        assert found is not None
        assert found.dataset == ModelConfig.read(folder).dataset
        assert (folder / EXAMPLES).stat().st_size < 500_000


@every_model
def test_an_audit_is_of_these_weights(folder: Path) -> None:
    for audit in read_audits(folder):
        assert (audit.model, audit.weights) == (folder.name, ModelConfig.read(folder).weights_sha256)
        assert (folder / f"audit-{audit.norm}.md").read_text(encoding="utf-8") == to_markdown(audit)
        assert json.loads((folder / f"robustbench-{audit.norm}.json").read_text(encoding="utf-8")) == model_info(audit)


@every_model
def test_the_configuration_is_what_the_recipe_says(folder: Path, data: Path) -> None:
    recipe, config = Recipe.read(folder / "recipe.toml"), ModelConfig.read(folder)
    expected = configure(recipe.backbone, describe(recipe.dataset, data))
    assert config.model_copy(update={"weights_sha256": None}) == ModelConfig.model_validate_json(expected.to_json())


@every_model
def test_the_configuration_builds(folder: Path) -> None:
    config = ModelConfig.read(folder)
    assert skeleton(config).classifier.out_features == config.num_classes  # type: ignore[union-attr]


@every_model
def test_the_card_is_that_of_the_records(folder: Path, tmp_path: Path) -> None:
    assert text_of(folder) == card(folder, Results.read(folder, tmp_path))


@every_model
def test_the_hub_can_read_the_card(folder: Path, tmp_path: Path) -> None:
    data, recipe = ModelCard(text_of(folder)).data, Recipe.read(folder / "recipe.toml")
    assert (data.library_name, data.pipeline_tag) == ("sdnet-bench", "image-classification")
    assert data.datasets == [HUB_DATASETS.get(recipe.dataset, recipe.dataset)]
    told = [result.metric_value for result in data.eval_results or []]
    clean = Results.read(folder, tmp_path).given(None, None)
    assert told == ([round(clean.accuracy, 4)] if clean else [])


@every_model
def test_the_card_counts_the_parameters(folder: Path) -> None:
    (told,) = re.findall(r"([\d,]+) parameters\.", text_of(folder))
    assert told == f"{count(ModelConfig.read(folder)):,}"


@every_model
def test_what_the_card_links_to_is_there(folder: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", text_of(folder))
    assert "recipe.toml" in links
    assert [link for link in links if not (folder / link).is_file()] == []


@every_model
def test_every_figure_is_shown(folder: Path) -> None:
    shown = re.findall(r"!\[.+\]\(([^)]+)\)", text_of(folder))
    assert {*shown} == {path.name for path in folder.glob("*.png")}


@every_model
def test_weights_and_results_belong_together(folder: Path) -> None:
    config, records, files = ModelConfig.read(folder), read_results(folder), weight_files(folder)
    if files:
        digest = weights_digest(files)
        assert config.weights_sha256 == digest
        assert records != []
        assert {record.cell.weights for record in records} == {digest}
        assert {record.model for record in records} == {folder.name}
    else:
        assert config.weights_sha256 is None
        assert records == []


@every_model
def test_results_are_one_record_per_line_and_per_cell(folder: Path) -> None:
    first, *lines = (folder / "results.json").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line.rstrip(",")) for line in lines if line != "]"]
    keys = [record.cell.key for record in read_results(folder)]
    assert (first, len(found)) == ("[" if found else "[]", len(keys))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["resnet18-cifar10-small", "sdnet18-cifar10-small", "sdnet18_all-cifar10-small"])
def test_the_small_models_come_with_weights(name: str) -> None:
    model = read_model(MODELS / name)
    with torch.no_grad():
        assert model.net(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    kinds = {(record.cell.kind, record.cell.attack is not None) for record in read_results(MODELS / name)}
    assert kinds == {("training", False), ("accuracy", False), ("accuracy", True)}
    assert count(model.config) == count_parameters(model.net)
