"""The formats of a report by name, and records as Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdnet_bench.config import MODELS
from sdnet_bench.errors import UnknownNameError, UsageError
from sdnet_bench.paper.results import Results
from sdnet_bench.records.statistics import percent
from sdnet_bench.report.flat import cells, images
from sdnet_bench.report.formats import check_formats, write


@pytest.fixture(scope="module")
def small() -> Results:
    return Results.read(MODELS / "sdnet18_all-cifar10-small", Path("nowhere"))


def test_formats_by_name() -> None:
    assert list(check_formats([])) == ["csv", "md"]
    assert list(check_formats(["html", "latex"])) == ["html", "latex"]
    with pytest.raises(UnknownNameError, match=r"unknown format 'cvs'\. Did you mean 'csv'"):
        check_formats(["cvs"])


def test_parquet_without_pyarrow_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdnet_bench.report.formats.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"parquet needs pyarrow.*pip install \"sdnet-bench\[parquet\]\""):
        check_formats(["parquet"])


def test_a_row_per_record(small: Results) -> None:
    frame = cells([small]).set_index("key")
    assert len(frame) == len(small.records)
    for record in small.records[::40]:
        row, value = frame.loc[record.cell.key], percent([record]) if record.outcomes else None
        assert (row["model"], row["n"], row["images"]) == (small.name, record.n, record.images.digest)
        assert value is None or (row["accuracy"], row["low"], row["high"]) == value[:3]
        assert row["provenance_device"] == record.provenance["device"]


def test_values_that_are_no_single_number_are_text(small: Results) -> None:
    frame = cells([small])
    found = {type(value) for name in frame for value in frame[name].dropna()}
    assert found <= {str, bool, int, float, np.float64, np.int64, np.bool_}


def test_a_row_per_image_adds_up_to_the_accuracies(small: Results) -> None:
    shares = images([small]).groupby("key", observed=True)["correct"].agg(["mean", "size"])
    frame = cells([small]).set_index("key").dropna(subset="accuracy")
    assert shares["size"].to_dict() == frame["n"].to_dict()
    assert 100 * shares["mean"].loc[frame.index].to_numpy() == pytest.approx(frame["accuracy"].to_numpy())


def test_files_of_parquet_are_read_back(small: Results, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas

    paths = write([small], list, tmp_path, ["parquet", "parquet-images"])
    assert [path.name for path in paths] == ["records.parquet", "images.parquet"]
    read, kept = pandas.read_parquet(paths[0]), cells([small])
    assert (list(read), read["accuracy"].tolist()) == (
        list(kept),
        pytest.approx(kept["accuracy"].tolist(), nan_ok=True),
    )
    assert read["attack_crafted_at"].dropna().tolist() == kept["attack_crafted_at"].dropna().tolist()
    assert len(pandas.read_parquet(paths[1])) == len(images([small]))


def test_nothing_on_record_is_an_empty_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert all(path.exists() for path in write([], list, tmp_path, ["parquet", "parquet-images"]))
