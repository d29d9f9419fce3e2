"""Records: keys that follow the content, outcomes bit by bit, and a file that survives crashes and company."""

from __future__ import annotations

import base64
import gc
import math
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from found import there
from hypothesis import given, strategies as st
from pydantic import ValidationError
from together import run_together

from sdnet_bench.errors import RecordError
from sdnet_bench.records import (
    CLEAN,
    AttackSetting,
    Cell,
    Images,
    Inference,
    Record,
    RecordStore,
    Threat,
    load,
    read_results,
    write_results,
)

ATTACK = AttackSetting(norm="linf", eps=8 / 255, step_size=2 / 255, steps=10)
CELL = Cell(
    weights="aa",
    images=Images(dataset="digits", split="test", digest="bb"),
    inference=Inference(lambda_=0.1),
    attack=ATTACK,
)

CELL_CHANGES: dict[str, Any] = {
    "kind": "training",
    "weights": "ab",
    "dataset": "cifar10",
    "split": "train",
    "images": "bc",
    "limit": 100,
    "block": (0, 250),
    "lambda_": 0.2,
    "steps": 4,
    "layers": "stem",
    "corruption": "gaussian",
    "level": 0.08,
    "severity": 3,
    "archive": "cd",
    "attack": None,
    "defence": "blur",
    "rule": "algorithm-1",
    "precision": "bfloat16",
    "seed": 1,
}
ATTACK_CHANGES: dict[str, Any] = {
    "name": "fgsm",
    "norm": "l2",
    "eps": 0.5,
    "step_size": 0.1,
    "steps": 20,
    "restarts": 2,
    "crafted_at": 0.1,
    "through": "attached",
    "inference_steps": 4,
    "smooth": True,
    "gradient": "phantom",
    "revision": 7,
}

APPENDER = """
import sys
from pathlib import Path
import numpy as np
from sdnet_bench.records import Cell, Images, Record, RecordStore

store = RecordStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 50):
    cell = Cell(weights="aa", images=Images(dataset="digits", split="test", digest="bb", seed=seed))
    store.append(Record.of("m", cell, np.ones(2000, bool)))
"""


def changed(**fields: Any) -> Cell:
    return Cell.model_validate(CELL.model_dump() | fields)


def record(seed: int = 0, **rest: Any) -> Record:
    return Record.of("a-model", changed(seed=seed), np.array([True, False, True]), **rest)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    """Three records, with seeds 0 to 2."""
    store = RecordStore(tmp_path / "run")
    for seed in range(3):
        store.append(record(seed))
    return store


@pytest.mark.parametrize("field", CELL.model_dump())
def test_the_key_depends_on_every_field_of_the_cell(field: str) -> None:
    assert changed(**{field: CELL_CHANGES[field]}).key != CELL.key


def test_a_cell_is_written_flat_and_read_back() -> None:
    cell = Cell.model_validate(CELL_CHANGES)
    assert cell.model_dump() == CELL_CHANGES
    assert Cell.model_validate_json(cell.model_dump_json()) == cell
    assert (cell.images.digest, cell.images.clean.corruption, cell.inference.choice) == ("bc", None, "algorithm-1")


def unsealed(line: str) -> str:
    """As earlier versions wrote it: without a checksum."""
    return re.sub(r',"checksum":"\w+"', "", line)


def test_a_line_says_its_schema_and_has_a_checksum_and_one_without_is_read_too() -> None:
    line = record().model_dump_json()
    assert re.fullmatch(r'{"schema":2,"model":"a-model","cell":{"kind":"accuracy",.*,"checksum":"[0-9a-f]{16}"}', line)
    assert Record.model_validate_json(unsealed(line)) == record()
    for old in ('"schema":1,', ""):
        assert Record.model_validate_json(unsealed(line).replace('"schema":2,', old)) == record()


@pytest.mark.parametrize(("old", "new"), [('"schema":2', '"schema":3'), ('"limit":', '"limits":')])
def test_a_line_of_a_later_version_is_refused(old: str, new: str) -> None:
    with pytest.raises(ValidationError, match=r"schema 3 is of a later version|Extra inputs are not permitted"):
        Record.model_validate_json(unsealed(record().model_dump_json()).replace(old, new))


