"""What is on record is not measured again, and what is measured is what the cell says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from found import there

from sdnet_bench.data import SEVERITIES, Noise
from sdnet_bench.engine.evaluate import evaluate
from sdnet_bench.errors import RecordError, UnknownNameError, UsageError
from sdnet_bench.records import Record, RecordStore
from sdnet_bench.studies.accuracy import measure_clean, measure_corrupted
from sdnet_bench.studies.workbench import Workbench

Open = Callable[[str], Workbench]
LIMIT = 40


def corrupted(bench: Workbench, severities: Sequence[int] = SEVERITIES) -> list[Record]:
    """Gaussian noise on some of the test images."""
    return measure_corrupted(bench, bench.images("test", LIMIT), ["gaussian"], severities)


def test_training_leaves_the_record_of_clean_accuracy(sdnet: Workbench, told: Any) -> None:
    record = measure_clean(sdnet)
    assert told.images == 0
    assert (record.n, record.inference.lambda_) == (360, 0.1)
    assert (record.images.split, record.images.corruption) == ("test", None)
    assert record.accuracy > 0.5
    assert record.metrics["residual"] > 0


def test_a_record_says_where_it_comes_from(sdnet: Workbench) -> None:
    record = measure_clean(sdnet)
    assert record.cell.weights == sdnet.model.weights
    assert record.images.digest == sdnet.split("test").digest
    assert {"version", "torch", "device", "precision", "time", "seconds"} <= set(record.provenance)


def test_one_record_for_every_corruption_and_severity(sdnet: Workbench, told: Any) -> None:
    records = measure_corrupted(sdnet, sdnet.images("test", LIMIT), ["gaussian", "impulse"])
    assert [(record.images.corruption, record.images.severity) for record in records] == [
        (name, severity) for name in ("gaussian", "impulse") for severity in SEVERITIES
    ]
    assert told.images == 10 * LIMIT
    assert {record.n for record in records} == {LIMIT}


def test_a_record_is_what_an_evaluation_of_its_cell_gives(sdnet: Workbench) -> None:
    (record,) = measure_corrupted(sdnet, sdnet.images("test", LIMIT), ["speckle"], [4])
    level = record.images.level
    assert level == 0.45  # digits take the severities of ImageNet-C
    outcome = evaluate(
        sdnet.model.net, sdnet.split("test", LIMIT), sdnet.runtime, transform=Noise("speckle", level, 0)
    )[None]
    assert record.correct.tolist() == outcome.correct.tolist()
    assert record.metrics["residual"] == pytest.approx(there(outcome.residual).mean())


def test_nothing_on_record_is_measured_again(open_bench: Open, told: Any) -> None:
    first = corrupted(open_bench("sdnet18-tiny"))
    told.images = 0
    again = corrupted(open_bench("sdnet18-tiny"))
    assert told.images == 0
    assert again == first


def test_only_what_is_missing_is_measured(open_bench: Open, told: Any) -> None:
    part = corrupted(open_bench("sdnet18-tiny"), [2, 5])
    told.images = 0
    whole = corrupted(open_bench("sdnet18-tiny"))
    assert told.images == 3 * LIMIT
    assert [whole[1], whole[4]] == part


class Interrupt(BaseException):
    pass


def test_what_was_finished_before_an_interruption_is_kept(
    open_bench: Open, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, keep = open_bench("sdnet18-tiny"), RecordStore.append

    def third_time_unlucky(store: RecordStore, record: Any) -> None:
        if record.images.severity == 3:
            raise Interrupt
        keep(store, record)

    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "append", third_time_unlucky)
        with pytest.raises(Interrupt):
            measure_corrupted(bench, bench.images("test", LIMIT), ["gaussian"])
    told.images = 0
    corrupted(open_bench("sdnet18-tiny"))
    assert told.images == 3 * LIMIT


@pytest.mark.parametrize("change", ["seed", "limit", "lambda"])
def test_another_question_is_measured_anew(sdnet: Workbench, told: Any, change: str) -> None:
    measure_corrupted(sdnet, sdnet.images("test", LIMIT), ["gaussian"], [1])
    told.images = 0
    if change == "seed":
        sdnet.seed = 1
    images = sdnet.images("test", 30 if change == "limit" else LIMIT)
    measure_corrupted(sdnet, images, ["gaussian"], [1], sdnet.inference(0.5 if change == "lambda" else None))
    assert told.images == (30 if change == "limit" else LIMIT)


def test_a_limit_of_everything_is_no_limit(sdnet: Workbench, told: Any) -> None:
    for limit in (360, 5000):
        assert measure_clean(sdnet, sdnet.images("test", limit)) == measure_clean(sdnet)
    assert told.images == 0


def test_the_same_cell_twice_is_measured_once(sdnet: Workbench, told: Any) -> None:
    cell = sdnet.cell(sdnet.images("test", LIMIT))
    first, second = sdnet.measure([cell, cell], "twice")
    assert first == second
    assert told.images == LIMIT


def test_a_plan_is_announced_with_what_is_left_of_it(sdnet: Workbench, told: Any) -> None:
    measure_corrupted(sdnet, sdnet.images("test", LIMIT), ["gaussian"], [1])
    measure_corrupted(sdnet, sdnet.images("test", LIMIT), ["gaussian"])
    assert told.notes[-1] == "corrupted test images: 4 of 5 cells to measure, 160 images to classify"


def test_a_network_without_lambda_has_records_without_one(resnet: Workbench) -> None:
    (record,) = measure_corrupted(resnet, resnet.images("test", LIMIT), ["shot"], [1])
    assert record.inference.lambda_ is None
    assert "residual" not in record.metrics


@pytest.mark.parametrize(
    ("corruption", "severity", "lambda_", "complaint"),
    [
        ("gausian", 1, 0.1, "unknown corruption 'gausian'. Did you mean 'gaussian'"),
        ("gaussian", 6, 0.1, "severity out of range"),
        ("gaussian", 1, -0.1, "lambda out of range"),
        ("gaussian", 1, float("nan"), "lambda out of range"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_measured(
    sdnet: Workbench, told: Any, corruption: str, severity: int, lambda_: float, complaint: str
) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=complaint):
        measure_corrupted(sdnet, sdnet.images("test"), [corruption], [severity], sdnet.inference(lambda_))
    assert told.images == 0


def test_a_lambda_for_a_network_without_one_is_refused_and_leaves_no_record(resnet: Workbench) -> None:
    before = len(resnet.store)
    with pytest.raises(UsageError, match="no CSC-layer"):
        measure_clean(resnet, resnet.images("test", LIMIT), resnet.inference(0.3))
    assert len(RecordStore(resnet.folder)) == before


def test_records_that_cannot_be_kept_are_noticed_before_the_work(sdnet: Workbench, told: Any) -> None:
    (sdnet.folder.parent / "file").touch()
    sdnet.folder = sdnet.folder.parent / "file" / "run"
    with pytest.raises(RecordError, match="cannot write"):
        measure_corrupted(sdnet, sdnet.images("test", LIMIT), ["gaussian"])
    assert told.images == 0
