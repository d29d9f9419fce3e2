"""The journal of a measurement: it outlives crashes, at any byte, and is gone when the measurement is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdnet_bench.errors import RecordError
from sdnet_bench.records.journal import Entry, Journal

ENTRIES: list[Entry] = [{"stage": stage, "places": [1, 22], "broken": [[True, False]]} for stage in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal"


def written(folder: Path, entries: list[Entry] = ENTRIES, writer: int = 0) -> Journal:
    journal = Journal(folder, writer)
    for entry in entries:
        journal.append(entry)
    return journal


def test_entries_come_back_in_their_order(folder: Path) -> None:
    assert list(written(folder)) == list(Journal(folder)) == ENTRIES


def test_a_journal_that_nothing_was_written_to_is_empty_and_makes_no_folder(folder: Path) -> None:
    assert list(Journal(folder)) == []
    Journal(folder).close()
    assert not folder.exists()


def test_a_journal_without_a_folder_keeps_nothing() -> None:
    journal = Journal()
    journal.append(ENTRIES[0])
    assert list(journal) == []
    journal.close()


def test_all_read_what_each_process_wrote(folder: Path) -> None:
    written(folder, ENTRIES[:1], writer=0)
    written(folder, ENTRIES[1:], writer=1)
    for writer in range(3):
        assert list(Journal(folder, writer)) == ENTRIES


LAST = len(b'{"stage": 2, "places": [1, 22], "broken": [[true, false]]}\n')


@pytest.mark.parametrize("missing", range(1, LAST + 1))
def test_a_crash_at_any_byte_costs_one_entry_and_no_more(folder: Path, missing: int) -> None:
    """The rest is read, and what is written then; and so again after the next crash."""
    written(folder)
    for _ in range(2):
        path = folder / "0.jsonl"
        path.write_bytes(path.read_bytes()[:-missing])
        assert list(Journal(folder)) == ENTRIES[:2]
        Journal(folder).append(ENTRIES[2])
        assert list(Journal(folder)) == ENTRIES


def test_a_torn_line_of_one_process_leaves_the_others_alone(folder: Path) -> None:
    written(folder, ENTRIES[:2], writer=0)
    written(folder, ENTRIES[2:], writer=1)
    path = folder / "0.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert list(Journal(folder)) == [ENTRIES[0], ENTRIES[2]]


def test_an_entry_is_on_its_way_to_the_disk_at_once(folder: Path) -> None:
    journal = Journal(folder)
    for count, entry in enumerate(ENTRIES, start=1):
        journal.append(entry)
        assert len((folder / "0.jsonl").read_bytes().splitlines()) == count


def test_a_journal_that_is_closed_is_gone(folder: Path) -> None:
    written(folder, writer=1)
    written(folder).close()
    assert not folder.exists()
    assert folder.parent.is_dir()
    assert list(Journal(folder)) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, no folder")
    with pytest.raises(RecordError, match=r"cannot write .*Name another --runs-dir\.") as caught:
        Journal(tmp_path / "run").append(ENTRIES[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"\x00" * 40, b'{"stage": 0, "pla'], ids=["zeros", "half a line"])
def test_a_damaged_entry_in_the_middle_is_an_error_that_names_the_file(folder: Path, damage: bytes) -> None:
    written(folder)
    path = folder / "0.jsonl"
    path.write_bytes(damage + b"\n" + path.read_bytes())
    with pytest.raises(RecordError, match=r"0\.jsonl is damaged\. Remove it"):
        list(Journal(folder))
