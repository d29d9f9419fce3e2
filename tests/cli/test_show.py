"""How records are shown."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sdnet_bench.api.values import Measured
from sdnet_bench.cli.show import show
from sdnet_bench.records import CLEAN, AttackSetting, Cell, Images, Inference, Record

RULE = "algorithm-1/unknown/0123/image"


def attacked(
    name: str = "pgd", lambda_: float | None = 0.5, rest: dict[str, Any] | None = None, **setting: Any
) -> Record:
    """Of 20 images 2 are misclassified and 13 fall."""
    usual = {"norm": "linf", "eps": 8 / 255, "steps": 10, "crafted_at": 0.1}
    attack = AttackSetting(name=name, **(usual | setting))
    inference = Inference(lambda_=lambda_, **(rest or {}))
    cell = Cell(weights="w", images=Images(dataset="d", split="test", digest="i"), inference=inference, attack=attack)
    place = np.arange(20)
    return Record.of_attack("mine", cell, {CLEAN: place < 2, name: (place >= 2) & (place < 15)})


def shown(capsys: pytest.CaptureFixture[str], *records: Record) -> list[dict[str, str]]:
    """The rows of the table; columns are two blanks apart or more."""
    show(Measured(records), as_json=False)
    header, *lines = [
        [part.strip() for part in line.split("  ") if part.strip()] for line in capsys.readouterr().out.splitlines()
    ]
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_a_row_of_an_attack(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = shown(capsys, attacked())
    made = {"attack": "pgd 10", "norm": "linf", "eps": "8/255", "made at": "0.1"}
    scored = {"protocol": "transfer", "lambda": "0.5", "clean %": "90", "accuracy %": "25"}
    assert row == made | scored | {"95 % interval": "11.2 .. 46.9", "images": "20"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (attacked(crafted_at=0.5), {"protocol": "matched", "made at": "0.5"}),
        (attacked(crafted_at=(0.1, 0.2, 0.4)), {"protocol": "ensemble", "made at": "0.1 .. 0.4 (3)"}),
        (attacked(lambda_=None, crafted_at=None), {"protocol": "matched", "made at": "—", "lambda": "—"}),
        (
            attacked(lambda_=None, rest={"rule": RULE}),
            {"protocol": "transfer", "made at": "0.1", "lambda": "per image by the unknown fit"},
        ),
        (
            attacked(lambda_=None, crafted_at=None, through="detached", rest={"rule": RULE}),
            {"protocol": "adaptive", "made at": "each image's, detached"},
        ),
        (attacked("apgd-ce", steps=100, restarts=5, norm="l2", eps=0.5), {"attack": "apgd-ce 100 x 5", "eps": "0.5"}),
        (attacked(inference_steps=8, smooth=True), {"protocol": "—", "made at": "0.1, 8 iterations, smooth"}),
        (attacked(rest={"defence": "net:" + "0123456789abcdef" * 4}), {"protocol": "net:01234567"}),
    ],
    ids=["matched", "ensemble", "no lambda", "rule", "adaptive", "restarts", "surrogate", "defence"],
)
def test_who_attacks_whom(record: Record, expected: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = shown(capsys, record)
    assert {name: row[name] for name in expected} == expected


def test_json_keeps_the_cell_and_all_digits(capsys: pytest.CaptureFixture[str]) -> None:
    record = attacked()
    show(Measured((record,)), as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["attack"] == json.loads(record.cell.model_dump_json())["attack"]
    assert (row["key"], row["protocol"], row["n"]) == (record.cell.key, "transfer", 20)
    assert (row["clean"], row["accuracy"]) == (90, 25)


@pytest.mark.parametrize(("as_json", "out"), [(False, ""), (True, "[]\n")])
def test_no_records_are_no_rows(as_json: bool, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(Measured(()), as_json=as_json)
    assert capsys.readouterr().out == out
