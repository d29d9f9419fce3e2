"""Splits: every image once, crops that are crops, and seeds that reproduce."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sdnet_bench.data import Augmentation, Batch, Split, limited, open_dataset
from sdnet_bench.data.folders import FolderSplit, count_workers
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.errors import BenchError, DataError
from sdnet_bench.progress import Progress

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    """Every pixel of an image is unlike every other."""
    return (torch.randperm(3 * 8 * 8).view(1, 3, 8, 8) + 60).repeat(400, 1, 1, 1).to(torch.uint8)


@pytest.fixture
def split() -> TensorSplit:
    images = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8)
    return TensorSplit(images, torch.arange(20) % 4, torch.arange(50, 70), Augmentation(pad=2))


def views(image: Tensor, pad: int, flip: bool) -> dict[bytes, tuple[int, int, bool]]:
    """All crops of the padded image, and their mirror images, by their bytes."""
    padded, side = F.pad(image, [pad] * 4), image.shape[-1]
    found = {}
    for row in range(2 * pad + 1):
        for column in range(2 * pad + 1):
            crop = padded[:, row : row + side, column : column + side]
            found[crop.numpy().tobytes()] = (row, column, False)
            if flip:
                found[crop.flip(2).contiguous().numpy().tobytes()] = (row, column, True)
    return found


@pytest.mark.parametrize(("pad", "flip"), [(4, True), (1, True), (2, False)])
def test_augmentation_takes_every_crop_of_the_padded_image_and_nothing_else(
    images: Tensor, pad: int, flip: bool
) -> None:
    possible = views(images[0], pad, flip)
    made = {image.contiguous().numpy().tobytes() for image in Augmentation(pad, flip)(images, generator())}
    assert made <= set(possible)
    taken = {possible[content] for content in made}
    offsets = set(range(2 * pad + 1))
    assert {row for row, _, _ in taken} == {column for _, column, _ in taken} == offsets
    assert {flipped for _, _, flipped in taken} == ({True, False} if flip else {False})


def test_half_of_the_images_are_flipped(images: Tensor) -> None:
    made = Augmentation(pad=0)(images, generator())
    assert 150 < sum(torch.equal(image, images[0].flip(2)) for image in made) < 250


def test_rows_columns_and_flips_are_drawn_on_their_own(images: Tensor) -> None:
    possible = views(images[0], 1, flip=True)
    made = [possible[image.contiguous().numpy().tobytes()] for image in Augmentation(1)(images, generator())]
    assert len(set(made)) == 3 * 3 * 2


def test_images_that_are_not_square_keep_their_shape() -> None:
    images = torch.randint(256, (4, 3, 6, 10), dtype=torch.uint8)
    assert torch.equal(Augmentation(pad=0, flip=False)(images, generator()), images)
    assert Augmentation(pad=3)(images, generator()).shape == images.shape


def epoch(split: Split, seed: int, batch_size: int = 6) -> list[Batch]:
    return list(split.augmented(batch_size, CPU, seed))


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return all(
        torch.equal(getattr(one, part), getattr(other, part))
        for one, other in zip(first, second, strict=True)
        for part in ("index", "images", "labels")
    )


def test_an_epoch_is_a_function_of_its_seed(split: TensorSplit) -> None:
    before = torch.get_rng_state()
    first = epoch(split, seed=3)
    assert equal(first, epoch(split, seed=3))
    assert not equal(first, epoch(split, seed=4))
    assert torch.equal(before, torch.get_rng_state())


def test_an_epoch_has_every_image_once_with_its_own_label(split: TensorSplit) -> None:
    batches = epoch(split, seed=0, batch_size=5)
    index = torch.cat([batch.index for batch in batches])
    assert sorted(index.tolist()) == list(range(50, 70))
    assert index.tolist() != list(range(50, 70))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), (index - 50) % 4)


def test_an_epoch_shows_the_images_it_names(split: TensorSplit) -> None:
    for batch in epoch(split, seed=0):
        for index, image in zip(batch.index, batch.images, strict=True):
            assert image.contiguous().numpy().tobytes() in views(split.images[index - 50], 2, flip=True)


@pytest.mark.parametrize(("batch_size", "sizes"), [(6, [6, 6, 6]), (20, [20]), (64, [20]), (7, [7, 7])])
def test_a_last_short_batch_is_dropped_unless_it_is_the_only_one(
    split: TensorSplit, batch_size: int, sizes: list[int]
) -> None:
    assert [len(batch.labels) for batch in epoch(split, 0, batch_size)] == sizes


@pytest.mark.parametrize("batch_size", [1, 6, 64])
def test_batches_are_the_images_in_their_order_unchanged(split: TensorSplit, batch_size: int) -> None:
    batches = list(split.batches(batch_size, CPU))
    assert torch.equal(torch.cat([batch.images for batch in batches]), split.images)
    assert torch.equal(torch.cat([batch.index for batch in batches]), split.index)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), split.labels)


def test_a_subset_keeps_the_index_of_its_images(split: TensorSplit) -> None:
    part = split.subset([4, 2])
    assert part.index.tolist() == [54, 52]
    assert torch.equal(part.images, split.images[[4, 2]])


@pytest.mark.parametrize(
    ("limit", "index"), [(1, [50]), (2, [50, 60]), (5, [50, 54, 58, 62, 66]), (19, [*range(50, 69)])]
)
def test_a_limit_spreads_evenly_over_the_split(split: TensorSplit, limit: int, index: list[int]) -> None:
    assert [int(at) for batch in limited(split, limit).batches(100, CPU) for at in batch.index] == index


@pytest.mark.parametrize("limit", [None, 20, 1000])
def test_a_limit_beyond_the_split_is_none(split: TensorSplit, limit: int | None) -> None:
    assert limited(split, limit) is split


def changed(split: TensorSplit, part: str) -> TensorSplit:
    parts = {name: getattr(split, name).clone() for name in ("images", "labels", "index")}
    parts[part].view(-1)[7] += 1
    return TensorSplit(**parts, augmentation=split.augmentation)


@pytest.mark.parametrize("part", ["images", "labels", "index"])
def test_the_digest_follows_the_content(split: TensorSplit, part: str) -> None:
    copy = TensorSplit(split.images.clone(), split.labels, split.index, split.augmentation)
    assert copy.digest == split.digest
    assert changed(split, part).digest != split.digest


def test_the_digest_of_a_subset_is_its_own(split: TensorSplit) -> None:
    assert len({split.digest, split.subset([0, 1]).digest, split.subset([1, 0]).digest}) == 3


# image folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`train/` and `val/` with the classes cat and dog: 40 and 6 images of 100x80, the grey of each its number."""
    for part, count in (("train", 20), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                shade = 100 * label + 5 * number
                Image.new("RGB", (100, 80), (shade, shade, shade)).save(tmp_path / part / name / f"{number:02}.png")
    return tmp_path


def shades(batches: Iterator[Batch]) -> list[tuple[int, int, int]]:
    """(index, label, grey) of every image."""
    return [
        (int(index), int(label), int(image[0, 0, 0]))
        for batch in batches
        for index, label, image in zip(batch.index, batch.labels, batch.images, strict=True)
    ]


def test_an_image_folder_has_its_images_with_class_and_index(folder: Path) -> None:
    dataset = open_dataset("imagefolder", folder)
    assert (dataset.num_classes, dataset.classes) == (2, ("cat", "dog"))
    expected = [(3 * label + number, label, 100 * label + 5 * number) for label in (0, 1) for number in range(3)]
    assert shades(dataset.open("test").batches(100, CPU)) == expected


def test_images_of_a_folder_come_in_the_size_of_the_data_set(folder: Path) -> None:
    test = open_dataset("imagefolder", folder).open("test")
    (batch,) = test.batches(100, CPU)
    assert (batch.images.shape, batch.images.dtype) == ((6, 3, 64, 64), torch.uint8)
    (batch,) = test.augmented(100, CPU, seed=0)
    assert (batch.images.shape, batch.images.dtype) == ((6, 3, 64, 64), torch.uint8)


def test_evaluation_looks_at_the_centre(tmp_path: Path) -> None:
    """The shorter side becomes 256/224 of the size; what lies outside the central square is cut off."""
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (50, 0, 150, 100))
    image.save(tmp_path / "wide.png")
    split = FolderSplit([(str(tmp_path / "wide.png"), 0)], [0], 56, ["wide"])
    (batch,) = split.batches(1, CPU)
    assert batch.images.shape == (1, 3, 56, 56)
    assert batch.images.min() == 255