def attacked() -> Record:
    """A record with something in every field."""
    found = Record.of_attack("m", CELL, {CLEAN: bits(0, 9), "pgd": bits(2, 10)}, {"residual": 3.25, "odd": math.nan})
    return found.model_copy(update={"provenance": {"version": "1.0", "seconds": 2.5}})


def test_a_changed_character_anywhere_is_refused() -> None:
    line = attacked().model_dump_json()
    assert Record.model_validate_json(line).lost_to == attacked().lost_to
    for at in range(len(line)):
        other = "1" if line[at] != "1" else "2"
        with pytest.raises(ValidationError):
            Record.model_validate_json(line[:at] + other + line[at + 1 :])


@pytest.mark.parametrize("text", ["!!!!", "AAA=", "AAAAAAAA", "AA==", "AAA", "AAC=", "AB A", "A\u00e9=="])
def test_outcomes_that_are_not_strict_base64_of_these_images_are_refused(text: str) -> None:
    """Of 22 images: three bytes, whose last two bits are zero."""
    good = Record.of("m", CELL, np.ones(22, bool)).model_dump()
    assert (good["outcomes"], Record.model_validate(good).accuracy) == ("///8", 1.0)
    for field in ({"outcomes": text}, {"outcomes": "////"}, {"lost_to": {"pgd": text}}):
        with pytest.raises(ValidationError, match="outcomes are not those of 22 images"):
            Record.model_validate(good | field)


NEAREST = changed(attack=AttackSetting(name="ddn", norm="l2", eps=0.5, steps=100, crafted_at=0.1))
RADII = np.array([0, 0.25, np.inf, 1e-7, 0.5, 0.500001, 40], np.float32)


def test_radii_come_back_bit_by_bit_and_say_who_is_lost() -> None:
    found = Record.model_validate_json(Record.of_radii("m", NEAREST, RADII).model_dump_json())
    assert found.radii is not None
    assert found.radii.tolist() == RADII.tolist()
    assert found.correct.tolist() == [False, False, True, False, False, True, True]
    assert found.lost(CLEAN).tolist() == [True] + 6 * [False]
    assert found.lost("ddn").sum() == 3


@pytest.mark.parametrize(("eps", "left"), [(1e-8, 6), (0.25, 4), (0.5, 3), (1, 2), (50, 1)])
def test_a_record_of_radii_is_one_of_any_eps(eps: float, left: int) -> None:
    found = there(Record.of_radii("m", NEAREST, RADII, {"odd": 1}).under(Threat("l2", eps)))
    assert found.correct.sum() == left
    assert there(found.cell.attack).threat == Threat("l2", eps)
    assert found.lost(CLEAN).sum() == 1
    assert found.metrics == {"odd": 1}
    assert there(found.under(Threat("l2", 0.25))).correct.sum() == 4


def test_other_records_are_of_their_own_threat_alone() -> None:
    assert Record.of_radii("m", NEAREST, RADII).under(Threat("linf", 0.5)) is None
    assert there(attacked().cell.attack).norm == "linf"
    assert attacked().under(there(attacked().cell.attack).threat) == attacked()
    assert attacked().under(Threat("linf", 0.5)) is None
    assert record().under(Threat("linf", 0.5)) is None


def test_other_records_say_nothing_of_radii() -> None:
    """So they are the bytes that they were."""
    assert '"distances"' not in attacked().model_dump_json()
    assert attacked().radii is None


def test_radii_that_are_none_of_these_images_are_refused() -> None:
    good = Record.of_radii("m", NEAREST, RADII).model_dump()
    for wrong in (RADII[1:], -RADII, RADII * np.float32(np.nan)):
        bad = {"distances": base64.b64encode(wrong.tobytes()).decode()}
        with pytest.raises(ValidationError, match="distances are not those of 7 images"):
            Record.model_validate(good | bad)


