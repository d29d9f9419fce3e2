"""The model card: front matter that programs read, a table that is the records', commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdnet_bench.attacks import DEFAULT_EPS, Threat
from sdnet_bench.records import read_results
from sdnet_bench.report.card import card, publish, summary
from sdnet_bench.report.results import Results
from sdnet_bench.studies.accuracy import measure_corrupted
from sdnet_bench.studies.adversarial import attack_setting, run_attack
from sdnet_bench.studies.workbench import Workbench


def read(bench: Workbench) -> Results:
    return Results.read(bench.folder, bench.folder.parent)


def columns(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


@pytest.fixture
def measured(sdnet: Workbench) -> Workbench:
    """With Gaussian noise and both attacks on record."""
    measure_corrupted(sdnet, ["gaussian"], limit=40)
    for norm, eps in DEFAULT_EPS.items():
        run_attack(sdnet, attack_setting(Threat(norm, eps), steps=2), ("transfer", "matched"), [0.1, 0.5], limit=40)
    return sdnet


def test_the_front_matter_names_library_task_data_and_backbone(sdnet: Workbench) -> None:
    _, front, _ = card(sdnet.folder, read(sdnet)).split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert fields["library_name"] == "sdnet-bench"
    assert fields["pipeline_tag"] == "image-classification"
    assert fields["datasets"] == "[digits]"
    assert "sdnet18" in fields["tags"]


def test_the_table_of_a_card_is_that_of_its_records(measured: Workbench) -> None:
    results = read(measured)
    assert summary([results]) in card(measured.folder, results)


def test_a_card_says_how_the_model_was_trained(sdnet: Workbench) -> None:
    text = card(sdnet.folder, read(sdnet))
    assert "# sdnet18-tiny" in text
    assert "2 epochs in batches of 32, seed 0" in text


def test_a_summary_has_a_line_per_way_of_choosing_lambda(measured: Workbench, resnet: Workbench) -> None:
    header, _, *lines = columns(summary([read(resnet), read(measured)]))
    assert header[:4] == ["model", "lambda", "clean", "gaussian"]
    assert {len(line) for line in lines} == {len(header)}
    assert [line[0] for line in lines] == ["resnet18-tiny"] + ["sdnet18-tiny"] * (len(lines) - 1)
    assert [line[1] for line in lines][:2] == ["—", "0.1"]
    assert len(lines) >= 3


def test_a_summary_has_numbers_where_there_are_records_and_dashes_where_not(measured: Workbench) -> None:
    header, _, fixed, *_ = columns(summary([read(measured)]))
    shown = dict(zip(header, fixed, strict=True))
    number = re.compile(r"\d+\.\d \[\d+\.\d, \d+\.\d\]")
    for name in ("clean", "gaussian", "linf 8/255 transfer", "linf 8/255 matched", "l2 0.5 union"):
        assert number.fullmatch(shown[name]), name
    assert shown["shot"] == shown["impulse"] == "—"


def test_a_summary_shows_the_clean_accuracy_of_the_records(sdnet: Workbench) -> None:
    accuracy = 100 * sdnet.store[sdnet.cell("test")].accuracy
    assert f"| {accuracy:.1f} [" in summary([read(sdnet)])


def test_publishing_writes_card_and_results(sdnet: Workbench) -> None:
    results = read(sdnet)
    publish(sdnet.folder, results)
    assert (sdnet.folder / "README.md").read_text(encoding="utf-8") == card(sdnet.folder, results)
    assert read_results(sdnet.folder) == list(results.records)


def test_publishing_twice_changes_nothing(measured: Workbench) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in measured.folder.iterdir()}

    publish(measured.folder, read(measured))
    before = files()
    publish(measured.folder, read(measured))
    assert files() == before


def test_a_recipe_that_was_not_run_has_an_honest_card(runs: Path) -> None:
    folder = runs / "sdnet18-tiny"
    for name in ("model.safetensors", "records.jsonl"):
        (folder / name).unlink()
    text = card(folder, Results.read(folder, runs))
    assert "None yet: this recipe has not been run." in text
    assert "sdnet-bench train sdnet18-tiny" in text
    assert "| model |" not in text
