"""Evaluating on the files of an archive: the same figures as on the fly, never mixed with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdnet_bench.data import SEVERITIES
from sdnet_bench.data.archives import ARCHIVES, Archive, TarFile, generate
from sdnet_bench.errors import DataError, UsageError
from sdnet_bench.paper.plan import plan
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.steps import StudySize
from sdnet_bench.records.lambda_fit import Point, fit_line
from sdnet_bench.studies.accuracy import measure_corrupted
from sdnet_bench.studies.algorithm1 import measure_adaptive
from sdnet_bench.studies.workbench import Workbench


@pytest.fixture
def archived(sdnet: Workbench, register_part: Any) -> Workbench:
    """The SDNet beside an archive of the digits, generated here."""
    members = dict.fromkeys(["gaussian_noise", "shot_noise", "labels"])
    archive = Archive("Digits-C", "npy", 10, 360, 32, (TarFile("d.tar", "", 0.01, (), members),), "digits")
    register_part(ARCHIVES, archive.name, archive)
    generate("Digits-C", sdnet.data_dir, ["gaussian"], seed=sdnet.seed)
    return sdnet


def test_a_generated_archive_gives_the_figures_of_images_made_on_the_fly(archived: Workbench) -> None:
    made = measure_corrupted(archived, archived.images("test"), ["gaussian"], [2, 5])
    read = measure_corrupted(archived, archived.images("test"), ["gaussian"], [2, 5], archived=True)
    assert [record.correct.tolist() for record in read] == [record.correct.tolist() for record in made]
    assert all(one.cell.key != other.cell.key for one, other in zip(made, read, strict=True))
    assert {record.images.archive for record in made} == {None}
    assert len({record.images.archive for record in read}) == 1


def test_limited_images_are_the_same_places(archived: Workbench) -> None:
    made = measure_corrupted(archived, archived.images("test", 40), ["gaussian"], [3])[0]
    read = measure_corrupted(archived, archived.images("test", 40), ["gaussian"], [3], archived=True)[0]
    assert read.correct.tolist() == made.correct.tolist()
    assert read.n == 40


def test_what_is_on_record_is_not_read_again(
    archived: Workbench, told: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdnet_bench.data.contents.SETTLED", 0)
    measure_corrupted(archived, archived.images("test"), ["gaussian"], [1], archived=True)
    seen = told.images  # type: ignore[attr-defined]
    measure_corrupted(archived, archived.images("test"), ["gaussian"], [1], archived=True)
    assert told.images == seen  # type: ignore[attr-defined]


def test_lambda_adapts_to_the_images_of_the_archive(archived: Workbench) -> None:
    points = [Point(0.1, 20.0, 0.2, 0.9), Point(0.3, 60.0, 0.8, 0.7)]
    fit = fit_line("gaussian", archived.model.weights, points)
    record = measure_adaptive(archived, archived.images("test"), [fit], [4], archived=True)[0]
    seen = measure_corrupted(archived, archived.images("test"), ["gaussian"], [4], archived=True)[0]
    assert record.images.archive == seen.images.archive
    assert record.inference.lambda_ == fit(seen.metrics["residual"])


def test_tables_keep_the_two_apart(archived: Workbench) -> None:
    measure_corrupted(archived, archived.images("test"), ["gaussian"], archived=True)
    found = Results.read(archived.model.folder, archived.folder.parent)
    assert found.mean("gaussian") is None
    (other,) = found.on_archives()
    assert other.name == f"{archived.model.name} (generated archive)"
    assert other.mean("gaussian") is not None
    assert other.clean() == found.clean()


def test_an_archive_that_is_not_there_says_how_to_get_it(archived: Workbench) -> None:
    with pytest.raises(DataError, match=r"has no shot_noise\. Get it with `sdnet-bench data fetch"):
        measure_corrupted(archived, archived.images("test"), ["shot"], archived=True)


@pytest.mark.parametrize(("corruption", "severity"), [("gaussian", "mixed"), ("unknown", 3)])
def test_an_archive_has_no_streams(archived: Workbench, corruption: str, severity: int) -> None:
    with pytest.raises(UsageError, match="no such stream"):
        measure_corrupted(archived, archived.images("test"), [corruption], [severity], archived=True)


def member(bench: Workbench) -> Path:
    return bench.data_dir / "Digits-C" / "gaussian_noise.npy"


def test_a_damaged_archive_is_refused(archived: Workbench) -> None:
    rows = np.load(member(archived))
    np.save(member(archived), np.zeros_like(rows))
    with pytest.raises(DataError, match=r"gaussian_noise in the archive is damaged.*data verify"):
        measure_corrupted(archived, archived.images("test"), ["gaussian"], [1], archived=True)


def test_two_archives_make_no_mean(archived: Workbench) -> None:
    measure_corrupted(archived, archived.images("test"), ["gaussian"], [1, 2], archived=True)
    shutil.rmtree(archived.data_dir / "Digits-C")
    generate("Digits-C", archived.data_dir, ["gaussian"], seed=7)
    other = Workbench(archived.model, archived.dataset, archived.folder, archived.runtime, data_dir=archived.data_dir)
    measure_corrupted(other, other.images("test"), ["gaussian"], [3, 4, 5], archived=True)
    (found,) = Results.read(archived.model.folder, archived.folder.parent).on_archives()
    assert all(found.given("gaussian", severity) for severity in SEVERITIES)
    assert found.mean("gaussian") is None


def test_studies_of_the_paper_are_made_on_archives_too(archived: Workbench) -> None:
    given, *_ = plan(archived, "table2", StudySize(archived=True))
    assert {str(cell.images.archive).partition(":")[0] for cell in given.cells} == {"generated"}
    with pytest.raises(UsageError, match="figure2 is no study of an archive"):
        plan(archived, "figure2", StudySize(archived=True))


def test_archives_lie_where_the_data_does(runs: Path, sdnet: Workbench) -> None:
    assert sdnet.data_dir == runs / "data"