def test_the_splits_of_a_folder_share_no_image(folder: Path) -> None:
    dataset = open_dataset("imagefolder", folder)
    train, held = (shades(dataset.open(which).batches(100, CPU)) for which in ("train", "validation"))  # type: ignore[arg-type]
    assert (len(train), len(held)) == (38, 2)
    assert {index for index, _, _ in train} | {index for index, _, _ in held} == set(range(40))
    assert all(shade == 100 * label + 5 * (index - 20 * label) for index, label, shade in train + held)


@pytest.mark.parametrize("batch_size", [5, 100])
def test_an_epoch_of_a_folder_is_a_function_of_its_seed(folder: Path, batch_size: int) -> None:
    for number in range(3):
        Image.effect_noise((100, 80), 90).convert("RGB").save(folder / "val" / "cat" / f"{number:02}.png")
    split = open_dataset("imagefolder", folder).open("test")
    torch.manual_seed(1)
    first = epoch(split, 3, batch_size)
    torch.manual_seed(2)
    assert equal(first, epoch(split, 3, batch_size))
    assert not equal(first, epoch(split, 4, batch_size))


def test_the_digest_of_a_folder_follows_its_files(folder: Path) -> None:
    before = open_dataset("imagefolder", folder).open("test").digest
    assert open_dataset("imagefolder", folder).open("test").digest == before
    Image.effect_noise((100, 80), 90).convert("RGB").save(folder / "val" / "cat" / "00.png")
    assert open_dataset("imagefolder", folder).open("test").digest != before


