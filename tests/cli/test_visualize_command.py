"""`sdnet-bench visualize` from end to end on the small networks: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from typer.testing import CliRunner, Result

from sdnet_bench.cli.app import app


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["visualize", *words])


def rows(*words: str) -> list[dict[str, Any]]:
    """What a command prints with --json: nothing but JSON."""
    result = call(*words, "--json", "--device", "cpu")
    assert result.exception is None, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(name: str) -> set[str]:
    return {f"sdnet18-tiny-{name}.{kind}" for kind in ("png", "svg", "csv")}


def test_examples_of_a_page_are_kept_in_the_run(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdnet_bench.report.scenes.full_grid", lambda *_: [0.1, 0.5])
    assert rows("examples", "sdnet18-tiny") == [{"images": 4, "scenes": 25, "lambdas": 2}]
    assert (at / "runs" / "sdnet18-tiny" / "examples.json").exists()


def test_the_dictionary_of_the_model_trained_last(at: Path) -> None:
    assert rows("dictionary") == [{"layer": 1, "atoms": 4, "shown": 4, "height": 3, "width": 3}]
    assert written(at / "report") == files("dictionary")
    assert len(pandas.read_csv(at / "report/sdnet18-tiny-dictionary.csv")) == 4 * 3 * 3 * 3
    assert rows("dictionary", "--atoms", "2")[0]["shown"] == 2


def test_features_of_five_images_by_default(at: Path) -> None:
    found = rows("features", "sdnet18-tiny", "--output", "there")
    assert [(row["image"], row["layer"]) for row in found] == [(image, 1) for image in range(5)]
    names = files("features") | files("features-stretched")
    assert written(at / "there") == names - {"sdnet18-tiny-features-stretched.csv"}
    frame = pandas.read_csv(at / "there/sdnet18-tiny-features.csv")
    pandas.testing.assert_frame_equal(frame, pandas.DataFrame(found), rtol=1e-12)


def test_features_of_images_layers_and_lambda_of_ones_choice(at: Path) -> None:
    found = rows("features", "--images", "9, 2,9", "--layers", "1", "--lambda", "1000000")
    assert [row["image"] for row in found] == [9, 2]
    assert [row["relative_error"] for row in found] == pytest.approx([1, 1])


def test_sparsity_is_a_share_of_each_layer(at: Path) -> None:
    (row,) = rows("sparsity", "--limit", "30")
    assert (row["layer"], row["values"]) == (1, 30 * 4 * 32 * 32)
    assert row["share_of_zeros"] == row["zeros"] / row["values"]
    assert written(at / "report") == files("sparsity")
    (none,) = rows("sparsity", "--limit", "30", "--lambda", "1000000")
    assert none["share_of_zeros"] == 1


def test_stdout_is_a_table_and_stderr_says_what_was_written(at: Path) -> None:
    result = call("dictionary", "--device", "cpu")
    header, row = result.stdout.splitlines()
    assert (header.split(), row.split()) == (["layer", "atoms", "shown", "height", "width"], ["1", "4", "4", "3", "3"])
    told = ", ".join(f"report/sdnet18-tiny-dictionary.{kind}" for kind in ("png", "svg", "csv"))
    assert result.stderr == f"written: {told}\n"


@pytest.mark.parametrize("command", ["dictionary", "features", "sparsity"])
def test_every_picture_explains_itself(command: str) -> None:
    text = call(command, "--help").stdout
    assert "Figure" in text
    assert "--output" in text
