"""A finished run becomes a shipped model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdnet_bench.config import Recipe
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.paper.results import Results
from sdnet_bench.records import RecordStore, read_results
from sdnet_bench.report.card import write_card
from sdnet_bench.zoo.adopt import adopt
from sdnet_bench.zoo.checkpoint import read_model


@pytest.fixture
def run(runs: Path) -> Path:
    """A run with its card and the word of its author."""
    folder = runs / "sdnet18-tiny"
    (folder / "NOTES.md").write_text("Trained in a hurry.\n", encoding="utf-8")
    write_card(folder, Results.read(folder, runs))
    return folder


def test_a_shipped_model_is_the_run_with_its_records(run: Path, tmp_path: Path) -> None:
    shipped = adopt(run, tmp_path / "models")
    assert shipped == tmp_path / "models" / run.name
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(read_model(shipped).net(images), read_model(run).net(images))
    assert read_results(shipped) == [*RecordStore(run)]
    expected = {"README.md", "NOTES.md", "config.json", "history.csv", "recipe.toml", "results.json"}
    assert {path.name for path in shipped.iterdir()} == expected | {"model.safetensors"}


def test_the_author_is_quoted_on_the_card(run: Path, tmp_path: Path) -> None:
    assert "\nTrained in a hurry.\n" in (adopt(run, tmp_path) / "README.md").read_text(encoding="utf-8")


def test_a_recipe_that_lies_there_stays_as_it_is_written(run: Path, tmp_path: Path) -> None:
    written = "# by hand\n" + (run / "recipe.toml").read_text(encoding="utf-8")
    there = tmp_path / run.name
    there.mkdir()
    (there / "recipe.toml").write_text(written, encoding="utf-8")
    (there / "figure2.png").write_bytes(b"of another training")
    (there / "mine.txt").write_text("kept", encoding="utf-8")
    adopt(run, tmp_path)
    assert (there / "recipe.toml").read_text(encoding="utf-8") == written
    assert {"mine.txt", "model.safetensors"} <= {path.name for path in there.iterdir()}
    assert not (there / "figure2.png").exists()


def test_another_recipe_is_not_overwritten(run: Path, tmp_path: Path) -> None:
    there = adopt(run, tmp_path)
    text = (there / "recipe.toml").read_text(encoding="utf-8")
    (there / "recipe.toml").write_text(text.replace("epochs = 1", "epochs = 3"), encoding="utf-8")
    assert Recipe.read(there / "recipe.toml").epochs == 3
    with pytest.raises(UsageError, match="is another recipe than that of"):
        adopt(run, tmp_path)


def test_half_a_model_is_not_shipped(run: Path, tmp_path: Path) -> None:
    (run / "results.json").unlink()
    with pytest.raises(ModelError, match=r"is not complete, expected results\.json"):
        adopt(run, tmp_path / "models")
    assert not (tmp_path / "models").exists()