def test_a_missing_image_folder_is_one_line_with_advice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image folder at .*train.*--data-dir") as caught:
        open_dataset("imagefolder", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_image_is_one_line_with_its_name(folder: Path) -> None:
    (folder / "val" / "cat" / "00.png").write_bytes(b"no image")
    split = open_dataset("imagefolder", folder).open("test")
    for batch_size in (100, 1):  # in this process, and in a worker
        with pytest.raises(BenchError, match=r"^cannot read the image [^ ]*00\.png: [^\n]*$"):
            list(split.batches(batch_size, CPU))


def test_a_test_folder_with_other_classes_is_refused(folder: Path) -> None:
    """Classes are numbered in the order of their names: without the cats, dogs would be cats."""
    (folder / "val" / "cat").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="cat"):
        open_dataset("imagefolder", folder)


def test_each_core_loads_images_and_processes_of_one_machine_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = count_workers(10**6)
    assert cores >= 1
    assert count_workers(1) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert count_workers(10**6) == max(1, cores // 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * cores))
    assert count_workers(10**6) == 1


def test_processes_can_get_what_loads_images_whatever_the_progress_holds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they must on Windows and macOS, where a process is not a copy of its parent."""
    given: list[object] = []
    monkeypatch.setattr(torch.utils.data, "DataLoader", lambda files, *_, **__: given.append(files) or [])
    progress = Progress()
    vars(progress)["lock"] = threading.Lock()
    split = open_dataset("imagefolder", folder, progress).open("test")
    assert [*split.batches(2, CPU)] == []
    assert pickle.dumps(given)
