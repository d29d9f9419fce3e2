"""The paper's main figures beside ours, in one table."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdnet_bench.config import MODELS
from sdnet_bench.paper.results import Results
from sdnet_bench.report.headline import LINES, budgets, headline

NAMES = ("resnet18-cifar10", "sdnet18-cifar10")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """The networks of the paper, as they are shipped."""
    return [Results.read(MODELS / name, tmp_path_factory.mktemp("runs")) for name in NAMES]


def rows(table: str) -> dict[str, list[str]]:
    """The cells of a table's lines after the subject, by the subject and how often it has stood before."""
    found: dict[str, list[str]] = {}
    for line in table.splitlines()[2:]:
        _, _, subject, *cells, _ = (cell.strip() for cell in line.split("|"))
        found[f"{subject} {sum(name.rpartition(' ')[0] == subject for name in found)}"] = cells
    return found


def test_every_line_is_one_of_the_paper() -> None:
    for line in LINES:
        assert line.row in {row.name for row in line.table.published.rows}
        assert set(line.columns or ()) <= set(line.table.published.columns)


def test_figures_of_both_stand_side_by_side(shipped: list[Results]) -> None:
    found, (resnet, sdnet) = rows(headline(shipped)), shipped
    clean = [f"{model.clean().value:.2f}" for model in shipped]  # type: ignore[union-attr]
    assert [found["ResNet-18 0"], found["SDNet-18 0"]] == [["95.54", clean[0]], ["95.2", clean[1]]]
    assert found["SDNet-18, Algorithm 1 0"][0] == "84.76 74.87 61.38 54.77 48.84"
    noisy = [100 * sdnet.adaptive("gaussian", severity).accuracy for severity in range(1, 6)]  # type: ignore[union-attr]
    assert found["SDNet-18, Algorithm 1 0"][1] == " ".join(f"{value:.1f}" for value in noisy)
    transferred = [each.value("transfer", "trained").value for each in resnet.robustness.values()]  # type: ignore[union-attr]
    assert found["ResNet-18 3"][1] == " ".join(f"{value:.1f}" for value in transferred)


def test_what_was_not_measured_is_left_open(shipped: list[Results]) -> None:
    found = rows(headline(shipped[:1]))
    assert found["SDNet-18 0"] == ["95.2", "—"]


def test_the_l2_column_stands_beside_another_budget(shipped: list[Results], tmp_path: Path) -> None:
    lines = {
        line[0]: line[1:]
        for line in ([cell.strip() for cell in row.split("|")][1:-1] for row in budgets(shipped).splitlines()[2:])
    }
    assert [cells[0] for cells in lines.values()] == ["29.47", "29.95", "62.8"]
    assert all(cells[1] != "—" for cells in lines.values())
