"""Downloads from servers of our own: resumed to the byte, tried again within bounds, whole and checked or not there."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdnet_bench.data.download import LONGEST_WAIT, PAUSES, download, require_room
from sdnet_bench.errors import DataError, InterruptError
from sdnet_bench.progress import Progress, Task

BODY = bytes(range(256)) * 1200
SIZE = len(BODY)
MD5 = hashlib.md5(BODY).hexdigest()


def load(target: Path, *mirrors: Any, size: int | None = SIZE, progress: Progress | None = None) -> None:
    download([mirror.url for mirror in mirrors], target, MD5, size, progress or Progress())


def refused(target: Path, *mirrors: Any, size: int | None = SIZE) -> str:
    """The one-line complaint of a download that fails."""
    with pytest.raises(DataError) as caught:
        load(target, *mirrors, size=size)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    return str(caught.value)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "things.tar"


@pytest.fixture
def part(target: Path) -> Path:
    """Where the first third of the file has come to."""
    path = target.with_name("things.tar.part")
    path.write_bytes(BODY[: SIZE // 3])
    return path


@pytest.fixture
def good(mirror: Any, naps: list[float]) -> Any:
    """A mirror of the file; no pause lasts."""
    mirror.body = BODY
    return mirror


@pytest.fixture
def answer(good: Any) -> Any:
    """`answer(status=404)`: how the next request is answered."""

    def told(**how: Any) -> None:
        good.script.append(type(good.usual)(**how))

    return told


def assert_landed(target: Path) -> None:
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_file_comes_whole_in_one_request(good: Any, target: Path) -> None:
    load(target, good)
    assert_landed(target)
    assert good.asked == [None]


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_dropped_connection_is_taken_up_where_it_broke(good: Any, answer: Any, target: Path, size: int) -> None:
    answer(drop_after=100_000)
    load(target, good, size=size)
    assert_landed(target)
    assert good.asked == [None, "bytes=100000-"]
    assert good.sent == SIZE


def test_a_line_that_drops_again_and_again_but_brings_something_gets_there(
    good: Any, answer: Any, target: Path, naps: list[float]
) -> None:
    for _ in range(2 * len(PAUSES)):
        answer(drop_after=30_000)
    load(target, good)
    assert_landed(target)
    assert good.sent == SIZE
    assert set(naps) == {PAUSES[0]}


@pytest.mark.parametrize(
    ("how", "reason"), [({"drop_after": 0}, "broke off after 0 of"), ({"status": 503}, "Error 503")]
)
def test_a_line_that_brings_nothing_and_a_server_that_stays_overloaded_are_given_up(
    good: Any, target: Path, naps: list[float], how: dict[str, int], reason: str
) -> None:
    good.usual = type(good.usual)(**how)
    assert reason in refused(target, good)
    assert naps == list(PAUSES)
    assert list(target.parent.iterdir()) == []


def test_what_came_in_an_earlier_run_is_not_asked_for_again(good: Any, target: Path, part: Path, told: Any) -> None:
    load(target, good, progress=told)
    assert_landed(target)
    assert good.asked == [f"bytes={SIZE // 3}-"]
    assert good.sent == SIZE - SIZE // 3
    assert told.images == 2 * SIZE, "the bar counts what was resumed, and what was checked"


def test_a_server_that_knows_no_ranges_sends_everything_again(good: Any, target: Path, part: Path) -> None:
    good.usual = type(good.usual)(ignores_ranges=True)
    load(target, good)
    assert_landed(target)
    assert good.sent == SIZE


def test_a_server_that_knows_no_ranges_and_always_drops_is_given_up(good: Any, target: Path) -> None:
    good.usual = type(good.usual)(ignores_ranges=True, drop_after=100_000)
    assert "broke off after 100,000 of 307,200 bytes" in refused(target, good)
    assert len(good.asked) == 1 + len(PAUSES)


def test_another_range_than_was_asked_for_is_not_appended(good: Any, answer: Any, target: Path, part: Path) -> None:
    answer(shift=7)
    load(target, good)
    assert_landed(target)
    assert good.asked == [f"bytes={SIZE // 3}-", None]


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_part_that_is_the_whole_is_only_checked_and_one_that_is_too_long_dropped(
    good: Any, target: Path, part: Path, size: int, more: bytes
) -> None:
    part.write_bytes(BODY + more)
    load(target, good, size=size)
    assert_landed(target)
    assert good.sent == (SIZE if more else 0)
    assert not more or good.asked == [f"bytes={SIZE + 4}-", None]


def test_an_interrupt_keeps_what_came(good: Any, target: Path) -> None:
    class Stopped(Progress, Task):
        @contextmanager
        def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
            yield self

        def advance(self, amount: int) -> None:
            if amount:
                raise InterruptError("interrupted")

    with pytest.raises(InterruptError):
        load(target, good, progress=Stopped())
    came = target.with_name("things.tar.part").stat().st_size
    assert 0 < came < SIZE
    load(target, good)
    assert_landed(target)
    assert good.asked == [None, f"bytes={came}-"]


@pytest.mark.parametrize("size", [SIZE, None])
def test_wrong_bytes_are_one_line_and_leave_nothing(good: Any, target: Path, size: int) -> None:
    good.body = b"?" + BODY[1:]
    found = hashlib.md5(good.body).hexdigest()
    assert f"{good.url} is damaged, expected md5 {MD5}, got {found}" in refused(target, good, size=size)
    assert list(target.parent.iterdir()) == []


def test_a_part_with_wrong_bytes_starts_anew(good: Any, target: Path, part: Path) -> None:
    part.write_bytes(b"?" * 1000)
    load(target, good)
    assert_landed(target)


@pytest.mark.parametrize("how", [{"status": 403}, {"status": 404}, {"status": 410}, {"body": b"?" * SIZE}])
def test_the_next_mirror_is_asked(good: Any, other_mirror: Any, target: Path, told: Any, how: dict[str, Any]) -> None:
    good.usual, other_mirror.body = type(good.usual)(**how), BODY
    load(target, good, other_mirror, progress=told)
    assert_landed(target)
    assert len(good.asked) == 1
    assert any(good.url in note and other_mirror.url in note for note in told.notes)


def test_the_next_mirror_goes_on_where_the_first_broke_off(
    good: Any, answer: Any, other_mirror: Any, target: Path
) -> None:
    answer(drop_after=100_000)
    good.usual, other_mirror.body = type(good.usual)(status=403), BODY
    load(target, good, other_mirror)
    assert_landed(target)
    assert other_mirror.asked == ["bytes=100000-"]


def test_when_no_mirror_helps_each_says_why(good: Any, other_mirror: Any, target: Path) -> None:
    good.usual, other_mirror.usual = type(good.usual)(status=403), type(good.usual)(status=404)
    line = refused(target, good, other_mirror)
    assert line.startswith("cannot download things.tar: ")
    assert f"{good.url}: HTTP Error 403" in line
    assert f"{other_mirror.url}: HTTP Error 404" in line
    assert line.endswith(f"put it at {target}, or name the folder that has it with --data-dir.")


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (None, PAUSES[0]),
        ("0", PAUSES[0]),
        ("7", 7.0),
        ("soon", PAUSES[0]),
        ("Wed, 01 Jan 2020 00:00:00 GMT", PAUSES[0]),
    ],
)
def test_an_overloaded_server_gets_the_time_it_asks_for(
    good: Any, answer: Any, target: Path, naps: list[float], asked: str | None, pause: float
) -> None:
    answer(status=503, retry_after=asked)
    load(target, good)
    assert_landed(target)
    assert naps == [pause]


def test_a_server_that_asks_for_too_much_time_is_left(
    good: Any, other_mirror: Any, target: Path, naps: list[float]
) -> None:
    good.usual, other_mirror.body = type(good.usual)(status=503, retry_after=str(LONGEST_WAIT + 1)), BODY
    load(target, good, other_mirror)
    assert_landed(target)
    assert naps == []


@pytest.mark.parametrize("how", [{"body": b"<html>Welcome to the hotel's network</html>"}, {"promise": -5}])
def test_a_file_of_another_length_is_refused_before_anything_is_lost(
    good: Any, target: Path, part: Path, how: dict[str, Any]
) -> None:
    good.usual = type(good.usual)(ignores_ranges=True, **how)
    assert "is another file, expected 307,200 bytes, got " in refused(target, good)
    assert part.read_bytes() == BODY[: SIZE // 3]


def test_a_short_promise_is_noticed_where_the_size_is_not_known(good: Any, target: Path) -> None:
    good.usual = type(good.usual)(promise=-5)
    assert "is damaged, expected md5" in refused(target, good, size=None)


def test_a_file_that_is_there_is_checked_and_not_downloaded(good: Any, target: Path) -> None:
    target.write_bytes(BODY)
    load(target, good)
    target.write_bytes(BODY[:-1])
    with pytest.raises(DataError, match=rf"things\.tar is damaged, expected md5 {MD5}, got .*\. Remove it to download"):
        load(target, good)
    assert good.asked == []


def test_without_a_server_the_way_out_is_named_at_once(target: Path, mirror: Any, naps: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mirror.url = f"http://127.0.0.1:{free.getsockname()[1]}/things.tar"
        assert "Connection refused. Download it elsewhere" in refused(target, mirror)
    assert naps == []


def test_a_disk_that_cannot_be_written_is_no_reason_to_try_again(good: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*file: .*Name another folder with --data-dir"):
        load(tmp_path / "file" / "things.tar", good)
    assert good.asked == []


def test_too_little_room_is_one_line(tmp_path: Path) -> None:
    require_room(tmp_path, 1, "a byte")
    with pytest.raises(
        DataError, match=r"too little room in .* for it, expected 1000000000\.0 GB, got [\d.]+ GB\. Make"
    ):
        require_room(tmp_path, 10**18, "it")
