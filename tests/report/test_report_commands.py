"""The commands of a card: typed again, they find everything on record."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from audits import an_audit
from typer.testing import CliRunner

from sdnet_bench.adaptations import setting_of
from sdnet_bench.audit import QUICK
from sdnet_bench.audit.render import read_audits
from sdnet_bench.cli.app import app
from sdnet_bench.config import MODELS, ORIGIN, Origin
from sdnet_bench.paper.results import Results
from sdnet_bench.records import MIXED, NOISES, RecordStore, Threat
from sdnet_bench.report.commands import audit_command, commands, commands_of
from sdnet_bench.studies.accuracy import measure_corrupted
from sdnet_bench.studies.adversarial import run_attack
from sdnet_bench.studies.algorithm1 import fit_lambda, measure_adaptive
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.workbench import Workbench


def of_card(bench: Workbench) -> list[str]:
    """Without the one that trains."""
    first, *rest = commands(bench.folder, Results.read(bench.folder, bench.folder.parent), [])
    assert first == "train recipe.toml"
    return rest


def keys(bench: Workbench) -> set[str]:
    """Of all cells on record."""
    return {record.cell.key for record in RecordStore.of_model(bench.folder, bench.folder)}


def type_again(command: str, runs: Path) -> None:
    precision = [] if command.startswith("attack") or "--precision" in command else ["--precision", "float32"]
    where = ["--runs-dir", str(runs), "--data-dir", str(runs / "data"), "--device", "cpu"]
    result = CliRunner().invoke(app, [*shlex.split(command, comments=True), *precision, *where])
    assert result.exception is None, result.exception


@pytest.fixture
def measured(measured_once: Callable[[str, Callable[[Workbench], None]], Workbench]) -> Workbench:
    """With noise at lambda 0.1 and by Algorithm 1, and attacked with budgets and lambdas of our own."""

    def measure(bench: Workbench) -> None:
        lambdas, threat, images = [0.1, 0.5], Threat("linf", 8 / 255), bench.images("test", 40)
        measure_corrupted(bench, images, ["gaussian"])
        fit = fit_lambda(bench, bench.images("train", 40), "gaussian", lambdas, levels=[0.1, 0.3])
        measure_adaptive(bench, bench.images("test"), [fit], [2, 4])
        run_attack(bench, attack_setting(threat, 2), images, ("transfer", "matched"), lambdas)
        run_attack(bench, attack_setting(threat, 3, name="apgd-ce"), images, lambdas=lambdas)

    return measured_once("commands", measure)


def test_commands_say_how_everything_was_measured(measured: Workbench) -> None:
    assert of_card(measured) == [
        "evaluate sdnet18-tiny --corruption gaussian --limit 40",
        "fit-lambda sdnet18-tiny --corruption gaussian --lambdas 0.1,0.5 --levels 0.1,0.3 --limit 40"
        "  # grid on 40 training images, seed 0",
        "evaluate sdnet18-tiny --corruption gaussian --lambda adaptive",
        "attack sdnet18-tiny --norm linf --steps 2 --protocol transfer,matched --lambdas 0.1,0.5 --limit 40",
        "attack sdnet18-tiny --norm linf --attack apgd-ce --steps 3 --lambdas 0.1,0.5 --limit 40",
    ]


def test_typed_again_they_find_everything_on_record(measured: Workbench) -> None:
    fits = Results.read(measured.folder, measured.folder.parent).fits
    measure_adaptive(measured, measured.images("test"), [*fits.values()], [1, 3, 5])
    known = keys(measured)
    for command in of_card(measured):
        type_again(command, measured.folder.parent)
    assert keys(measured) == known


def test_each_number_of_iterations_has_its_fit(measured: Workbench) -> None:
    four = measured.inference(steps=4)
    fit = fit_lambda(measured, measured.images("train", 20), "gaussian", [0.1, 0.5], levels=[0.1, 0.3], inference=four)
    measure_adaptive(measured, measured.images("test", 30), [fit], [2])
    again = [line.partition("  #")[0] for line in of_card(measured) if "fit-lambda" in line or "--study" in line]
    fit_again, grid = "fit-lambda sdnet18-tiny --corruption gaussian", "--lambdas 0.1,0.5 --levels 0.1,0.3"
    assert again == [
        f"{fit_again} {grid} --limit 40",
        f"{fit_again} --inference-steps 4 {grid} --limit 20",
        "evaluate sdnet18-tiny --study table5 --limit 30",
    ]


def test_adaptations_are_a_study_and_their_fits_commands(sdnet: Workbench, resnet: Workbench) -> None:
    for bench in (sdnet, resnet):
        images, bn = bench.images("test", 20), bench.inference(adaptation=setting_of("bn", 10))
        for inference in (bn, bench.inference()):
            measure_corrupted(bench, images, ["gaussian"], [3, MIXED], inference)
        measure_corrupted(bench, images, ["unknown"], [MIXED])
    under = sdnet.inference(adaptation=setting_of("bn", 10))
    train = sdnet.images("train", 20)
    fit_lambda(sdnet, train, "gaussian", [0.1, 0.5], levels=[0.1, 0.3], inference=under)
    assert of_card(sdnet) == [
        "evaluate sdnet18-tiny --corruption gaussian --limit 20",
        "fit-lambda sdnet18-tiny --corruption gaussian --adapt bn:prior=0 --batch-size 10"
        " --lambdas 0.1,0.5 --levels 0.1,0.3 --limit 20  # grid on 20 training images, seed 0",
        "evaluate sdnet18-tiny --study adaptation --limit 20",
    ]
    assert of_card(resnet) == [
        "evaluate resnet18-tiny --corruption gaussian --limit 20",
        "evaluate resnet18-tiny --study adaptation --limit 20",
    ]


def test_noises_that_were_measured_alike_are_one_command(resnet: Workbench) -> None:
    measure_corrupted(resnet, resnet.images("test", 40), [*NOISES, "contrast"], [3])
    assert of_card(resnet) == [
        "evaluate resnet18-tiny --corruption all --limit 40",
        "evaluate resnet18-tiny --corruption contrast --limit 40",
    ]


def test_noises_that_were_measured_apart_are_commands_of_their_own(resnet: Workbench) -> None:
    measure_corrupted(resnet, resnet.images("test", 40), NOISES[:2], [3])
    measure_corrupted(resnet, resnet.images("test", 20), NOISES[2:], [3])
    assert of_card(resnet) == [
        *(f"evaluate resnet18-tiny --corruption {noise} --limit 40" for noise in sorted(NOISES[:2])),
        *(f"evaluate resnet18-tiny --corruption {noise} --limit 20" for noise in sorted(NOISES[2:])),
    ]


def test_a_network_without_lambda_is_attacked_by_one_protocol(resnet: Workbench) -> None:
    run_attack(resnet, attack_setting(Threat("l2", 0.5)), resnet.images("test", 40))
    assert of_card(resnet) == ["attack resnet18-tiny --norm l2 --limit 40"]


def test_a_shipped_recipe_is_trained_by_its_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODELS / "sdnet18-digits", tmp_path / "sdnet18-digits"))
    results = Results.read(folder, tmp_path)
    assert commands(folder, results, []) == ["train sdnet18-digits"]
    recipe = (folder / "recipe.toml").read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text(f"seed = 5\n{recipe}", encoding="utf-8")
    assert commands(folder, results, []) == ["train recipe.toml"]


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("hf:somebody/nets", "models pull somebody/nets --revision 9f8e --name sdnet18-tiny"),
        ("sdnet18", "models add sdnet18 --name sdnet18-tiny --dataset digits --weights 9f8e"),
        ("model_best.pth.tar", "models convert model_best.pth.tar --as sdnet18 --name sdnet18-tiny"),
    ],
)
def test_a_model_from_elsewhere_is_brought_here(source: str, command: str, sdnet: Workbench) -> None:
    origin = Origin(source=source, revision="9f8e")
    (sdnet.folder / ORIGIN).write_text(origin.model_dump_json(), encoding="utf-8")
    assert commands(sdnet.folder, Results.read(sdnet.folder, sdnet.folder.parent), []) == [command]


def test_audits_come_last(tmp_path: Path) -> None:
    folder = MODELS / "resnet18-cifar10-small"
    found = commands(folder, Results.read(folder, tmp_path), read_audits(folder))
    assert found[0] == "train resnet18-cifar10-small"
    assert "evaluate resnet18-cifar10-small --corruption all" in found
    assert found[-2:] == [f"audit resnet18-cifar10-small --norm {norm} --limit 500" for norm in ("linf", "l2")]


def test_an_audit_at_another_radius_names_it() -> None:
    other = an_audit(eps=4 / 255, budget=QUICK)
    assert audit_command("mine", other) == "audit mine --norm linf --eps 4/255 --quick --limit 500 --seed 3"
    assert audit_command("mine", an_audit(seed=0)) == "audit mine --norm linf --limit 500"


def test_the_command_behind_a_figure_measures_its_records(measured: Workbench) -> None:
    """Each command alone, in a folder without records, makes the record that it is of."""
    fit = [*Results.read(measured.folder, measured.folder.parent).fits.values()]
    images, bn = measured.images("test", 20), measured.inference(adaptation=setting_of("bn", 10))
    measure_corrupted(measured, images, ["gaussian"], [3], bn)
    measure_corrupted(measured, images, ["shot"], [2], measured.inference(0.5))
    measure_adaptive(measured, images, fit, [2], per="image")
    store = RecordStore.of_model(measured.folder, measured.folder)
    scored = [record for record in store if record.images.split == "test" and record.cell.kind == "accuracy"]
    lines = {commands_of([record], 0.1)[0]: record.cell.key for record in scored}
    assert len(lines) > 15
    for command, key in lines.items():
        (measured.folder / RecordStore.FILE).unlink()
        type_again(command, measured.folder.parent)
        assert key in keys(measured), command


def test_records_of_one_figure_are_one_command(measured: Workbench) -> None:
    results = Results.read(measured.folder, measured.folder.parent)
    value = results.mean("gaussian")
    assert value is not None
    assert commands_of(value.records, 0.1) == [
        "evaluate sdnet18-tiny --corruption gaussian --precision float32 --limit 40"
    ]
