"""The whole path on tiny networks, and models made ready to be published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sdnet_bench.config import Recipe
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import UsageError
from sdnet_bench.paper.iterations import TABLE5
from sdnet_bench.paper.reproduce import (
    DEMO_RECIPES,
    OTHER_RECIPES,
    PAPER_RECIPES,
    Experiment,
    demo_recipes,
    measure,
    paper_recipes,
    reproduce,
)
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.steps import StudySize
from sdnet_bench.paper.tables import build_tables
from sdnet_bench.records import NOISES
from sdnet_bench.studies.accuracy import measure_clean
from sdnet_bench.studies.export import export
from sdnet_bench.studies.training import find_recipe
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.weights import INDEX, WEIGHTS

TINY = Experiment(StudySize(10, 10, 3, 10, (0.1, 0.5), ["gaussian"]))


def test_the_whole_path_leaves_nothing_open_in_tables_two_to_five(
    runs: Path, runtime: Runtime, told: object, settled_recipes: dict[str, Recipe]
) -> None:
    steps = [(recipe, replace(TINY, studies=(*TINY.studies, TABLE5))) for recipe in settled_recipes.values()]
    benches = list(reproduce(steps, runs, runs / "data", runtime, told))  # type: ignore[arg-type]
    results = [Results.read(bench.model.folder, runs) for bench in benches]
    assert [bench.model.name for bench in benches] == ["sdnet18-tiny", "resnet18-tiny"]
    tables = {table.name: table for table in build_tables(results)}
    for name in ("table2", "table3", "table4", "table5"):
        mine = [entry for entry in tables[name].entries if entry.model]
        assert [entry for entry in mine if entry.command and entry.ours is None] == [], name


def test_the_whole_path_measures_the_exported_model(
    runs: Path, tmp_path: Path, runtime: Runtime, told: object, settled_recipes: dict[str, Recipe]
) -> None:
    recipe = settled_recipes["resnet18-tiny"]
    steps = [(recipe, TINY)]
    (bench,) = reproduce(steps, runs, runs / "data", runtime, told, published=tmp_path / "out")  # type: ignore[arg-type]
    assert bench.folder == tmp_path / "out" / "resnet18-tiny"
    kinds = {(record.cell.kind, record.cell.attack is not None) for record in bench.store}
    assert kinds == {("training", False), ("accuracy", False), ("accuracy", True)}
    before = len(bench.store)
    measure(bench, TINY)
    assert len(bench.store) == before


def test_an_export_is_rounded_split_and_measured_anew(
    open_bench: Callable[[str], Workbench], tmp_path: Path, told: object
) -> None:
    bench = open_bench("sdnet18-tiny")
    copy = export(bench, tmp_path / "out" / "sdnet18-tiny", shard="40KB")
    assert (copy.folder / INDEX).exists()
    assert not (copy.folder / WEIGHTS).exists()
    for name, parameter in copy.model.net.named_parameters():
        given = bench.model.net.get_parameter(name)
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, given.to(torch.bfloat16).float())
    assert copy.model.weights != bench.model.weights
    assert copy.model.trained_lambda == bench.model.trained_lambda
    assert {record.cell.kind for record in copy.store} == {"training", "accuracy"}
    assert all(record.cell.weights == copy.model.weights for record in copy.store)
    said = f"in bfloat16: clean accuracy {measure_clean(bench).accuracy:.2%} -> {measure_clean(copy).accuracy:.2%}"
    assert said in told.notes  # type: ignore[attr-defined]


def test_exporting_once_more_changes_nothing(sdnet: Workbench, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "sdnet18-tiny"
    first = export(sdnet, folder)
    content = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    again = export(sdnet, folder)
    assert again.model.weights == first.model.weights
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"} == content


def test_another_model_is_not_exported_over(sdnet: Workbench, resnet: Workbench, tmp_path: Path) -> None:
    export(resnet, tmp_path / "out")
    before = (tmp_path / "out" / "config.json").read_bytes()
    with pytest.raises(UsageError, match="out holds another model"):
        export(sdnet, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == before


def test_a_rehearsal_does_not_bar_the_way_of_the_real_thing() -> None:
    (real, whole), (rehearsal, part) = (
        paper_recipes(["sdnet18-cifar10"])[0],
        paper_recipes(["sdnet18-cifar10"], 1, 64)[0],
    )
    assert (real.name, real.epochs, whole.size.attacked) == ("sdnet18-cifar10", 220, 10_000)
    assert (rehearsal.name, rehearsal.epochs, rehearsal.limit) == ("rehearsal-sdnet18-cifar10", 1, 64)
    assert part.size == replace(whole.size, tested=64, swept=64, attacked=64, training_images=64)


def test_a_model_is_not_exported_onto_itself(sdnet: Workbench) -> None:
    with pytest.raises(UsageError, match="is the model itself"):
        export(sdnet, sdnet.model.folder)


def test_every_recipe_of_a_path_is_shipped() -> None:
    for name in (*DEMO_RECIPES, *OTHER_RECIPES, *PAPER_RECIPES):
        assert find_recipe(name).name == name


def test_the_demo_shows_two_networks_or_all() -> None:
    two, every = demo_recipes(3, every=False), demo_recipes(3, every=True)
    assert [recipe.name for recipe, _ in two] == ["demo-resnet18-digits", "demo-sdnet18-digits"]
    assert len(every) == 10
    assert {recipe.seed for recipe, _ in every} == {3}
    assert set(two[1][1].size.swept_noises) <= set(NOISES)
