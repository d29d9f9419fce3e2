"""The data sets: sizes, fixed and disjoint splits, damage that is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torchvision.datasets import CIFAR10
from typer.testing import CliRunner

from sdnet_bench.cli.app import app
from sdnet_bench.data import Dataset, datasets, open_dataset
from sdnet_bench.data.datasets import Which, hold_out
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.errors import DataError, UnknownNameError

SPLITS: tuple[Which, ...] = ("train", "validation", "test")
REAL = Path(os.environ.get("SDNET_BENCH_DATA", "/nowhere"))
needs_cifar10 = pytest.mark.skipif(
    not (REAL / "cifar-10-batches-py").is_dir(), reason="SDNET_BENCH_DATA names no folder with cifar-10-batches-py"
)


def tensors(dataset: Dataset, which: Which) -> TensorSplit:
    split = dataset.open(which)
    assert isinstance(split, TensorSplit)
    return split


def test_images_that_cannot_be_had_are_one_line_and_leave_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    words = ["train", "sdnet18-cifar10", "--runs-dir", str(tmp_path / "runs"), "--data-dir", str(tmp_path / "data")]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, DataError)
    assert "\n" not in str(found.exception)
    assert f"CIFAR10 is not in {tmp_path / 'data'}: downloading it from {CIFAR10.url}" in found.stderr
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    return open_dataset("digits", tmp_path)


def test_a_misspelt_data_set_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown dataset 'cifar11'\. Did you mean 'cifar1"):
        open_dataset("cifar11", tmp_path)


@pytest.mark.parametrize(("which", "size"), [("train", 1237), ("validation", 200), ("test", 360)])
def test_digits_have_their_sizes(digits: Dataset, which: Which, size: int) -> None:
    split = tensors(digits, which)
    assert len(split) == size
    assert split.images.shape == (size, 3, 32, 32)
    assert split.images.dtype == torch.uint8


def test_the_splits_of_digits_share_no_image_and_leave_none_out(digits: Dataset) -> None:
    parts = [set(tensors(digits, which).index.tolist()) for which in SPLITS]
    assert sum(len(part) for part in parts) == 1797
    assert set.union(*parts) == set(range(1797))


def test_the_splits_of_digits_never_change(digits: Dataset) -> None:
    assert [tensors(digits, which).index[:4].tolist() for which in SPLITS] == [
        tensors(open_dataset("digits", Path("elsewhere")), which).index[:4].tolist() for which in SPLITS
    ]
    assert tensors(digits, "test").index[:6].tolist() == [2, 12, 13, 20, 28, 38]


def test_digits_are_black_to_white_and_grey_with_their_own_statistics_and_not_flipped(digits: Dataset) -> None:
    split = tensors(digits, "train")
    images = split.images
    assert not split.augmentation.flip
    assert (images.min(), images.max()) == (0, 255)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    pixels = images.double() / 255
    assert (float(pixels.mean()), float(pixels.std())) == pytest.approx((digits.mean[0], digits.std[0]), abs=0.002)


def test_digits_keep_their_labels(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    source, split = load_digits(), tensors(digits, "test")
    assert split.labels.tolist() == source.target[split.index].tolist()
    small = torch.nn.functional.avg_pool2d(split.images[:, :1].double() / 255, 4)[:, 0]
    grey = torch.from_numpy(source.images)[split.index] / 16
    assert (small - grey).abs().mean() < 0.05


@pytest.mark.parametrize(("count", "held"), [(10, 3), (5, 5), (7, 0)])
def test_what_is_held_out_is_a_partition_and_always_the_same(count: int, held: int) -> None:
    kept, out = hold_out(count, held)
    assert (kept, out) == (sorted(kept), sorted(out))
    assert len(out) == held
    assert sorted(kept + out) == list(range(count))
    assert hold_out(count, held) == (kept, out)


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
@pytest.mark.parametrize("damage", [None, b"damaged"])
def test_damaged_and_missing_files_of_cifar_are_one_line_with_advice(
    tmp_path: Path, name: str, folder: str, damage: bytes | None
) -> None:
    (tmp_path / folder).mkdir()
    if damage:
        for file in ("data_batch_1", "test_batch", "train", "test", "batches.meta", "meta"):
            (tmp_path / folder / file).write_bytes(damage)
    with pytest.raises(DataError, match=rf"cannot read .*{folder}: .*Remove .* --data-dir") as caught:
        open_dataset(name, tmp_path).open("test")
    assert "\n" not in str(caught.value)


def test_cifar_is_downloaded_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(datasets, "fetch_tar", lambda *words: asked.append(words[:4]))
    open_dataset("cifar10", tmp_path)
    ((url, md5, folder, member),) = asked
    assert url.endswith("/cifar-10-python.tar.gz")
    assert (md5, folder, member) == ("c58f30108f718f92721af3b95e74349a", tmp_path, "cifar-10-batches-py")


@pytest.mark.parametrize(("name", "count", "some"), [("digits", 10, {3: "3"}), ("cifar100", 100, {39: "keyboard"})])
def test_a_fixed_data_set_names_its_classes(name: str, count: int, some: dict[int, str], tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    dataset = open_dataset(name, tmp_path)
    assert len(dataset.classes) == dataset.num_classes == count
    assert {label: dataset.classes[label] for label in some} == some


@pytest.mark.cifar10
@needs_cifar10
def test_cifar10_has_its_sizes_its_balance_its_statistics_and_splits_that_share_nothing() -> None:
    """One test, as CIFAR-10 takes seconds to load."""
    cifar10 = open_dataset("cifar10", REAL)
    assert list(cifar10.classes) == CIFAR10(REAL).classes
    train, held, test = (tensors(cifar10, which) for which in SPLITS)
    for split, size, imbalance in ((train, 45_000, 0.12), (held, 5_000, 0.12), (test, 10_000, 0)):
        assert split.images.shape == (size, 3, 32, 32)
        counts = split.labels.bincount(minlength=10)
        assert counts.sum() == size
        assert (counts - size / 10).abs().max() <= imbalance * size / 10
    assert sorted([*train.index.tolist(), *held.index.tolist()]) == list(range(50_000))
    assert test.labels[:4].tolist() == [3, 8, 8, 0]  # the first is a cat
    means = (train.images.double() / 255).mean((0, 2, 3))
    assert means.tolist() == pytest.approx(cifar10.mean, abs=0.002)
