"""The README's first screen: its numbers are those of the records, its commands are those of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdnet_bench.config import MODELS
from sdnet_bench.report.card import summary
from sdnet_bench.report.results import Results

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text(encoding="utf-8")


def test_the_table_of_results_is_that_of_the_records(text: str, tmp_path: Path) -> None:
    names = ("resnet18-cifar10-small", "sdnet18-cifar10-small")
    expected = summary([Results.read(MODELS / name, tmp_path) for name in names])
    _, rest = text.split("<!-- results -->\n")
    table, _ = rest.split("<!-- /results -->\n")
    assert table.strip() == expected


@pytest.mark.parametrize("command", ["pip install -e . && sdnet-bench demo", 'pip install -e ".[dev]" && pytest'])
def test_the_two_commands_stand_near_the_top(text: str, command: str) -> None:
    assert command in "\n".join(text.splitlines()[:60])
