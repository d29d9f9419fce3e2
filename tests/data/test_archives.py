"""The -C archives: fetched, verified, generated and opened; small ones, from a server of our own."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sdnet_bench.data import (
    DATASETS,
    SEVERITIES,
    Dataset,
    Noise,
    corrupt,
    download as downloading,
    limited,
    open_dataset,
)
from sdnet_bench.data.archives import (
    ARCHIVES,
    Archive,
    TarFile,
    fetch,
    find_archive,
    generate,
    manifest,
    open_archive,
    source_of,
    verify,
)
from sdnet_bench.data.folders import FolderSplit
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.data.stream import workers
from sdnet_bench.errors import DataError, InterruptError, UnknownNameError, UsageError
from sdnet_bench.progress import Progress, Task

CPU = torch.device("cpu")
N = 6
NAMES = ("gaussian_noise", "shot_noise", "fog")
PIXELS = np.random.default_rng(0).integers(256, size=(len(NAMES), 5 * N, 32, 32, 3), dtype=np.uint8)
ROWS = dict(zip(NAMES, PIXELS, strict=True))
LABELS = np.tile(np.arange(N, dtype=np.uint8), 5)


def npy(array: NDArray[Any], *, pickled: bool = False) -> bytes:
    content = io.BytesIO()
    np.save(content, array.astype(object) if pickled else array, allow_pickle=pickled)
    return content.getvalue()


MEMBERS = {**{name: npy(rows) for name, rows in ROWS.items()}, "labels": npy(LABELS)}


def jpeg(level: int, side: int = 8) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(content, "JPEG")
    return content.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def register(register_part: Any) -> Callable[[Archive], Archive]:
    """Files an archive under its name for one test."""

    def file(archive: Archive) -> Archive:
        register_part(ARCHIVES, archive.name, archive)
        return archive

    return file


@pytest.fixture
def small(mirror: Any, naps: list[float], register: Callable[[Archive], Archive]) -> Archive:
    """`Small-C`: six images in three corruptions, from one tar file."""
    mirror.body = tar({f"Small-C/{name}.npy": data for name, data in MEMBERS.items()})
    members = {name: md5(data) for name, data in MEMBERS.items()}
    file = TarFile("Small-C.tar", md5(mirror.body), len(mirror.body) / 1e9, (mirror.url,), members, len(mirror.body))
    return register(Archive("Small-C", "npy", 10, N, 32, (file,), "digits"))


@pytest.fixture
def folders(mirror: Any, other_mirror: Any, naps: list[float], register: Callable[[Archive], Archive]) -> Archive:
    """`Folder-C`: two classes, three images of 8x8, from two tar files, one of which has a folder on top."""
    images = {"a/1": 10, "a/2": 20, "b/1": 30}

    def files(name: str, top: str) -> dict[str, bytes]:
        return {f"{top}{name}/{s}/{at}.JPEG": jpeg(level + s) for s in SEVERITIES for at, level in images.items()}

    mirror.body, other_mirror.body = (
        tar(files("gaussian_noise", "") | files("shot_noise", "")),
        tar(files("fog", "./x/")),
    )
    noise = TarFile("noise.tar", md5(mirror.body), 0.01, (mirror.url,), dict.fromkeys(["gaussian_noise", "shot_noise"]))
    weather = TarFile("weather.tar", md5(other_mirror.body), 0.01, (other_mirror.url,), {"fog": None})
    return register(Archive("Folder-C", "folders", 2, 3, 8, (noise, weather)))


# What archives there are


@pytest.mark.parametrize("name", ["CIFAR-10-C", "CIFAR-100-C", "ImageNet-C", "Tiny-ImageNet-C"])
def test_each_archive_holds_the_nineteen_corruptions_and_each_file_can_be_checked(name: str) -> None:
    archive = ARCHIVES[name]
    assert len(set(archive.members) - {"labels"}) == 19
    assert sum(len(file.members) for file in archive.files) == len(archive.members)
    for corruption in ("gaussian", "shot", "speckle", "impulse"):
        assert archive.member(corruption) == f"{corruption}_noise"
    for file in archive.files:
        assert len(file.md5) == 32
        assert file.urls[0].startswith("https://zenodo.org/records/")
        assert file.urls[0].endswith(f"/files/{file.name}?download=1")
    known = [md5 for md5 in archive.members.values() if md5]
    assert len(set(known)) == len(known) == (20 if archive.layout == "npy" else 0)


def test_every_corruption_of_the_c_benchmarks_has_a_place_in_the_archives() -> None:
    from sdnet_bench.data import CORRUPTIONS

    named = {part.archive_name for part in CORRUPTIONS.values() if part.group != "bar"}
    assert named == set(ARCHIVES["ImageNet-C"].members)
    with pytest.raises(UsageError, match="ImageNet-C has no sparkles"):
        ARCHIVES["ImageNet-C"].member("sparkles")


def test_an_archive_goes_by_its_name_or_that_of_its_data_set() -> None:
    assert find_archive("cifar10") is find_archive("CIFAR-10-C") is ARCHIVES["CIFAR-10-C"]
    with pytest.raises(UnknownNameError, match=r"unknown archive 'CIFAR10-C'\. Did you mean 'CIFAR-10-C'"):
        find_archive("CIFAR10-C")


# fetch


def test_all_of_an_archive_lands(small: Archive, tmp_path: Path, mirror: Any) -> None:
    paths = fetch("Small-C", tmp_path)
    assert everything(tmp_path) == {f"Small-C/{name}.npy": data for name, data in MEMBERS.items()}
    assert {path.name for path in paths} == {f"{name}.npy" for name in MEMBERS}
    assert len(mirror.asked) == 1


def test_only_what_is_asked_for_is_unpacked(small: Archive, tmp_path: Path, mirror: Any, told: Any) -> None:
    fetch("Small-C", tmp_path, ["shot"], progress=told)
    assert set(everything(tmp_path)) == {"Small-C/shot_noise.npy", "Small-C/labels.npy"}
    wanted = len(MEMBERS["shot_noise"]) + len(MEMBERS["labels"])
    assert told.images == 2 * (len(mirror.body) + wanted), "each as it came, and checked"


def test_what_is_there_and_good_is_not_downloaded_again(small: Archive, tmp_path: Path, mirror: Any) -> None:
    fetch("Small-C", tmp_path, ["shot"])
    fetch("Small-C", tmp_path, ["shot"])
    assert len(mirror.asked) == 1
    before = (tmp_path / "Small-C/shot_noise.npy").stat()
    fetch("Small-C", tmp_path)
    assert len(mirror.asked) == 2
    after = (tmp_path / "Small-C/shot_noise.npy").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_what_is_damaged_is_replaced(small: Archive, tmp_path: Path) -> None:
    fetch("Small-C", tmp_path)
    path = tmp_path / "Small-C/fog.npy"
    path.write_bytes(MEMBERS["fog"][:-7])
    fetch("Small-C", tmp_path)
    assert path.read_bytes() == MEMBERS["fog"]


def test_what_is_well_formed_but_not_official_is_left_alone(small: Archive, tmp_path: Path, mirror: Any) -> None:
    (tmp_path / "Small-C").mkdir()
    path = tmp_path / "Small-C/fog.npy"
    path.write_bytes(npy(255 - ROWS["fog"]))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"fog\.npy is not official, expected md5 .*, got .*\. Move it away"):
        fetch("Small-C", tmp_path)
    assert path.read_bytes() == before
    assert mirror.asked == []


def test_a_broken_download_goes_on_the_next_time(small: Archive, tmp_path: Path, mirror: Any) -> None:
    mirror.script += [type(mirror.usual)(drop_after=50_000), type(mirror.usual)(status=404)]
    with pytest.raises(DataError, match=r"cannot download Small-C\.tar: .*404.* put it at .*Small-C/Small-C\.tar"):
        fetch("Small-C", tmp_path)
    assert set(everything(tmp_path)) == {"Small-C/Small-C.tar.part"}
    fetch("Small-C", tmp_path)
    assert mirror.asked[-1] == "bytes=50000-"
    assert mirror.sent == len(mirror.body)
    assert len(everything(tmp_path)) == len(MEMBERS)


def test_tar_files_are_kept_where_one_wants_it_and_used_again(small: Archive, tmp_path: Path, mirror: Any) -> None:
    fetch("Small-C", tmp_path, ["fog"], keep=True)
    assert (tmp_path / "Small-C/Small-C.tar").read_bytes() == mirror.body
    fetch("Small-C", tmp_path, offline=True)
    assert len(mirror.asked) == 1
    assert (tmp_path / "Small-C/Small-C.tar").exists(), "it was there before"


def test_offline_says_what_is_missing_and_where_to_get_it(small: Archive, tmp_path: Path, mirror: Any) -> None:
    words = rf"incomplete in .*Small-C .*missing fog, labels\. Leave out --offline, or put {mirror.url} there"
    with pytest.raises(DataError, match=words):
        fetch("Small-C", tmp_path, ["fog"], offline=True)
    assert list(tmp_path.iterdir()) == []
    assert mirror.asked == []
    fetch("Small-C", tmp_path, ["fog"])
    fetch("Small-C", tmp_path, ["fog"], offline=True)


def test_nothing_is_in_place_before_all_is_unpacked(
    small: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Any
) -> None:
    extract, count = tarfile.TarFile.extract, 0

    def stop(*words: Any, **more: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise InterruptError("interrupted")
        extract(*words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", stop)
        with pytest.raises(InterruptError):
            fetch("Small-C", tmp_path)
    assert set(everything(tmp_path)) == {"Small-C/Small-C.tar"}
    fetch("Small-C", tmp_path)
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(
    ("member", "complaint"),
    [
        ({"fog": "0" * 32}, rf"fog in Small-C\.tar is not official, expected md5 {'0' * 32}, got "),
        ({"snow": None}, r"Small-C\.tar does not hold a good snow: it is missing"),
    ],
)
def test_a_member_that_is_not_what_was_published_or_not_there_is_one_line_and_nothing_is_unpacked(
    small: Archive, register: Callable[[Archive], Archive], tmp_path: Path, member: dict[str, Any], complaint: str
) -> None:
    (file,) = small.files
    register(replace(small, files=(replace(file, members={**file.members, **member}),)))
    with pytest.raises(DataError, match=complaint):
        fetch("Small-C", tmp_path, [*member])
    assert set(everything(tmp_path)) == {"Small-C/Small-C.tar"}


def test_too_little_room_is_noticed_before(
    small: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Any
) -> None:
    usage = downloading.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage._replace(free=len(mirror.body) * 3 // 2))
    with pytest.raises(DataError, match=r"too little room in .* for Small-C\.tar, expected .* GB, got .* GB"):
        fetch("Small-C", tmp_path)
    assert mirror.asked == []
    fetch("Small-C", tmp_path, ["fog"])


def test_folders_come_from_the_files_that_hold_them(
    folders: Archive, tmp_path: Path, mirror: Any, other_mirror: Any
) -> None:
    fetch("Folder-C", tmp_path, ["fog"])
    assert (len(mirror.asked), len(other_mirror.asked)) == (0, 1)
    names = {f"Folder-C/fog/{s}/{at}.JPEG" for s in SEVERITIES for at in ("a/1", "a/2", "b/1")}
    assert set(everything(tmp_path)) == names
    fetch("Folder-C", tmp_path)
    assert (len(mirror.asked), len(other_mirror.asked)) == (1, 1)
    assert {member.verdict for member in verify("Folder-C", tmp_path).members} == {"unknown"}


def test_a_corruption_that_an_archive_does_not_hold_is_a_wrong_request(small: Archive, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Small-C has no speckle, expected gaussian_noise, shot_noise, fog, labels"):
        fetch("Small-C", tmp_path, ["speckle"])


# verify


@pytest.fixture
def fetched(small: Archive, tmp_path: Path) -> Path:
    fetch("Small-C", tmp_path)
    return tmp_path


def verdicts(data_dir: Path, name: str = "Small-C") -> dict[str, str]:
    return {member.name: member.verdict for member in verify(name, data_dir).members}


def test_what_was_published_is_official(fetched: Path, told: Any) -> None:
    found = verify("Small-C", fetched, told)
    assert [member.verdict for member in found.members] == ["official"] * 4
    assert found.members[0].shape == (5 * N, 32, 32, 3)
    assert found.members[0].md5 == md5(MEMBERS["gaussian_noise"])
    assert told.images == sum(len(data) for data in MEMBERS.values())


def test_what_is_well_formed_but_other_is_unknown_and_what_is_not_there_is_missing(fetched: Path) -> None:
    (fetched / "Small-C/fog.npy").write_bytes(npy(255 - ROWS["fog"]))
    (fetched / "Small-C/shot_noise.npy").unlink()
    assert [*verdicts(fetched).values()] == ["official", "missing", "unknown", "official"]


BAD_ROWS = [
    (MEMBERS["fog"][:-1], ""),
    (MEMBERS["fog"][:50], ""),
    (b"", ""),
    (b"<html>", ""),
    (npy(ROWS["fog"].astype(np.float32)), "expected uint8 .* got float32"),
    (npy(ROWS["fog"][:-1]), r"expected uint8 \(30, 32, 32, 3\), got uint8 \(29, 32, 32, 3\)"),
    (npy(ROWS["fog"].transpose(0, 3, 1, 2)), r"got uint8 \(30, 3, 32, 32\)"),
    (npy(ROWS["fog"][:5], pickled=True), ""),
]
BAD_LABELS = [
    (npy(LABELS[:N]), r"expected integers \(30,\), got uint8 \(6,\)"),
    (npy(LABELS.astype(float)), "got float64"),
    (npy(np.repeat(np.arange(N), 5)), "expected the same labels five times"),
    (npy(LABELS + 5), "expected labels 0 to 9, got 5 to 10"),
    (npy(LABELS, pickled=True), ""),
]


@pytest.mark.parametrize(
    ("member", "content", "detail"),
    [*(("fog", *case) for case in BAD_ROWS), *(("labels", *case) for case in BAD_LABELS)],
)
def test_what_is_truncated_or_of_another_form_is_damaged_and_is_not_opened(
    fetched: Path, member: str, content: bytes, detail: str
) -> None:
    (fetched / f"Small-C/{member}.npy").write_bytes(content)
    (damaged,) = verify("Small-C", fetched).damaged
    assert damaged.name == member
    with pytest.raises(DataError, match=rf"{member}\.npy .*{detail}") as caught:
        open_archive("Small-C", "fog", 1, fetched)
    assert "\n" not in str(caught.value)
    assert damaged.detail == str(caught.value)


def test_lost_labels_are_damage(fetched: Path) -> None:
    (fetched / "Small-C/labels.npy").unlink()
    assert verdicts(fetched)["labels"] == "damaged"
    with pytest.raises(DataError, match=r"Small-C in .* has no labels, expected .*labels\.npy\. Get them with `sdnet"):
        open_archive("Small-C", "fog", 1, fetched)


def test_an_archive_of_which_nothing_is_there_is_one_line(small: Archive, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Small-C is not in .*Get it with `sdnet-bench data fetch Small-C`"):
        verify("Small-C", tmp_path)


@pytest.mark.parametrize(
    ("harm", "detail"),
    [
        (lambda root: (root / "3/a/1.JPEG").unlink(), "fog/3 is damaged, expected 3 images, got 2"),
        (lambda root: (root / "3/a/1.JPEG").write_bytes(b""), "is empty"),
        (lambda root: (root / "5").rename(root / "six"), "fog/5 is damaged, expected 2 classes, got 0"),
    ],
)
def test_folders_with_holes_are_damaged(folders: Archive, tmp_path: Path, harm: Any, detail: str) -> None:
    fetch("Folder-C", tmp_path, ["fog"])
    harm(tmp_path / "Folder-C/fog")
    (damaged,) = verify("Folder-C", tmp_path).damaged
    assert detail in str(damaged.detail)


def test_the_source_of_a_corruption_is_read_once(fetched: Path, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdnet_bench.data.contents.SETTLED", 0)
    first = source_of("digits", "fog", fetched, told)
    assert (first.verdict, first.md5) == ("official", md5(MEMBERS["fog"]))
    read = told.images
    assert source_of("Small-C", "fog", fetched, told) == first
    assert told.images == read
    (fetched / "Small-C/fog.npy").write_bytes(npy(255 - ROWS["fog"]))
    assert source_of("Small-C", "fog", fetched, told).verdict == "unknown"


# open


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_severity_is_its_part_of_the_rows_and_a_copy_of_them(fetched: Path, severity: int) -> None:
    split = open_archive("Small-C", "fog", severity, fetched)
    assert isinstance(split, TensorSplit)
    rows = ROWS["fog"][(severity - 1) * N : severity * N]
    (batch,) = split.batches(100, CPU)
    assert np.array_equal(batch.images.numpy(), rows.transpose(0, 3, 1, 2))
    assert batch.labels.tolist() == batch.index.tolist() == list(range(N))
    assert split.subset([4, 1]).index.tolist() == [4, 1]
    assert split.digest != open_archive("Small-C", "fog", severity % 5 + 1, fetched).digest
    split.images.zero_()
    assert (fetched / "Small-C/fog.npy").read_bytes() == MEMBERS["fog"]


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_there_are_five_severities(fetched: Path, severity: int) -> None:
    with pytest.raises(UsageError, match=f"severity out of range, expected 1 to 5, got {severity}"):
        open_archive("Small-C", "fog", severity, fetched)


def test_an_archive_that_is_not_there_names_the_two_ways_to_it(small: Archive, tmp_path: Path) -> None:
    fetching, making = (f"`sdnet-bench data {verb} Small-C --corruption fog`" for verb in ("fetch", "generate"))
    with pytest.raises(
        DataError, match=rf"Small-C in .* has no fog\. Get it with {fetching}, or make it with {making}"
    ):
        open_archive("Small-C", "fog", 1, tmp_path)


def test_images_in_folders_are_taken_as_they_are(folders: Archive, tmp_path: Path) -> None:
    fetch("Folder-C", tmp_path, ["fog"])
    split = open_archive("Folder-C", "fog", 4, tmp_path)
    assert isinstance(split, FolderSplit)
    (batch,) = split.subset(range(3)).batches(3, CPU)
    assert batch.images.shape == (3, 3, 8, 8)
    assert batch.images.float().mean((1, 2, 3)).tolist() == [14, 24, 34]
    assert (batch.labels.tolist(), batch.index.tolist()) == ([0, 0, 1], [0, 1, 2])


def test_an_image_of_another_size_is_one_line(folders: Archive, tmp_path: Path) -> None:
    fetch("Folder-C", tmp_path, ["fog"])
    (tmp_path / "Folder-C/fog/4/a/2.JPEG").write_bytes(jpeg(7, side=9))
    with pytest.raises(DataError, match=r"2\.JPEG has another size, expected 8x8, got 9x9"):
        list(open_archive("Folder-C", "fog", 4, tmp_path).batches(3, CPU))


# generate


@pytest.fixture
def digits(register: Callable[[Archive], Archive]) -> Archive:
    """`Digits-C`, of the digits that scikit-learn carries; nothing to download."""
    file = TarFile("Digits-C.tar", "0" * 32, 0.1, (), dict.fromkeys(["gaussian_noise", "shot_noise", "labels"]))
    return register(Archive("Digits-C", "npy", 10, 360, 32, (file,), "digits"))


def make(folder: Path, corruptions: list[str] | None = None, limit: int | None = 20, **how: Any) -> bytes:
    """Generates, and returns the bytes of the Gaussian noise."""
    generate("Digits-C", folder, corruptions or ["gaussian"], limit=limit, **how)
    return (folder / "Digits-C/gaussian_noise.npy").read_bytes()


def test_what_is_generated_is_laid_out_as_published(digits: Archive, tmp_path: Path) -> None:
    generate("Digits-C", tmp_path, ["gaussian"])
    names = {path.name for path in (tmp_path / "Digits-C").iterdir()}
    assert names == {"gaussian_noise.npy", "labels.npy", "manifest.json"}
    rows = np.load(tmp_path / "Digits-C/gaussian_noise.npy")
    labels = np.load(tmp_path / "Digits-C/labels.npy")
    clean = open_dataset("digits", tmp_path).open("test")
    assert isinstance(clean, TensorSplit)
    assert (rows.shape, rows.dtype, labels.dtype) == ((5 * 360, 32, 32, 3), np.uint8, np.uint8)
    assert labels.reshape(5, 360).tolist() == [clean.labels.tolist()] * 5
    spread = [
        np.square(part - clean.images.permute(0, 2, 3, 1).numpy().astype(float)).mean()
        for part in rows.reshape(5, 360, 32, 32, 3)
    ]
    assert spread == sorted(spread), "severity 1 first"


def test_what_is_generated_is_what_is_corrupted_on_the_fly(digits: Archive, tmp_path: Path) -> None:
    make(tmp_path, seed=5)
    clean = limited(open_dataset("digits", tmp_path).open("test"), 20)
    (batch,) = clean.batches(20, CPU)
    (made,) = open_archive("Digits-C", "gaussian", 3, tmp_path).batches(20, CPU)
    assert torch.equal(made.images, Noise("gaussian", 0.18, seed=5)(batch))
    assert torch.equal(made.labels, batch.labels)
    (whole,) = open_dataset("digits", tmp_path).open("test").batches(360, CPU)
    assert torch.equal(whole.images[made.index], batch.images), "the index is the place in the test split"


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_size_of_a_batch_changes_nothing(digits: Archive, tmp_path: Path, batch_size: int) -> None:
    assert make(tmp_path / "one") == make(tmp_path / "other", batch_size=batch_size)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(digits: Archive, tmp_path: Path) -> None:
    pool = workers(2)
    while not pool.is_up:  # type: ignore[union-attr]
        time.sleep(0.05)
    assert make(tmp_path / "one") == make(tmp_path / "other", processes=2)


def test_another_seed_is_another_set(digits: Archive, tmp_path: Path) -> None:
    assert make(tmp_path / "one") != make(tmp_path / "other", seed=1)


class Stopped(Progress, Task):
    """Interrupts after so many images."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        yield self if unit == "images" else Task()

    def advance(self, amount: int) -> None:
        self.left -= amount
        if self.left <= 0:
            raise InterruptError("interrupted")


