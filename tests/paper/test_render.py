"""How tables look: everything that a table says, in Markdown and in CSV."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from sdnet_bench.errors import RecordError
from sdnet_bench.paper.render import markdown_table, signed, to_csv, to_markdown, write_tables
from sdnet_bench.paper.tables import Entry, Table
from sdnet_bench.records.statistics import Value, show

FILL = "sdnet-bench attack mine --norm l2"
TABLE = Table(
    "table4",
    "Table 4: robust accuracy (%) under PGD",
    "digits",
    "cifar10",
    (
        Entry("SDNet-18", "linf", 35.18, "mine", Value(40.0, 37.0, 43.0, 1000), FILL),
        Entry("SDNet-18", "l2", 62.8, "mine", None, FILL),
        Entry("ResNet-18", "linf", 0.01, None, None, "sdnet-bench train resnet18-digits"),
        Entry("ResNet-18", "l2", None, None, None, "sdnet-bench train resnet18-digits"),
        Entry("SCN", "linf", 1.0, None, None, None),
        Entry("SCN", "l2", 2.0, None, None, None),
    ),
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def lines() -> list[list[str]]:
    return [cells(line) for line in to_markdown(TABLE).splitlines() if line.startswith("|")]


def test_markdown_has_the_papers_row_ours_and_the_difference(lines: list[list[str]]) -> None:
    assert lines[0] == ["", "", "linf", "l2"]
    assert lines[2] == ["SDNet-18", "paper", "35.18", "62.8"]
    assert lines[3] == ["", "mine", "40.0 [37.0, 43.0]", "— [1]"]
    assert lines[4] == ["", "difference", "+4.82", ""]


@pytest.mark.parametrize(
    ("difference", "shown"),
    [(4.82, "+4.82"), (-27.17, "-27.17"), (-1e-14, "+0.00"), (-0.004, "+0.00"), (1234.4, "+1,234")],
)
def test_a_difference_that_rounds_to_nothing_has_no_minus(difference: float, shown: str) -> None:
    assert signed(difference) == shown


def test_markdown_has_as_many_cells_in_every_line(lines: list[list[str]]) -> None:
    assert {len(line) for line in lines} == {4}


def test_markdown_says_what_fills_the_gaps() -> None:
    text = to_markdown(TABLE)
    assert f"To fill the gaps: [1] `{FILL}`, [2] `sdnet-bench train resnet18-digits`" in text
    assert "| — [2] | — [2] |" in text


def test_markdown_says_what_cannot_be_filled_and_whose_images_these_are() -> None:
    text = to_markdown(TABLE)
    assert "There is no recipe for these yet: SCN." in text
    assert "Ours on digits. The published figures are those of cifar10." in text


def test_where_nothing_of_the_paper_has_a_recipe_none_is_missed() -> None:
    entries = tuple(replace(entry, ours=None, command=None) for entry in TABLE.entries)
    assert "no recipe" not in to_markdown(replace(TABLE, entries=entries))


def test_a_number_that_the_paper_lacks_is_a_dash(lines: list[list[str]]) -> None:
    assert ["ResNet-18", "paper", "0.01", "—"] in lines


def test_csv_reads_back() -> None:
    frame = pandas.read_csv(io.StringIO(to_csv(TABLE)))
    assert len(frame) == 6
    first = frame.iloc[0]
    assert (first["row"], first["column"], first["model"]) == ("SDNet-18", "linf", "mine")
    assert first[["paper", "ours", "low", "high", "n"]].tolist() == [35.18, 40.0, 37.0, 43.0, 1000]
    assert first["difference"] == pytest.approx(4.82)
    assert pandas.isna(first["command"])
    assert frame["command"].iloc[1] == FILL
    assert frame["ours"].isna().tolist() == [False] + [True] * 5


def test_csv_of_a_table_without_any_of_ours_reads_back() -> None:
    empty = Table("table1", "t", "digits", "cifar10", TABLE.entries[2:])
    frame = pandas.read_csv(io.StringIO(to_csv(empty)))
    assert frame["paper"].tolist()[:1] == [0.01]
    assert frame["n"].isna().all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (Value(74.25, 73.31, 75.08, 10_000), "74.2 [73.3, 75.1]"),
        (Value(0.0, 0.0, 0.4, 1000), "0.0 [0.0, 0.4]"),
        (Value(11.173962), "11.2"),
        (Value(1234.5), "1,234"),
        (Value(0.6), "0.6"),
    ],
)
def test_values_are_shown_with_their_interval(value: Value | None, text: str) -> None:
    assert show(value) == text


def test_a_pipe_table_has_a_rule_below_its_header() -> None:
    assert markdown_table(["a", "b", "c"], [["1", "2", "3"]]).splitlines() == [
        "| a | b | c |",
        "| --- | --- | ---: |",
        "| 1 | 2 | 3 |",
    ]


def test_each_table_becomes_a_file_of_each_format(tmp_path: Path) -> None:
    written = write_tables([TABLE], tmp_path / "new" / "report", ["csv", "md"])
    assert [path.name for path in written] == ["digits-table4.csv", "digits-table4.md"]
    assert written[0].read_text(encoding="utf-8") == to_csv(TABLE)
    assert written[1].read_text(encoding="utf-8") == to_markdown(TABLE)
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == [path.name for path in written]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write .*Name another folder"):
        write_tables([TABLE], tmp_path / "file" / "report", ["csv"])
