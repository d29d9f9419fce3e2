"""Files that are damaged, scratch files that a killed process left, and locks that another process holds."""

from __future__ import annotations

import errno
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sdnet_bench.errors import DataError, RecordError, UsageError
from sdnet_bench.files import drop_torn_line, holding, reading, remove_free_locks, replacing, scratch_folder
from sdnet_bench.progress import Progress


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5_000, "{", "\x00", ""])
def test_whatever_a_parser_raises_is_one_line_that_names_the_file(content: str, tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"^cannot read a\.json: .*\. Remove it\.$"),
        reading("a.json", DataError, hint="Remove it."),
    ):
        json.loads(content)


def test_errors_of_the_package_pass_a_reader() -> None:
    with pytest.raises(RecordError, match=r"^inner$"), reading("a.json", DataError):
        raise RecordError("inner")


def test_scratch_files_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, foreign = (tmp_path / f".a.json.{host}.{int(child.stdout)}" for host in (platform.node(), "elsewhere"))
    living = tmp_path / f".a.json.{platform.node()}.1"
    for path in (dead, foreign, living):
        path.touch()
    with replacing(tmp_path / "a.json") as scratch:
        scratch.write_text("{}")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", foreign.name, living.name}


def test_a_file_on_read_only_storage_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There even the removal of a file that is not there is refused."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("unlink", "write_text"):
        monkeypatch.setattr(Path, name, refused)
    expected = r"^cannot write .*a\.json: Read-only file system\. Name another folder\.$"
    with pytest.raises(RecordError, match=expected), replacing(tmp_path / "a.json") as scratch:
        scratch.write_text("{}")


def test_a_lock_that_is_not_waited_for_is_one_line(tmp_path: Path) -> None:
    lock = tmp_path / "runs" / ".lock"
    with holding(lock, Progress(), "trains tiny", waits=False):
        expected = r"another process trains tiny\. Wait until it has ended\."
        with pytest.raises(UsageError, match=expected), holding(lock, Progress(), "trains tiny", waits=False):
            raise AssertionError("held twice")
    with holding(lock, Progress(), "trains tiny", waits=False):
        pass


def test_scratch_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, living = (tmp_path / f".scratch.{platform.node()}.{number}" for number in (int(child.stdout), 1))
    for folder in (dead, living):
        (folder / "run").mkdir(parents=True)
    with scratch_folder(tmp_path) as scratch:
        assert [*scratch.iterdir()] == []
        assert not dead.exists()
    assert [*tmp_path.iterdir()] == [living]


def test_a_lock_that_another_process_holds_is_waited_for_and_said(tmp_path: Path) -> None:
    script = "import sys, time, filelock\nwith filelock.FileLock(sys.argv[1]):\n print(flush=True); time.sleep(1.5)"
    command = [sys.executable, "-c", script, str(tmp_path / ".lock")]
    notes = Notes()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        with holding(tmp_path / ".lock", notes, "measures tiny"):
            assert other.wait() == 0
    assert notes.lines == ["another process measures tiny: waiting for it"]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("torn", [b"", b"x", b"x" * 4095, b"\0" * 4096, b"x" * 10_000])
@pytest.mark.parametrize("whole", [b"", b"one\n", b"y" * 9_000 + b"\n", b"\n" * 4096])
def test_what_follows_the_last_line_break_is_dropped(tmp_path: Path, whole: bytes, torn: bytes) -> None:
    (tmp_path / "lines").write_bytes(whole + torn)
    assert drop_torn_line(tmp_path / "lines") == len(whole)
    assert (tmp_path / "lines").read_bytes() == whole


def test_locks_that_killed_processes_left_are_removed_and_held_ones_stay(tmp_path: Path) -> None:
    for name in (".one.lock", "two.lock", "other"):
        (tmp_path / name).touch()
    with holding(tmp_path / "held.lock", Progress(), "holds"):
        remove_free_locks(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"other", "held.lock"}