@pytest.mark.parametrize("after", [1, 33, 40, 100])
def test_work_that_was_broken_off_goes_on_to_the_same_end(
    digits: Archive, tmp_path: Path, told: Any, after: int
) -> None:
    whole = make(tmp_path / "whole")
    with pytest.raises(InterruptError):
        make(tmp_path / "broken", batch_size=3, progress=Stopped(after))
    assert not (tmp_path / "broken/Digits-C/gaussian_noise.npy").exists()
    assert not list((tmp_path / "broken").glob("*/gaussian*"))
    calls = corrupt_calls(lambda: make(tmp_path / "broken", batch_size=8))
    assert calls <= 100 - after
    assert (tmp_path / "broken/Digits-C/gaussian_noise.npy").read_bytes() == whole
    assert not (tmp_path / "broken/Digits-C/.making").exists()


def corrupt_calls(work: Callable[[], Any]) -> int:
    """How many images are corrupted while `work` is done."""
    from sdnet_bench.data import stream

    calls = 0

    def counted(*words: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        return corrupt(*words, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "corrupt", counted)
        work()
    return calls


def test_a_state_that_a_kill_left_beside_a_finished_member_is_removed(digits: Archive, tmp_path: Path) -> None:
    make(tmp_path)
    making = tmp_path / "Digits-C/.making"
    making.mkdir()
    (making / "gaussian_noise.json").write_text("{}", encoding="utf-8")
    make(tmp_path)
    assert not making.exists()


def test_half_of_another_request_is_not_gone_on_with(digits: Archive, tmp_path: Path) -> None:
    with pytest.raises(InterruptError):
        make(tmp_path, batch_size=10, progress=Stopped(50))
    for name in ("manifest.json", "labels.npy"):
        (tmp_path / "Digits-C" / name).unlink()
    assert (tmp_path / "Digits-C/.making/gaussian_noise.npy").exists()
    assert make(tmp_path, seed=3) == make(tmp_path / "other", seed=3)


def test_the_manifest_tells_the_truth(digits: Archive, tmp_path: Path) -> None:
    make(tmp_path, ["gaussian", "shot"], seed=4)
    told = json.loads((tmp_path / "Digits-C/manifest.json").read_text(encoding="utf-8"))
    assert (told["seed"], told["images"], told["of"], told["dataset"]) == (4, 20, 360, "digits")
    assert set(told["members"]) == {"gaussian_noise", "shot_noise", "labels"}
    for name, member in told["members"].items():
        content = (tmp_path / f"Digits-C/{name}.npy").read_bytes()
        assert member["sha256"] == hashlib.sha256(content).hexdigest()
        assert member["n"] == 100
        assert member["versions"]["numpy"] == np.__version__
    assert told["members"]["shot_noise"]["levels"] == [60, 25, 12, 5, 3]
    assert set(verdicts(tmp_path, "Digits-C").values()) == {"generated"}


def test_a_generated_member_that_was_changed_is_damaged(digits: Archive, tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "Digits-C/gaussian_noise.npy"
    rows = np.load(path)
    rows[7, 0, 0, 0] ^= 1
    np.save(path, rows)
    (damaged,) = verify("Digits-C", tmp_path).damaged
    assert "as the manifest says" in str(damaged.detail)
    with pytest.raises(
        DataError, match=r"gaussian_noise\.npy is damaged, expected sha256 .*Remove .* to generate it again"
    ):
        make(tmp_path)


def test_what_is_done_is_not_done_again_and_the_rest_is_added(digits: Archive, tmp_path: Path, told: Any) -> None:
    make(tmp_path)
    assert corrupt_calls(lambda: make(tmp_path, progress=told)) == 0
    assert "gaussian_noise: done already" in told.notes
    assert corrupt_calls(lambda: make(tmp_path, ["gaussian", "shot"])) == 100


def test_by_default_all_corruptions_of_the_archive_are_made(digits: Archive, tmp_path: Path) -> None:
    paths = generate("Digits-C", tmp_path, limit=2)
    assert [path.name for path in paths] == ["gaussian_noise.npy", "shot_noise.npy"]


@pytest.mark.parametrize("how", [{"seed": 1}, {"limit": 21}])
def test_two_ways_of_making_are_never_mixed(digits: Archive, tmp_path: Path, how: dict[str, Any]) -> None:
    make(tmp_path)
    before = everything(tmp_path / "Digits-C")
    with pytest.raises(
        DataError, match=r"was generated with another (seed|images), expected \d+, got \d+\. Name another"
    ):
        make(tmp_path, ["shot"], **how)
    assert everything(tmp_path / "Digits-C") == before


@pytest.mark.parametrize("name", ["gaussian_noise.npy", "fog.npy", "notes.txt"])
def test_what_was_not_generated_is_never_written_over(digits: Archive, tmp_path: Path, name: str) -> None:
    (tmp_path / "Digits-C").mkdir()
    (tmp_path / "Digits-C" / name).write_text("foreign", encoding="utf-8")
    with pytest.raises(DataError, match=rf"holds what was not generated here: {name}\. Name another folder"):
        make(tmp_path)
    assert everything(tmp_path) == {f"Digits-C/{name}": b"foreign"}


def test_official_images_are_not_fetched_into_generated_ones(small: Archive, tmp_path: Path, mirror: Any) -> None:
    generate("Small-C", tmp_path, ["gaussian"], limit=4)
    with pytest.raises(
        DataError, match=r"Small-C holds generated images, never to be mixed with official\. Name another"
    ):
        fetch("Small-C", tmp_path)
    assert mirror.asked == []


def test_a_manifest_that_cannot_be_read_is_one_line(digits: Archive, tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "Digits-C" / manifest.MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot read .*manifest\.json: .*Remove .* and generate it again") as caught:
        make(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_clean_images_there_is_nothing_to_generate(folders: Archive, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Folder-C cannot be generated: it belongs to no data set"):
        generate("Folder-C", tmp_path)


def test_folders_are_not_made_of_images_that_have_no_names(digits: Archive, tmp_path: Path, register: Any) -> None:
    register(replace(digits, layout="folders"))
    with pytest.raises(UsageError, match="Digits-C lies in folders: digits would have to do so as well"):
        generate("Digits-C", tmp_path, ["gaussian"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def photos(tmp_path: Path, register_part: Any, register: Callable[[Archive], Archive]) -> Archive:
    """`Photo-C` of five test images in three classes, larger than the 8x8 that is taken of them."""
    files = []
    for at, name in enumerate(["a/0", "a/1", "b/0", "b/1", "c/0"]):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(at).integers(256, size=(12, 10, 3), dtype=np.uint8)).save(path)
        files.append((str(path), "abc".index(name[0])))
    clean = Dataset("photos", 3, (0.5,) * 3, (0.5,) * 3, "imagenet", lambda _: FolderSplit(files, range(5), 8, "abc"))
    register_part(DATASETS, "photos", lambda *_: clean)
    tar_file = TarFile("noise.tar", "0" * 32, 0.1, (), {"gaussian_noise": None})
    return register(Archive("Photo-C", "folders", 3, 5, 8, (tar_file,), "photos"))


def through_jpeg(image: torch.Tensor) -> torch.Tensor:
    content = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(content, "JPEG", quality=85)
    return torch.from_numpy(np.array(Image.open(content))).permute(2, 0, 1)


def test_folders_of_jpeg_files_are_generated_with_the_names_of_the_clean_ones(photos: Archive, tmp_path: Path) -> None:
    generate("Photo-C", tmp_path, ["gaussian"], batch_size=5)
    names = {f"gaussian_noise/{s}/{at}.JPEG" for s in SEVERITIES for at in ("a/0", "a/1", "b/0", "b/1", "c/0")}
    assert set(everything(tmp_path / "Photo-C")) == names | {"manifest.json"}
    (made,) = open_archive("Photo-C", "gaussian", 2, tmp_path).batches(5, CPU)
    (clean,) = open_dataset("photos", tmp_path).open("test").batches(5, CPU)
    noisy = Noise("gaussian", 0.12)(clean)
    assert (made.labels.tolist(), made.index.tolist()) == ([0, 0, 1, 1, 2], [0, 1, 2, 3, 4])
    assert torch.equal(made.images, torch.stack([through_jpeg(image) for image in noisy]))
    told = json.loads((tmp_path / "Photo-C/manifest.json").read_text(encoding="utf-8"))
    assert told["members"]["gaussian_noise"]["jpeg_quality"] == 85
    assert verdicts(tmp_path, "Photo-C") == {"gaussian_noise": "generated"}


def test_some_images_of_folders_keep_their_labels_and_places(photos: Archive, tmp_path: Path) -> None:
    generate("Photo-C", tmp_path, ["gaussian"], limit=2, batch_size=2)
    (made,) = open_archive("Photo-C", "gaussian", 1, tmp_path).batches(2, CPU)
    assert (made.labels.tolist(), made.index.tolist()) == ([0, 1], [0, 2])


def test_folders_go_on_where_they_were(photos: Archive, tmp_path: Path) -> None:
    generate("Photo-C", tmp_path / "whole", ["gaussian"], batch_size=5)
    with pytest.raises(InterruptError):
        generate("Photo-C", tmp_path / "broken", ["gaussian"], batch_size=5, progress=Stopped(12))
    assert corrupt_calls(lambda: generate("Photo-C", tmp_path / "broken", ["gaussian"], batch_size=5)) == 10
    assert everything(tmp_path / "broken/Photo-C") == everything(tmp_path / "whole/Photo-C")
