"""What measurements give back: figures, tables of text and HTML, frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdnet_bench
from sdnet_bench import Bench
from sdnet_bench.api.rows import html_table, text_lines
from sdnet_bench.errors import UsageError
from sdnet_bench.records.record import wilson


@pytest.fixture
def bench(runs: Path) -> Bench:
    return Bench("sdnet18-tiny", runs_dir=runs, progress=False)


def test_a_bench_says_what_it_is(runs: Path) -> None:
    bench = Bench("resnet18-tiny", runs_dir=runs, device="cpu", precision="float32", progress=False)
    assert repr(bench) == "<Bench of resnet18-tiny on digits, float32 on cpu, 2 records>"


def test_one_record_has_figures(bench: Bench) -> None:
    found = bench.evaluate("gaussian", severity=3, limit=50)
    assert found.outcomes.shape == (50,)
    assert found.accuracy == found.outcomes.mean() == found.clean
    low, high = wilson(int(found.outcomes.sum()), 50)
    assert found.interval == pytest.approx((low / 100, high / 100))
    assert found.residual is not None
    assert found.residual > 0


def test_an_attack_has_clean_and_robust_accuracy(bench: Bench) -> None:
    found = bench.attack(eps=8 / 255, steps=2, protocol="matched", lambdas=[0.1], limit=20)
    assert found.clean == found[0].clean == np.mean(bench.evaluate(limit=20).outcomes)
    assert found.to_frame()[["protocol", "clean"]].to_numpy().tolist() == [["matched", found.clean]]
    assert found.accuracy <= found.clean


def test_several_records_have_no_one_figure(bench: Bench) -> None:
    found = bench.evaluate("gaussian", severity=[1, 3], limit=20)
    with pytest.raises(UsageError, match="2 records have no one figure"):
        found.accuracy  # noqa: B018
    assert [record.images.severity for record in found] == [1, 3]
    for at, record in enumerate(found):
        alone = found[at : at + 1]
        assert (record.accuracy, record.interval, record.clean, record.residual) == (
            alone.accuracy,  # type: ignore[attr-defined]
            alone.interval,  # type: ignore[attr-defined]
            alone.clean,  # type: ignore[attr-defined]
            alone.residual,  # type: ignore[attr-defined]
        )


def test_records_are_a_table_and_a_frame(bench: Bench) -> None:
    found = bench.evaluate(["gaussian", "shot"], severity=1, limit=20)
    head, *lines = str(found).splitlines()
    assert head.split("  ")[0] == "corruption"
    assert [line.split()[0] for line in lines] == ["gaussian", "shot"]
    assert found._repr_html_().count("<tr>") == 3
    frame = found.to_frame()
    assert frame["accuracy"].tolist() == [record.accuracy for record in found]
    assert frame["corruption"].tolist() == ["gaussian", "shot"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([98.8888, 97.5, 95.0, None], ["98.89", "97.50", "95.00", "—"]),
        ([0.1, 1.0], ["0.1", "1.0"]),
        ([20.0, 360], ["20", "360"]),
        ([1e-6, 3.0], ["1e-06", "3"]),
        ([0.5, "by a fit"], ["0.5", "by a fit"]),
    ],
)
def test_the_numbers_of_a_column_have_as_many_decimals_as_one_needs(values: list[object], texts: list[str]) -> None:
    _, *lines = text_lines([{"x": value} for value in values])
    assert [line.strip() for line in lines] == texts


def test_what_is_shown_of_results_is_short(bench: Bench) -> None:
    assert len(repr(bench.results)) < 1000
    assert "Conv2d" not in repr(sdnet_bench.load_model(bench.folder))


def test_html_is_escaped() -> None:
    assert html_table(["a"], [["<script>"]]) == (
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;script&gt;</td></tr></tbody></table>"
    )


def test_a_table_of_the_paper_shows_itself(bench: Bench) -> None:
    bench.evaluate("gaussian", limit=20)
    table = bench.table(2)
    ours = table.to_frame().query("model == 'sdnet18-tiny' and column == '3'")["ours"].dropna().tolist()
    assert ours == [100 * bench.evaluate("gaussian", severity=3, limit=20).accuracy]
    assert "63.5" in str(table)
    assert "<td>63.5</td>" in table._repr_html_()


def test_an_unknown_table_is_named(bench: Bench) -> None:
    with pytest.raises(UsageError, match="unknown table 'table9'"):
        bench.table(9)
