"""Commands that measure the same at the same time, and what killed ones leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults.process import Started

from sdnet_bench.engine.adversarial_set import is_whole, open_adversarial
from sdnet_bench.engine.evaluate import evaluate
from sdnet_bench.records import RecordStore, Threat
from sdnet_bench.records.journal import Journal
from sdnet_bench.studies.protocols import attack_setting, matched_cells
from sdnet_bench.studies.workbench import Workbench

NAME = "sdnet18-tiny"
SETTING = attack_setting(Threat("linf", 16 / 255), steps=4, restarts=2)


def at_once(runs: Path, count: int, *words: str) -> list[str]:
    """The outputs of equal commands that run side by side; all end well."""
    words = (*words, "--runs-dir", str(runs), "--data-dir", str(runs / "data"), "--device", "cpu", "--json")
    ended = [one.ended() for one in [Started(words, runs.parent) for _ in range(count)]]
    assert [one.status for one in ended] == [0] * count, ended
    return [one.out for one in ended]


def left_behind(runs: Path) -> list[str]:
    return [path.name for path in (runs / NAME).iterdir() if path.name.startswith((".", "journal"))]


def test_equal_evaluations_measure_every_cell_once(runs: Path) -> None:
    before = len(RecordStore(runs / NAME))
    one, *others = at_once(runs, 4, "evaluate", NAME, "--corruption", "gaussian", "--limit", "20")
    assert others == [one] * 3
    lines = (runs / NAME / RecordStore.FILE).read_bytes().splitlines()
    assert len(lines) == len(RecordStore(runs / NAME)) == before + len(json.loads(one))
    assert left_behind(runs) == []
    card = (runs / NAME / "README.md").read_bytes()
    assert at_once(runs, 1, "evaluate", NAME, "--corruption", "gaussian", "--limit", "20") == [one]
    assert (runs / NAME / "README.md").read_bytes() == card


def test_equal_attacks_that_save_leave_one_set_as_strong_as_its_record(runs: Path, sdnet: Workbench) -> None:
    options = ["--lambdas", "0.1", "--steps", "4", "--limit", "30", "--eps", "16/255", "--save"]
    one, other = at_once(runs, 2, "attack", NAME, "--protocol", "matched", *options)
    assert one == other
    assert left_behind(runs) == []
    (folder,) = (runs / NAME / "adversarial").iterdir()
    saved, _ = open_adversarial(folder, sdnet.split("test", 30))
    (row,) = (row for row in json.loads(one) if row["split"] == "test")
    standing = 100 * evaluate(sdnet.model.net, saved, sdnet.runtime)[None].correct.mean()
    assert row["accuracy"] < row["clean"] - 10
    assert abs(standing - row["accuracy"]) <= 100 * 2 / 30


def test_what_another_command_measures_is_waited_for_and_read(open_bench: Any, told: Any) -> None:
    bench, other = open_bench(NAME), open_bench(NAME)
    cell = bench.cell(bench.images("test", 20, corruption="gaussian", severity=1))
    (first,) = other.measure([cell], "first")
    told.images = 0
    (second,) = bench.measure([cell], "second")
    assert (second, told.images) == (first, 20)
    assert len(RecordStore(bench.folder)) == len(bench.store.path.read_bytes().splitlines())


def test_a_lock_that_is_held_is_said(sdnet: Workbench, told: Any) -> None:
    script = "import sys, time, filelock\nwith filelock.FileLock(sys.argv[1]):\n print(flush=True); time.sleep(1.5)"
    (cell,) = matched_cells(sdnet, SETTING, sdnet.images("test", 8), [0.1])
    lock = sdnet.folder / f".{cell.images_key[:16]}.lock"
    with subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        sdnet.measure([cell], "attack")
    assert "another process measures sdnet18-tiny on pgd, linf 16/255: waiting for it" in told.notes
    assert not lock.exists()


@pytest.mark.parametrize("save", [False, True])
def test_a_journal_of_what_is_on_record_is_removed_by_the_same_command(
    sdnet: Workbench, monkeypatch: pytest.MonkeyPatch, save: bool
) -> None:
    """It was killed after the last record."""
    (cell,) = matched_cells(sdnet, SETTING, sdnet.images("test", 8), [0.1])
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "close", lambda journal: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sdnet.measure([cell], "attack", save=save)
        assert len([*sdnet.folder.glob("journal-*")]) == 1 or save
    sdnet.measure([cell], "attack", save=save)
    assert [*sdnet.folder.glob("journal-*")] == []
    assert is_whole(sdnet.adversarial_folder(cell)) == save
