"""The journal of a measurement: it outlives crashes, at any byte, and is gone when the measurement is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdnet_bench.errors import RecordError
from sdnet_bench.records import REVISION, AttackSetting, Cell, Images
from sdnet_bench.records.journal import Entry, Head, Journal, remove_journals

ENTRIES = [Entry(stage=stage, places=(1, 22), broken=((True, False),)) for stage in range(3)]
CELLS = [
    Cell(
        weights="aa",
        images=Images(dataset="digits", split="test", digest="bb", seed=seed),
        attack=AttackSetting(norm="linf", eps=0.1, steps=2, revision=REVISION),
    )
    for seed in range(2)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal"


def written(folder: Path, entries: list[Entry] = ENTRIES, writer: int = 0) -> Journal:
    journal = Journal(folder, writer)
    for entry in entries:
        journal.append(entry)
    return journal


def read(journal: Journal) -> list[Entry]:
    """Of one scorer, 23 images and an attack of two runs."""
    return list(journal.read(1, 23, 2))


def test_entries_come_back_in_their_order(folder: Path) -> None:
    assert read(written(folder)) == read(Journal(folder)) == ENTRIES


def test_distances_are_in_the_entries_of_minimum_norm_attacks_alone(folder: Path) -> None:
    entry = ENTRIES[0].model_copy(update={"distances": (0.1, 1e-9)})
    assert read(written(folder, [entry])) == [entry]
    assert "distances" not in ENTRIES[0].model_dump_json()


def test_a_journal_that_nothing_was_written_to_is_empty_and_makes_no_folder(folder: Path) -> None:
    assert read(Journal(folder)) == []
    Journal(folder).close()
    assert not folder.exists()


def test_a_journal_without_a_folder_keeps_nothing() -> None:
    journal = Journal()
    journal.append(ENTRIES[0])
    assert read(journal) == []
    journal.close()


def test_all_read_what_each_process_wrote(folder: Path) -> None:
    written(folder, ENTRIES[:1], writer=0)
    written(folder, ENTRIES[1:], writer=1)
    for writer in range(3):
        assert read(Journal(folder, writer)) == ENTRIES


LAST = len(ENTRIES[2].model_dump_json()) + 1


@pytest.mark.parametrize("missing", range(1, LAST + 1))
def test_a_crash_at_any_byte_costs_one_entry_and_no_more(folder: Path, missing: int) -> None:
    """The rest is read, and what is written then; and so again after the next crash."""
    written(folder)
    for _ in range(2):
        path = folder / "0.jsonl"
        path.write_bytes(path.read_bytes()[:-missing])
        assert read(Journal(folder)) == ENTRIES[:2]
        Journal(folder).append(ENTRIES[2])
        assert read(Journal(folder)) == ENTRIES


def test_a_torn_line_of_one_process_leaves_the_others_alone(folder: Path) -> None:
    written(folder, ENTRIES[:2], writer=0)
    written(folder, ENTRIES[2:], writer=1)
    path = folder / "0.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert read(Journal(folder)) == [ENTRIES[0], ENTRIES[2]]


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
    assert read(Journal(folder)) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, no folder")
    with pytest.raises(RecordError, match=r"cannot write .*Name another folder with --runs-dir\.") as caught:
        Journal(tmp_path / "run").append(ENTRIES[0])
    assert "\n" not in str(caught.value)


GOOD: dict[str, Any] = {"stage": 0, "places": [1, 22], "broken": [[True, False]]}
DAMAGES: dict[str, Any] = {
    "zeros": b"\x00" * 40,
    "half a line": b'{"stage": 0, "pla',
    "not UTF-8": b'{"stage": "\xff"}',
    "deep": b"[" * 100_000,
    "a long number": b'{"stage": ' + b"9" * 5_000 + b"}",
    "a list": [],
    "a word": "stage",
    "nothing": {},
    "a field more": GOOD | {"more": 1},
    "no places": {"stage": 0, "broken": [[True, False]]},
    "a place before the first": GOOD | {"places": [1, -22]},
    "a place behind the last": GOOD | {"places": [1, 23]},
    "a run that is not there": GOOD | {"stage": 3},
    "a verdict more": GOOD | {"broken": [[True, False, True]]},
    "a scorer more": GOOD | {"broken": [[True, False]] * 2},
    "numbers as verdicts": GOOD | {"broken": [[2, 0]]},
    "a distance less": GOOD | {"distances": [0.5]},
    "a distance below zero": GOOD | {"distances": [0.5, -0.5]},
    "another checksum": GOOD | {"checksum": "0"},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_an_error_that_names_the_file(folder: Path, damage: Any) -> None:
    written(folder)
    path = folder / "0.jsonl"
    line = damage if isinstance(damage, bytes) else json.dumps(damage).encode()
    path.write_bytes(line + b"\n" + path.read_bytes())
    with pytest.raises(RecordError, match=r"0\.jsonl.* Remove it; what it told of is measured again") as caught:
        read(Journal(folder))
    assert "\n" not in str(caught.value)


def test_a_changed_digit_or_verdict_is_refused(folder: Path) -> None:
    written(folder)
    path = folder / "0.jsonl"
    whole = path.read_bytes()
    for old, new in [(b"22", b"12"), (b'"stage":1', b'"stage":0'), (b"[true,false]", b"[true,true]")]:
        assert old in whole
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(RecordError, match=r"0\.jsonl, line \d: content: its checksum is another one"):
            read(Journal(folder))


def test_journals_of_what_is_on_record_and_of_other_versions_are_removed(tmp_path: Path) -> None:
    for cell in CELLS:
        Journal.of(tmp_path, [cell]).append(ENTRIES[0])
    written(tmp_path / "journal-0123456789abcdef")  # as earlier versions named them
    written(tmp_path / f"journal-{REVISION + 1}-0123456789abcdef")
    remove_journals(tmp_path, lambda head: head == Head(cells=(CELLS[0],)))
    (left,) = tmp_path.iterdir()
    assert read(Journal.of(tmp_path, [CELLS[1]])) == read(Journal(left)) == [ENTRIES[0]]


def test_a_journal_that_stores_images_is_another_one(tmp_path: Path) -> None:
    Journal.of(tmp_path, CELLS).append(ENTRIES[0])
    assert read(Journal.of(tmp_path, CELLS)) == [ENTRIES[0]]
    assert read(Journal.of(tmp_path, CELLS, saved=True)) == []
    assert read(Journal.of(tmp_path, CELLS[:1])) == []
