"""Test sets of the classes of CIFAR-10 and ImageNet: layouts, labels, and records and tables that are never mixed."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sdnet_bench import Bench
from sdnet_bench.backbones import build
from sdnet_bench.cli.app import app
from sdnet_bench.config import MODELS, Backbone, ModelConfig
from sdnet_bench.data import fixed_classes, labels_of, open_dataset, shifts
from sdnet_bench.data.datasets import Which
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.errors import DataError, UsageError
from sdnet_bench.paper.render import to_markdown
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.tables import build_tables
from sdnet_bench.progress import Progress
from sdnet_bench.records import RecordStore, read_results
from sdnet_bench.zoo.checkpoint import Model
from sdnet_bench.zoo.classes import Selected, of_classes

MODEL = "resnet18-cifar10-small"
IDS = fixed_classes("imagenet")


def write_cifar(root: Path, version: str = "v6", count: int = 20) -> Path:
    folder = root / "cifar10.1"
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8)
    np.save(folder / f"cifar10.1_{version}_data.npy", images)
    np.save(folder / f"cifar10.1_{version}_labels.npy", np.arange(count, dtype=np.int32) % 10)
    return folder


def write_folders(root: Path, *names: str) -> Path:
    """A folder with two images for each name, in the shade of its place."""
    for shade, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for file in ("a.jpeg", "b.jpeg"):
            Image.new("RGB", (300, 260), (shade,) * 3).save(root / name / file)
    return root


@pytest.mark.parametrize(("name", "version", "count"), [("cifar10.1", "v6", 20), ("cifar10.1-v4", "v4", 21)])
def test_cifar_10_1_has_the_images_and_labels_of_its_files(tmp_path: Path, name: str, version: str, count: int) -> None:
    folder = write_cifar(tmp_path, version, count)
    dataset = open_dataset(name, tmp_path)
    split = dataset.open("test")
    assert isinstance(split, TensorSplit)
    source = np.load(folder / f"cifar10.1_{version}_data.npy")
    assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), source)
    assert split.labels.tolist() == [at % 10 for at in range(count)]
    assert (dataset.name, dataset.family, dataset.classes) == (name, "cifar", fixed_classes("cifar10"))


def test_missing_files_are_one_line_that_says_where_they_go(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*cifar10\.1_v6_data\.npy.*Download it there from https://github"):
        open_dataset("cifar10.1", tmp_path)
    for name, folder in {"imagenet-v2": "imagenetv2-matched-frequency-format-val", "imagenet-sketch": "sketch"}.items():
        with pytest.raises(DataError, match=f"no image folder at .*{folder}.*Unpack its archive there from https://"):
            open_dataset(name, tmp_path)


@pytest.mark.parametrize("harm", ["text", "short", "labels"])
def test_damaged_files_are_one_line(tmp_path: Path, harm: str) -> None:
    folder = write_cifar(tmp_path)
    if harm == "text":
        (folder / "cifar10.1_v6_data.npy").write_text("<html>")
    elif harm == "short":
        np.save(folder / "cifar10.1_v6_labels.npy", np.zeros(19, np.int32))
    else:
        np.save(folder / "cifar10.1_v6_labels.npy", np.arange(20))
    with pytest.raises(DataError, match=r"cannot read .*_data\.npy|is not CIFAR-10\.1, expected uint8") as caught:
        open_dataset("cifar10.1", tmp_path).open("test")
    assert "\n" not in str(caught.value)


def test_folders_of_labels_are_mapped_to_wordnet_ids_in_the_order_of_labels(tmp_path: Path) -> None:
    write_folders(tmp_path / "imagenetv2-matched-frequency-format-val", "0", "10", "2", "999")
    dataset = open_dataset("imagenet-v2", tmp_path)
    assert dataset.classes == (IDS[0], IDS[2], IDS[10], IDS[999])
    split = dataset.open("test")
    assert labels_of(split) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [Path(file).parent.name for file, _ in split.files[::2]] == ["0", "2", "10", "999"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "folder"), [("imagenet-r", "imagenet-r"), ("imagenet-sketch", "sketch")])
def test_a_model_of_imagenet_is_asked_for_the_classes_of_a_test_set_alone(
    tmp_path: Path, name: str, folder: str
) -> None:
    write_folders(tmp_path / folder, IDS[6], IDS[1])
    (tmp_path / folder / "README.txt").touch()
    dataset = open_dataset(name, tmp_path)
    config = ModelConfig(backbone=Backbone(name="resnet18"), num_classes=1000, dataset="imagenet")
    model = Model("mine", tmp_path / "mine", config, build("resnet18", num_classes=1000, width=2), "w", None)
    net = of_classes(model, dataset, Progress()).net
    assert isinstance(net, Selected)
    assert net.places.tolist() == [1, 6]
    assert labels_of(dataset.open("test")) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [(("n00000000",), "n00000000 is no class of ImageNet"), (("1000",), "1000 is no class"), ((), "without images")],
)
def test_folders_that_are_no_classes_are_refused(tmp_path: Path, names: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "imagenet-a" / IDS[0]).mkdir(parents=True)
    write_folders(tmp_path / "imagenet-a", *names)
    with pytest.raises(DataError, match=complaint):
        open_dataset("imagenet-a", tmp_path)


@pytest.mark.parametrize("which", ["train", "validation"])
def test_there_are_test_images_alone(tmp_path: Path, which: Which) -> None:
    write_cifar(tmp_path)
    with pytest.raises(DataError, match=rf"cifar10\.1 has no {which} images, expected test"):
        open_dataset("cifar10.1", tmp_path).open(which)


def test_imagenet_a_is_downloaded_checked_and_unpacked(
    tmp_path: Path, mirror: Any, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(write_folders(tmp_path / "source", IDS[3]), "imagenet-a")
    mirror.body = content.getvalue()
    md5 = hashlib.md5(mirror.body).hexdigest()
    monkeypatch.setitem(shifts.FOLDERS, "imagenet-a", shifts.Folder("imagenet-a", mirror.url, "0" * 32))
    with pytest.raises(DataError, match="is damaged, expected md5 0000"):
        open_dataset("imagenet-a", tmp_path)
    monkeypatch.setitem(shifts.FOLDERS, "imagenet-a", shifts.Folder("imagenet-a", mirror.url, md5))
    assert open_dataset("imagenet-a", tmp_path).classes == (IDS[3],)
    assert (tmp_path / "imagenet-a" / IDS[3] / "a.jpeg").exists()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A run of a model of CIFAR-10 with all its records, on CIFAR-10.1."""
    write_cifar(tmp_path)
    folder = shutil.copytree(MODELS / MODEL, tmp_path / "runs" / MODEL)
    lines = [record.model_dump_json() + "\n" for record in read_results(folder)]
    (folder / RecordStore.FILE).write_text("".join(lines), encoding="utf-8")
    return Bench(MODEL, "cifar10.1", data_dir=tmp_path, runs_dir=tmp_path / "runs", device="cpu", progress=False)


