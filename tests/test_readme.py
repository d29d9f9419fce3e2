"""README and the pages behind it: their numbers are those of the records, their commands those of the package."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pandas
import pytest
import torch
from found import there
from torch.utils.flop_counter import FlopCounterMode

from sdnet_bench import load_model
from sdnet_bench.audit.render import overview, read_audits
from sdnet_bench.backbones import build
from sdnet_bench.cli.app import app
from sdnet_bench.config import MODELS, Recipe
from sdnet_bench.csc import csc_layers
from sdnet_bench.paper.adaptation import ADAPTATION
from sdnet_bench.paper.attacks import TABLE4
from sdnet_bench.paper.iterations import TABLE5
from sdnet_bench.paper.render import grid
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.tables import build_tables
from sdnet_bench.records import NOISES, Record
from sdnet_bench.records.statistics import Value
from sdnet_bench.report.card import inference, summary

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def block(text: str, name: str) -> str:
    """What stands between two marks of that name."""
    _, rest = text.split(f"<!-- {name} -->\n")
    return rest.split(f"<!-- /{name} -->\n")[0].strip()


def read(*names: str, runs: Path) -> list[Results]:
    return [Results.read(MODELS / name, runs) for name in names]


def test_the_table_of_results_is_that_of_the_records(tmp_path: Path) -> None:
    """Line by line, without the script that prints it."""
    resnet, sdnet = read("resnet18-cifar10", "sdnet18-cifar10", runs=tmp_path)
    lines = [[cell.strip() for cell in line.split("|")] for line in block(page("README.md"), "results").splitlines()]
    found = [(subject, here) for _, _, subject, _, here, _ in lines[2:]]
    levels = range(1, 6)

    def shown(values: Iterable[Value | Record | None], digits: int = 1) -> str:
        numbers = (100 * each.accuracy if isinstance(each, Record) else there(each).value for each in values)
        return " ".join(f"{number:.{digits}f}" for number in numbers)

    adaptive = [there(sdnet.adaptive("gaussian", level)) for level in levels]
    tuned = "SDNet-18, tuned lambda, attacked at "
    assert found == [
        ("ResNet-18", shown([resnet.clean()], 2)),
        ("SDNet-18", shown([sdnet.clean()], 2)),
        ("ResNet-18", shown(resnet.given("gaussian", level) for level in levels)),
        ("SDNet-18, lambda 0.1", shown(sdnet.given("gaussian", level) for level in levels)),
        ("SDNet-18, Algorithm 1", shown(adaptive)),
        ("lambda that it chose", " ".join(f"{each.inference.lambda_:.2f}" for each in adaptive)),
        ("ResNet-18", shown(map(resnet.mean, NOISES))),
        ("SDNet-18, lambda 0.1", shown(map(sdnet.mean, NOISES))),
        ("SDNet-18, Algorithm 1", shown(sdnet.mean(noise, adaptive=True) for noise in NOISES)),
        ("ResNet-18", shown(each.value("transfer", "trained") for each in resnet.robustness.values())),
        ("SDNet-18, lambda 0.1", shown(each.value("transfer", "trained") for each in sdnet.robustness.values())),
        (f"{tuned}lambda 0.1", shown(each.value("transfer", "tuned") for each in sdnet.robustness.values())),
        (f"{tuned}that lambda", shown(each.value("matched", "tuned") for each in sdnet.robustness.values())),
    ]


def test_the_table_of_small_networks_is_that_of_the_records(tmp_path: Path) -> None:
    shipped = read("resnet18-cifar10-small", "sdnet18-cifar10-small", "sdnet18_all-cifar10-small", runs=tmp_path)
    assert block(page("benchmarks/README.md"), "small") == summary(shipped)


def test_the_table_of_robust_inference_is_that_of_the_records(tmp_path: Path) -> None:
    assert block(page("docs/inference.md"), "inference") == inference(read("sdnet18-cifar10", runs=tmp_path))


def test_table_5_is_that_of_the_records(tmp_path: Path) -> None:
    tables = build_tables(read("sdnet18-cifar10", runs=tmp_path), [TABLE5])
    assert block(page("docs/inference.md"), "table5") == grid(tables[0])


def test_the_table_of_adaptations_is_that_of_the_records(tmp_path: Path) -> None:
    tables = build_tables(read("resnet18-cifar10", "sdnet18-cifar10", runs=tmp_path), [ADAPTATION])
    assert block(page("docs/adaptation.md"), "adaptation") == grid(tables[0])


def test_table_4_is_that_of_the_records(tmp_path: Path) -> None:
    shipped = read("resnet18-cifar10", "sdnet18-cifar10", runs=tmp_path)
    assert block(page("docs/attacks.md"), "table4") == grid(build_tables(shipped, [TABLE4])[0])


def test_the_audit_is_that_of_its_file() -> None:
    assert block(page("docs/attacks.md"), "audit") == overview(read_audits(MODELS / "sdnet18-cifar10"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("README.md", "headline results"),
        ("docs/attacks.md", "headline l2"),
        ("benchmarks/README.md", "seeds"),
        ("benchmarks/README.md", "suite"),
        ("docs/networks.md", "networks quarter"),
        ("docs/networks.md", "networks full"),
        ("docs/networks.md", "networks full-float32"),
        ("docs/attacks.md", "minimum_norm"),
        ("docs/scale.md", "scale steps"),
        ("docs/scale.md", "scale imagenet"),
        ("docs/scale.md", "scale imagenet_c"),
    ],
)
def test_a_table_is_what_its_script_prints(
    file: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = name.split()
    monkeypatch.setattr("sys.argv", words)
    runpy.run_path(str(ROOT / "benchmarks" / f"{words[0]}.py"), run_name="__main__")
    assert block(page(file), words[-1]) == capsys.readouterr().out.strip()


def test_the_share_of_zeros_is_that_of_its_measurement() -> None:
    measured = pandas.read_csv(MODELS / "sdnet18-cifar10" / "sparsity.csv")
    zeros = measured[(measured.low == 0) & (measured.high == 0)]["count"].sum()
    assert f"{100 * zeros / measured['count'].sum():.1f} % are exact zeros" in page("docs/networks.md")


def test_the_multiply_adds_are_those_of_the_networks() -> None:
    def multiply_adds(name: str) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
            build(name, num_classes=10).eval()(torch.zeros(1, 3, 32, 32))
        return counter.get_total_flops()

    ratio = f"{multiply_adds('sdnet18_all') / multiply_adds('resnet18'):.2f}"
    assert f"takes {ratio} times the multiply-adds of ResNet-18" in page("docs/networks.md")


def test_the_share_of_copies_is_that_of_the_dictionary() -> None:
    atoms = csc_layers(load_model("sdnet18-cifar10").net)[0].dictionary.detach().flatten(1)
    cosines = torch.nn.functional.normalize(atoms) @ torch.nn.functional.normalize(atoms).T
    copies = int((cosines.fill_diagonal_(0).max(1).values > 0.999).sum())
    assert f"Of its {len(atoms)}\natoms, {copies} are copies of another one" in page("docs/networks.md")


@pytest.mark.parametrize("command", ["pip install -e . && sdnet-bench demo", 'pip install -e ".[dev]" && pytest'])
def test_the_two_commands_stand_near_the_top(command: str) -> None:
    assert command in "\n".join(page("README.md").splitlines()[:60])


def test_the_recipe_that_is_shown_has_the_usual_optimiser_and_schedule() -> None:
    (text,) = re.findall("```toml\n(.*?)```", page("docs/path.md"), re.DOTALL)
    shown = Recipe.parse({"name": "mine", **tomllib.loads(text)}, "docs/path.md")
    needed = shown.model_dump(include={"name", "dataset", "epochs", "batch_size", "backbone"})
    assert shown == Recipe.parse(needed, "the same without them")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", page(name))
    here = [target for target, _ in links if target and not target.startswith("http")]
    assert [target for target in here if not (ROOT / name).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_command_that_is_shown_is_there(name: str) -> None:
    shown = set(re.findall(r"^sdnet-bench ([a-z-]+)", page(name), re.MULTILINE))
    assert shown <= {command.name for command in (*app.registered_commands, *app.registered_groups)}
