"""The README's first screen: its numbers are those of the records, its commands are those of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from sdnet_bench.config import MODELS
from sdnet_bench.report.audit import overview, read_audits
from sdnet_bench.report.card import inference, robustness, summary
from sdnet_bench.report.results import Results

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text(encoding="utf-8")


def block(text: str, name: str) -> str:
    _, rest = text.split(f"<!-- {name} -->\n")
    return rest.split(f"<!-- /{name} -->\n")[0].strip()


def read(*names: str, runs: Path) -> list[Results]:
    return [Results.read(MODELS / name, runs) for name in names]


def test_the_table_of_results_is_that_of_the_records(text: str, tmp_path: Path) -> None:
    shipped = read("resnet18-cifar10-small", "sdnet18-cifar10-small", "sdnet18_all-cifar10-small", runs=tmp_path)
    assert block(text, "results") == summary(shipped)


def test_the_table_of_robust_inference_is_that_of_the_records(text: str, tmp_path: Path) -> None:
    assert block(text, "inference") == inference(read("sdnet18-cifar10-small", runs=tmp_path))


def test_table_4_is_that_of_the_records(text: str, tmp_path: Path) -> None:
    shipped = read("resnet18-cifar10-small", "sdnet18-cifar10-small", runs=tmp_path)
    assert block(text, "table4") == robustness(shipped)


def test_the_audit_is_that_of_its_file(text: str) -> None:
    assert block(text, "audit") == overview(read_audits(MODELS / "sdnet18-cifar10-small"))


def test_the_table_of_seeds_is_that_of_its_records(text: str) -> None:
    command = [sys.executable, README.with_name("benchmarks") / "seeds.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert block((README.with_name("benchmarks") / "README.md").read_text(encoding="utf-8"), "seeds") == printed.strip()


def test_the_share_of_zeros_is_that_of_its_measurement(text: str) -> None:
    measured = pandas.read_csv(MODELS / "sdnet18-cifar10-small" / "sparsity.csv")
    zeros = measured[(measured.low == 0) & (measured.high == 0)]["count"].sum()
    assert f"{100 * zeros / measured['count'].sum():.1f} % are exact zeros" in text


def test_the_table_of_networks_is_that_of_its_measurement(text: str) -> None:
    command = [sys.executable, README.with_name("benchmarks") / "networks.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert block(text, "networks") == printed.strip()


@pytest.mark.parametrize("command", ["pip install -e . && sdnet-bench demo", 'pip install -e ".[dev]" && pytest'])
def test_the_two_commands_stand_near_the_top(text: str, command: str) -> None:
    assert command in "\n".join(text.splitlines()[:60])