def test_an_accuracy_without_outcomes_is_refused() -> None:
    with pytest.raises(ValidationError, match="an accuracy without outcomes"):
        Record.model_validate(record().model_dump() | {"outcomes": None})


@pytest.mark.parametrize("field", AttackSetting.model_fields)
def test_the_key_depends_on_every_setting_of_the_attack(field: str) -> None:
    attack = ATTACK.model_copy(update={field: ATTACK_CHANGES[field]})
    assert CELL.model_copy(update={"attack": attack}).key != CELL.key


def test_equal_cells_have_equal_keys() -> None:
    assert Cell.model_validate_json(CELL.model_dump_json()).key == CELL.key


def test_how_it_went_is_not_in_the_key() -> None:
    told = record(metrics={"residual": 1.0}).model_copy(update={"provenance": {"device": "cpu"}})
    assert told.cell.key == record().cell.key


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_outcomes_come_back_bit_by_bit(outcomes: list[bool]) -> None:
    stored = Record.of("m", CELL, np.array(outcomes, dtype=bool)).model_dump_json()
    assert Record.model_validate_json(stored).correct.tolist() == outcomes


@pytest.mark.parametrize(("outcomes", "accuracy"), [([1, 1, 1], 1.0), ([0, 0], 0.0), ([1, 0, 0, 1, 0], 0.4)])
def test_accuracy_is_the_share_of_correct_images(outcomes: list[int], accuracy: float) -> None:
    assert Record.of("m", CELL, np.array(outcomes, dtype=bool)).accuracy == accuracy


def bits(*places: int) -> np.ndarray[Any, Any]:
    return np.isin(np.arange(11), places)


def test_under_attack_those_stand_that_fell_to_nothing() -> None:
    found = Record.of_attack("m", CELL, {CLEAN: bits(0, 9), "pgd": bits(2, 10), "square": bits(3)})
    assert np.flatnonzero(found.correct).tolist() == [1, 4, 5, 6, 7, 8]
    assert found.accuracy == pytest.approx(6 / 11)
    assert found.n == 11


@given(st.lists(st.sampled_from(["", CLEAN, "pgd", "fab-t"]), min_size=1, max_size=40))
def test_what_images_fell_to_comes_back_bit_by_bit(fate: list[str]) -> None:
    losses = {name: np.array([what == name for what in fate]) for name in (CLEAN, "pgd", "fab-t")}
    stored = Record.of_attack("m", CELL, losses, metrics={"residual": 1.0}).model_dump_json()
    found = Record.model_validate_json(stored)
    assert {name: found.lost(name).tolist() for name in losses} == {
        name: lost.tolist() for name, lost in losses.items()
    }
    assert found.correct.tolist() == [not what for what in fate]
    assert found.metrics == {"residual": 1.0}


def test_what_nothing_fell_to_is_not_written_down() -> None:
    found = Record.of_attack("m", CELL, {CLEAN: bits(1), "pgd": bits()})
    assert set(found.lost_to) == {CLEAN}
    assert found.lost("pgd").tolist() == found.lost("never run").tolist() == [False] * 11


def test_a_record_of_no_attack_has_lost_nothing_to_any() -> None:
    assert record().lost_to == {}
    assert record().lost(CLEAN).tolist() == [False] * 3


def test_a_new_store_is_empty_and_writes_nothing(tmp_path: Path) -> None:
    assert len(RecordStore(tmp_path / "run")) == 0
    assert not (tmp_path / "run").exists()


def test_records_read_back_as_they_were_appended(store: RecordStore) -> None:
    again = RecordStore(store.path.parent)
    assert list(again) == list(store) == [record(0), record(1), record(2)]


def test_a_record_is_found_by_its_cell(store: RecordStore) -> None:
    assert record(1).cell in store
    assert store[record(1).cell] == record(1)
    assert record(9).cell not in store


