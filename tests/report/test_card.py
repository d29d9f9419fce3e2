"""The model card: front matter that programs read, a table that is the records', commands that exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData

from sdnet_bench.backbones import count_parameters
from sdnet_bench.config import ORIGIN, Backbone, ModelConfig, Origin
from sdnet_bench.paper.results import Results
from sdnet_bench.records import DEFAULT_EPS, Record, Threat, read_results
from sdnet_bench.report.card import card, count, summary, write_card
from sdnet_bench.studies.accuracy import measure_corrupted
from sdnet_bench.studies.adversarial import run_attack
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.checkpoint import build_net


def read(bench: Workbench) -> Results:
    return Results.read(bench.folder, bench.folder.parent)


def columns(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


@pytest.fixture
def measured(measured_once: Callable[[str, Callable[[Workbench], None]], Workbench]) -> Workbench:
    """With Gaussian noise and both attacks on record."""

    def measure(bench: Workbench) -> None:
        images = bench.images("test", 40)
        measure_corrupted(bench, images, ["gaussian"])
        for norm, eps in DEFAULT_EPS.items():
            run_attack(bench, attack_setting(Threat(norm, eps), steps=2), images, ("transfer", "matched"), [0.1, 0.5])

    return measured_once("card", measure)


def front_matter(text: str) -> ModelCardData:
    """As the Hub reads it."""
    return ModelCard(text).data


def sections(text: str) -> dict[str, str]:
    """What stands under each heading of a card."""
    parts = text.split("\n## ")[1:]
    return {part.split("\n")[0]: part.partition("\n")[2] for part in parts}


def test_the_hub_reads_library_task_data_and_tags(sdnet: Workbench, resnet: Workbench) -> None:
    data = front_matter(card(sdnet.folder, read(sdnet)))
    assert (data.library_name, data.pipeline_tag, data.datasets) == ("sdnet-bench", "image-classification", ["digits"])
    assert data.tags == ["sdnet18", "robustness", "sparse-coding"]
    assert front_matter(card(resnet.folder, read(resnet))).tags == ["resnet18", "robustness"]


def test_the_hub_reads_the_clean_accuracy_of_all_test_images(sdnet: Workbench) -> None:
    (result,) = front_matter(card(sdnet.folder, read(sdnet))).eval_results or []
    assert (result.dataset_name, result.dataset_split, result.metric_type) == ("digits", "test", "accuracy")
    assert result.metric_value == round(sdnet.store[sdnet.cell(sdnet.images("test"))].accuracy, 4)


def test_accuracy_on_some_of_the_test_images_is_not_told_to_the_hub(sdnet: Workbench) -> None:
    results = read(sdnet)
    (clean,) = (record for record in results.records if record.cell == sdnet.cell(sdnet.images("test")))
    some = clean.model_copy(update={"cell": sdnet.cell(clean.images.model_copy(update={"limit": 40}))})
    data = front_matter(card(sdnet.folder, replace(results, records=(some,))))
    assert (data.eval_results, data.metrics) == (None, ["accuracy"])


def test_a_card_counts_parameters(sdnet: Workbench) -> None:
    assert f"sdnet18 on digits, {count_parameters(sdnet.model.net):,} parameters." in card(sdnet.folder, read(sdnet))


@pytest.mark.parametrize(
    "backbone", ["sdnet18", "sdnet18_all", "resnet18", "scn18", "mdeq_tiny", "torchvision:resnet18"]
)
def test_parameters_are_counted_without_a_network(backbone: str) -> None:
    options = {} if ":" in backbone else {"width": 4}
    config = ModelConfig(backbone=Backbone(name=backbone, options=options), num_classes=7, dataset="digits")
    assert count(config) == count_parameters(build_net(config))


def test_the_table_of_a_card_is_that_of_its_records(measured: Workbench) -> None:
    results = read(measured)
    assert summary([results]) in card(measured.folder, results)


def test_a_card_says_how_the_model_was_trained(sdnet: Workbench) -> None:
    recipe = sdnet.folder / "recipe.toml"
    recipe.write_text(re.sub(r"weights = .*\n", "", recipe.read_text()))
    text = card(sdnet.folder, read(sdnet))
    assert "# sdnet18-tiny" in text
    assert "1 epoch in batches of 32, with seed 0." in text


def test_a_card_says_what_training_started_from(sdnet: Workbench) -> None:
    recipe = sdnet.folder / "recipe.toml"
    recipe.write_text(f"limit = 200\n{recipe.read_text()}")
    start = "seed 0, on 200 training images, starting from the weights `sha256 f0106911b22fc990f54dfecc63b18862"
    assert start in card(sdnet.folder, read(sdnet))


def test_a_card_says_that_a_model_was_not_trained_here(sdnet: Workbench) -> None:
    (sdnet.folder / "recipe.toml").unlink()
    origin = Origin(source="model_best.pth.tar", revision="9f8e")
    (sdnet.folder / ORIGIN).write_text(origin.model_dump_json())
    text = card(sdnet.folder, read(sdnet))
    assert "It was not trained here: it comes from `model_best.pth.tar`, revision `9f8e`." in text
    assert "- How it was trained is not on record." in text
    assert "recipe.toml" not in text


def test_a_model_of_which_nothing_is_on_record_has_an_honest_card(sdnet: Workbench) -> None:
    text = card(sdnet.folder, replace(read(sdnet), records=()))
    assert "None yet: nothing has been measured." in text
    assert list(sections(text)) == ["Results", "Use"]


def test_a_card_describes_the_threats_of_its_records(measured: Workbench) -> None:
    lines = sections(card(measured.folder, read(measured)))["Threat models"]
    assert "- linf 8/255: pgd, 2 steps of 0.0392, 1 random start(s), 40 test images, float32; union" in lines
    assert re.search(
        r"- l2 0\.5: pgd, .*; union at lambda 0\.1 of pgd \(matched\); union at lambda 0\.\d of pgd", lines
    )


def test_a_card_without_attacks_has_no_threats(sdnet: Workbench) -> None:
    found = sections(card(sdnet.folder, read(sdnet)))
    assert "Threat models" not in found
    assert "- Not attacked under linf 8/255 and l2 0.5." in found["Limits"]


def test_a_card_names_its_limits(measured: Workbench) -> None:
    lines = sections(card(measured.folder, read(measured)))["Limits"].splitlines()
    assert lines[1:9] == [
        "- Width 4 instead of 64.",
        "- One training with one seed: intervals are over test images, not over trainings.",
        "- Handwritten digits show what the commands do, not what the paper claims.",
        "- Noises: 40 test images in float32, made here with seed 0; no files of a -C archive.",
        "- Not measured at every severity: shot, speckle, impulse.",
        "- Corruptions that are no noises: none was measured.",
        "- linf 8/255 and l2 0.5: no AutoAttack, and stronger attacks can only lower the union.",
        "- linf 8/255 and l2 0.5: lambda was tuned on 40 validation images.",
    ]


def test_every_figure_that_is_there_is_shown(sdnet: Workbench) -> None:
    (sdnet.folder / "figure2.png").touch()
    text = card(sdnet.folder, read(sdnet))
    assert re.findall(r"!\[.*\]\((.*)\)", text) == ["figure2.png"]


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
    accuracy = 100 * sdnet.store[sdnet.cell(sdnet.images("test"))].accuracy
    assert f"| {accuracy:.1f} [" in summary([read(sdnet)])


def test_publishing_writes_card_and_results(sdnet: Workbench) -> None:
    results = read(sdnet)
    write_card(sdnet.folder, results)
    assert (sdnet.folder / "README.md").read_text(encoding="utf-8") == card(sdnet.folder, results)
    assert read_results(sdnet.folder) == list(results.records)


def test_publishing_twice_changes_nothing(measured: Workbench) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in measured.folder.iterdir()}

    write_card(measured.folder, read(measured))
    before = files()
    write_card(measured.folder, read(measured))
    assert files() == before


def test_a_recipe_that_was_not_run_has_an_honest_card(runs: Path) -> None:
    folder = runs / "sdnet18-tiny"
    for name in ("model.safetensors", "records.jsonl"):
        (folder / name).unlink()
    text = card(folder, Results.read(folder, runs))
    assert "None yet: this recipe has not been run." in text
    assert "sdnet-bench train sdnet18-tiny" in text
    assert "| model |" not in text


def test_a_card_says_which_machines_measured_what(measured: Workbench) -> None:
    lines = sections(card(measured.folder, read(measured)))["Provenance"].splitlines()
    kinds = [line.partition(":")[0] for line in lines if line]
    assert kinds == ["- Training", "- Accuracy without an attack", "- Accuracy under attack"]
    assert all(f"in float32, torch {torch.__version__}" in line for line in lines if line)


def test_float32_of_a_cuda_device_was_tf32_in_earlier_versions(measured: Workbench) -> None:
    def moved(record: Record, device: str, dropped: str = "ieee") -> Record:
        kept = {name: value for name, value in record.provenance.items() if name != dropped}
        return record.model_copy(update={"provenance": kept | {"device": device}})

    found = read(measured)
    for device, is_told in {"NVIDIA H200": True, "mps arm64": False, "cpu x86_64": False}.items():
        text = card(measured.folder, replace(found, records=tuple(moved(each, device) for each in found.records)))
        assert ("TF32" in text) is is_told
    now = replace(found, records=tuple(moved(each, "NVIDIA H200", "") for each in found.records))
    assert "TF32" not in card(measured.folder, now)