def test_records_say_which_data_they_are_of_and_tables_are_of_one(bench: Bench, tmp_path: Path) -> None:
    before = Results.read(bench.folder, tmp_path / "runs")
    found = bench.evaluate()
    noisy = bench.evaluate("gaussian", severity=1)
    assert {record.images.dataset for record in (*found, *noisy)} == {"cifar10.1"}
    after = Results.read(bench.folder, tmp_path / "runs")
    assert (after.records, len(after.elsewhere)) == (before.records, 2)
    clean = bench.results.clean()
    assert clean is not None
    assert clean.value == 100 * found.accuracy
    assert after.clean() == before.clean() != clean
    ours = [to_markdown(table) for table in build_tables([after]) if table.dataset == "cifar10"]
    assert ours == [to_markdown(table) for table in build_tables([before])]
    (theirs,) = (table for table in build_tables([after]) if (table.name, table.dataset) == ("table2", "cifar10.1"))
    assert not any(entry.command for entry in theirs.entries if entry.model), "a study is not of these images"


@pytest.mark.parametrize("command", ["evaluate", "attack"])
def test_the_command_line_takes_the_data_set_and_finds_the_same_record(
    bench: Bench, tmp_path: Path, command: str
) -> None:
    words = [command, MODEL, "--data", "cifar10.1", "--data-dir", str(tmp_path), "--device", "cpu", "--json"]
    answer = CliRunner().invoke(app, [*words, "--runs-dir", str(tmp_path / "runs")], catch_exceptions=False)
    (shown,) = json.loads(answer.stdout)
    assert shown["dataset"] == "cifar10.1"
    assert shown["key"] == getattr(bench, command)().record.cell.key
    assert bench.records[-1].cell.key == shown["key"]


def test_the_card_of_a_run_keeps_all_records_and_has_a_section_for_other_data_sets(bench: Bench) -> None:
    before = read_results(bench.folder)
    bench.evaluate("gaussian", severity=1)
    assert len(read_results(bench.folder)) == len(before) + 1
    card = (bench.folder / "README.md").read_text(encoding="utf-8")
    assert "## Other data sets\n" in card
    assert f"sdnet-bench evaluate {MODEL} --data cifar10.1 --corruption gaussian\n" in card


def test_what_a_model_has_one_of_is_of_its_own_data(bench: Bench) -> None:
    for ask in (bench.fit_lambda, bench.audit, lambda: bench.study("table2"), lambda: bench.plan("table2")):
        with pytest.raises(UsageError, match=rf"is of {MODEL}'s own data, expected cifar10, got cifar10\.1"):
            ask()
