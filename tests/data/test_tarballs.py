"""Tar archives from a server of our own: in place whole and checked, or not at all; nothing lands outside."""

from __future__ import annotations

import hashlib
import io
import platform
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from sdnet_bench.data.tarballs import fetch_tar, unpack
from sdnet_bench.errors import DataError, InterruptError, RecordError
from sdnet_bench.progress import Progress


def tar(**files: bytes) -> bytes:
    """A gzipped archive; `__` in a name is a slash."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


GOOD = tar(things__a=b"one", things__b=b"two")


@pytest.fixture
def server(mirror: Any, naps: list[float]) -> Any:
    mirror.body = GOOD
    return mirror


def fetch(server: Any, folder: Path, *, md5: str | None = None) -> None:
    fetch_tar(server.url, md5 or hashlib.md5(server.body).hexdigest(), folder, "things", Progress())


def test_a_good_archive_lands(server: Any, tmp_path: Path) -> None:
    fetch(server, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["things"]
    assert (tmp_path / "data/things/a").read_bytes() == b"one"
    assert (tmp_path / "data/things/b").read_bytes() == b"two"


def test_progress_counts_the_bytes(server: Any, tmp_path: Path, told: Progress) -> None:
    fetch_tar(server.url, hashlib.md5(GOOD).hexdigest(), tmp_path, "things", told)
    assert told.images == 2 * len(GOOD) + len(b"onetwo"), "downloaded, checked and unpacked"  # type: ignore[attr-defined]


def test_a_folder_that_another_process_put_there_stays(server: Any, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    (tmp_path / "things/old").touch()
    fetch(server, tmp_path)
    assert sorted(path.name for path in (tmp_path / "things").iterdir()) == ["old"]


def assert_refused(server: Any, folder: Path, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        fetch(server, folder)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []
    assert not (folder.parent / "escaped").exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_an_archive_without_the_folder_is_refused(server: Any, data: Path) -> None:
    server.body = tar(other__a=b"one")
    assert_refused(server, data, "the archive is not what it should be, expected a folder things")


def test_a_failed_download_leaves_what_was_there(server: Any, data: Path) -> None:
    (data / "others").mkdir()
    (data / "others/old").touch()
    with pytest.raises(DataError, match="is damaged, expected md5 "):
        fetch(server, data, md5="0" * 32)
    assert [path.name for path in data.rglob("*")] == ["others", "old"]


def test_a_folder_that_cannot_be_made_is_one_line(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write .*file/data"):
        fetch(server, tmp_path / "file" / "data")


def entry(name: str, **how: Any) -> bytes:
    """An archive with a good file, and one that is what `how` says."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for info in (tarfile.TarInfo("things/good"), tarfile.TarInfo(name)):
            for key, value in (how if info.name == name else {}).items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return content.getvalue()


OUTSIDE = "lies outside of it"
NO_FILE = "is neither a file nor a folder"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (entry("../escaped"), OUTSIDE),
        (entry("things/../../escaped"), OUTSIDE),
        (entry("/tmp/escaped"), OUTSIDE),
        (entry("things/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), NO_FILE),
        (entry("things/link", type=tarfile.SYMTYPE, linkname="good"), NO_FILE),
        (entry("things/link", type=tarfile.LNKTYPE, linkname="../../escaped"), NO_FILE),
        (entry("things/pipe", type=tarfile.FIFOTYPE), NO_FILE),
        (GOOD[:-30], "end-of-stream|end of data"),
        (b"<html>Welcome to the hotel's network</html>", ""),
        (entry("things/b", size=5000)[:2000], "unexpected end of data"),
    ],
    ids=lambda value: "archive" if isinstance(value, bytes) else None,  # the time is in its bytes
)
def test_nothing_is_unpacked_of_an_archive_with_anything_bad_in_it(
    server: Any, data: Path, content: bytes, complaint: str
) -> None:
    server.body = content
    assert_refused(server, data, f"cannot read .*({complaint})")


def test_only_what_has_a_place_is_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "things.tar.gz"
    archive.write_bytes(GOOD)
    unpack(archive, tmp_path / "out", lambda name: PurePosixPath("x/y") if name.name == "b" else None, Progress())
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["x", "y"]
    assert (tmp_path / "out/x/y").read_bytes() == b"two"


def test_an_interrupt_while_unpacking_leaves_the_download_and_nothing_else(
    server: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise InterruptError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", stop)
        with pytest.raises(InterruptError):
            fetch(server, data)
    assert [path.name for path in data.iterdir()] == ["things.tar.gz"]
    fetch(server, data)
    assert [path.name for path in data.iterdir()] == ["things"]
    assert server.asked == [None]


def test_what_a_killed_process_left_is_swept_away(server: Any, data: Path) -> None:
    left = data / f".scratch.{platform.node()}.{2**31 - 1}" / "things"
    left.mkdir(parents=True)
    (left / "half").touch()
    fetch(server, data)
    assert sorted(path.name for path in (data / "things").iterdir()) == ["a", "b"]
    assert [path.name for path in data.iterdir()] == ["things"]