def test_known_records_are_in_a_store_behind_its_file_and_not_in_it(store: RecordStore) -> None:
    again = RecordStore(store.path.parent, known=[record(1, metrics={"residual": 2.0}), record(8)])
    assert again[record(1).cell] == record(1)
    assert (len(again), record(8).cell in again) == (4, True)
    assert list(RecordStore(store.path.parent)) == list(store)


def test_the_last_record_of_a_cell_counts(store: RecordStore) -> None:
    store.append(record(1, metrics={"residual": 2.0}))
    again = RecordStore(store.path.parent)
    assert len(again) == 3
    assert again[record(1).cell].metrics == {"residual": 2.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_leaves_a_readable_file(store: RecordStore, value: float) -> None:
    store.append(record(3, metrics={"residual": value}))
    (metric,) = RecordStore(store.path.parent)[record(3).cell].metrics.values()
    assert metric == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("missing", [1, 2, 100])
def test_a_torn_last_line_is_dropped_and_appending_gives_a_readable_file(store: RecordStore, missing: int) -> None:
    store.path.write_bytes(store.path.read_bytes()[:-missing])
    assert list(RecordStore(store.path.parent)) == [record(0), record(1)]
    RecordStore(store.path.parent).append(record(7))
    assert list(RecordStore(store.path.parent)) == [record(0), record(1), record(7)]


def test_appending_to_a_file_that_is_one_torn_line_starts_anew(tmp_path: Path) -> None:
    (tmp_path / RecordStore.FILE).write_text('{"model": "a-mo')
    RecordStore(tmp_path).append(record(7))
    assert list(RecordStore(tmp_path)) == [record(7)]


DAMAGES = [
    *(b"not json", b"", b"{}", b"\xff\xfe", b'{"model": 1}', b"\x00" * 50, b"[" * 10**5, b'{"model":' * 10**5),
    unsealed(record().model_dump_json()).replace('"n":3', '"n":1000000000000').encode(),
    unsealed(record().model_dump_json()).replace('"n":3', '"n":' + "9" * 5000).encode(),
    unsealed(record().model_dump_json()).replace(',"metrics":{}', ',"metrics":3').encode(),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(store: RecordStore, damage: bytes) -> None:
    lines = store.path.read_bytes().split(b"\n")
    store.path.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]))
    with pytest.raises(
        RecordError, match=r"records\.jsonl, line 2: .*Remove that line; it is measured again"
    ) as caught:
        RecordStore(store.path.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tail", [b"\x00" * 5000, b'{"schema":2,"mo', b"\x00"])
def test_a_torn_tail_is_dropped_with_a_note_and_nothing_else(store: RecordStore, told: Any, tail: bytes) -> None:
    """A power cut leaves zeros."""
    with store.path.open("ab") as file:
        file.write(tail)
    again = RecordStore(store.path.parent, progress=told)
    assert list(again) == list(store)
    assert told.notes == [
        f"the last line of {store.path} is incomplete, as a crash leaves it: its {len(tail):,} bytes are not read, and "
        "removed with the next record"
    ]
    again.append(record(7))
    assert list(RecordStore(store.path.parent, progress=told)) == [*store, record(7)]
    assert len(told.notes) == 1


def test_what_another_process_appended_is_read_at_the_next_refresh(store: RecordStore) -> None:
    other = RecordStore(store.path.parent)
    for seed in (5, 6):
        other.append(record(seed))
        assert record(seed).cell not in store
        store.refresh()
        assert store[record(seed).cell] == record(seed)
        store.append(record(10 + seed))
    assert list(RecordStore(store.path.parent)) == [record(seed) for seed in (0, 1, 2, 5, 15, 6, 16)]
    with store.path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(RecordError, match="line 8: model: field required"):
        store.refresh()


def test_appending_takes_constant_time(tmp_path: Path) -> None:
    """Whether there are a thousand records or a hundred thousand."""
    line, times = record().model_dump_json().encode() + b"\n", []
    for count in (1_000, 100_000):
        store = RecordStore(tmp_path / str(count))
        store.append(record())
        store.path.write_bytes(line * count)
        started = time.perf_counter()
        for seed in range(50):
            store.append(record(seed))
        times.append(time.perf_counter() - started)
    assert times[1] < 5 * times[0]


def test_records_are_read_without_garbage_collections(store: RecordStore) -> None:
    """Each would look at all records that were read so far; one may come before or after."""
    store.path.write_bytes(b"".join(record(seed).model_dump_json().encode() + b"\n" for seed in range(5_000)))
    collected: list[dict[str, int]] = []

    def count(phase: str, info: dict[str, int]) -> None:
        collected.append(info)

    gc.callbacks.append(count)
    try:
        again = RecordStore(store.path.parent)
        seen = len(collected)
    finally:
        gc.callbacks.remove(count)
    assert (len(again), gc.isenabled()) == (5_000, True)
    assert seen <= 4  # a start and an end each


def test_a_folder_that_cannot_be_written_is_one_line_and_the_record_is_not_in_the_store(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, no folder")
    store = RecordStore(tmp_path / "run")
    with pytest.raises(RecordError, match=r"cannot write .*Name another folder\."):
        store.append(record())
    assert record().cell not in store


def test_records_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / RecordStore.FILE).mkdir()
    with pytest.raises(RecordError, match=r"records\.jsonl"):
        RecordStore(tmp_path)


def test_appending_waits_for_whoever_holds_the_lock(store: RecordStore) -> None:
    appending = threading.Thread(target=store.append, args=[record(5)])
    with FileLock(f"{store.path}.lock", thread_local=False):
        appending.start()
        appending.join(timeout=0.3)
        assert len(RecordStore(store.path.parent)) == 3
    appending.join()
    assert len(RecordStore(store.path.parent)) == 4


def test_two_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    run_together(APPENDER, tmp_path, 0, 1000)
    assert {record.images.seed for record in RecordStore(tmp_path)} == {*range(50), *range(1000, 1050)}
    assert [path.name for path in tmp_path.iterdir()] == [RecordStore.FILE]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_published_results_read_back_as_they_were_written(tmp_path: Path, count: int) -> None:
    records = [record(seed) for seed in range(count)]
    write_results(tmp_path / "results.json", records)
    assert read_results(tmp_path) == records


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[", "invalid json"),
        ("[{}]", r"0\.model: field required"),
        ("[1]", "0: input should"),
        *((content, r"results\.json.*valid array") for content in ("{}", "3", "null")),
    ],
)
def test_damaged_results_are_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(RecordError, match=complaint) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_table_has_a_row_per_record_and_a_column_per_field(store: RecordStore) -> None:
    store.append(record(3, metrics={"residual": 2.5}))
    table = load(store.path.parent)
    assert table["seed"].tolist() == [0, 1, 2, 3]
    assert table["accuracy"].tolist() == pytest.approx([2 / 3] * 4)
    assert table["residual"].tolist() == pytest.approx([float("nan")] * 3 + [2.5], nan_ok=True)
    assert set(CELL_CHANGES) - {"attack"} <= set(table)
    assert "attack" not in table
    assert {f"attack_{name}" for name in AttackSetting.model_fields} <= set(table)


def test_a_table_of_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="missing is no folder of records"):
        load(tmp_path / "missing")


def test_the_table_joins_published_results_and_the_run(store: RecordStore) -> None:
    write_results(store.path.parent / "results.json", [record(8), record(0, metrics={"residual": 9.0})])
    table = load(str(store.path.parent)).set_index("seed")
    assert sorted(table.index) == [0, 1, 2, 8]
    assert "residual" not in table  # the run's own record of a cell comes before the published one


def test_an_empty_folder_has_no_results_and_an_empty_table(tmp_path: Path) -> None:
    assert read_results(tmp_path) == []
    assert load(tmp_path).empty


@pytest.mark.parametrize("n", [0, -5, 7, 10**18])
def test_outcomes_are_those_of_the_images(n: int) -> None:
    record = Record.of("net", CELL, np.ones(32, bool)).model_dump()
    with pytest.raises(ValidationError):
        Record.model_validate(record | {"n": n})
