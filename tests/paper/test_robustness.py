"""Attacks on record: which of them stand behind a number, image for image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from found import there

from sdnet_bench.paper.robustness import COLUMNS, Robustness
from sdnet_bench.records import CLEAN, AttackSetting, Cell, Record, Threat, show_eps
from sdnet_bench.records.statistics import Value, mcnemar

EPS = 8 / 255
RULE = "algorithm-1/unknown/x/image"
ENSEMBLE = (0.1, 0.3)


def bits(text: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array(list(text)) == "1"


def attacked(made_at: Any, scored_at: float | None, stands: str, clean: str = "", **rest: Any) -> Record:
    """PGD, linf 8/255, on the test split; `rest` goes to the attack where it has such a field, else to the cell.

    Args:
        stands: a bit for each image that withstands.
        clean: a bit for each image that is classified correctly as it is; all are, where none is given.
    """
    attack = {"norm": "linf", "eps": EPS, "steps": 10, "step_size": 0.01, "crafted_at": made_at}
    attack |= {name: rest.pop(name) for name in list(rest) if name in AttackSetting.model_fields}
    cell: dict[str, Any] = {"weights": "w", "dataset": "d", "split": "test", "lambda_": scored_at}
    cell |= {"images": f"{len(stands)} images", "steps": rest.pop("iterations", None)}
    fallen, wrong = ~bits(stands), ~bits(clean or "1" * len(stands))
    losses = {CLEAN: wrong, str(attack.get("name", "pgd")): fallen & ~wrong}
    return Record.of_attack("mine", Cell.model_validate(cell | rest | {"attack": attack}), losses)


def by_rule(stands: str, made_at: float | None = None, **rest: Any) -> Record:
    return attacked(made_at, None, stands, rule=RULE, **rest)


VALIDATION = [
    attacked(0.1, 0.1, "1100000000", split="validation"),
    attacked(0.1, 0.5, "1111110000", split="validation"),
    attacked(0.1, 0.9, "1111100000", split="validation"),
]
TRANSFER = [
    attacked(0.1, 0.1, "1000000000", "1111111110"),
    attacked(0.1, 0.5, "1111100000", "1111111100"),
    attacked(0.1, 0.9, "1111111000", "1111111000"),
]
MATCHED = [attacked(0.5, 0.5, "0011000000", "1111111100"), attacked(0.9, 0.9, "0110000000", "1111111000")]
TOGETHER = [attacked(ENSEMBLE, at, "0001111000", "1111111100") for at in (0.1, 0.5, 0.9)]
OTHER = attacked(0.5, 0.5, "0101000000", "1111111100", name="apgd-ce", steps=100, step_size=None)
ADAPTIVE = [by_rule("1100100000", through="detached"), by_rule("0110100000", through="attached")]
TRANSFERRED_TO_RULE = by_rule("1111000000", 0.1, clean="1111111111")
RECORDS = [*VALIDATION, *TRANSFER, *MATCHED, *TOGETHER, OTHER, *ADAPTIVE, TRANSFERRED_TO_RULE]


def robustness(*records: Record, trained: float | None = 0.1, rule: str | None = RULE) -> Robustness:
    return there(Robustness.find(records, Threat("linf", EPS), trained, rule))


def percent(value: Value | None) -> float | None:
    return value and round(value.value, 6)


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ("trained", {"transfer": 10, "matched": 10, "ensemble": 40, "union": 0, "clean": 90}),
        ("tuned", {"transfer": 50, "matched": 20, "ensemble": 40, "union": 10, "clean": 80}),
        ("oracle", {"transfer": 70, "matched": 20, "ensemble": 40, "union": 0, "clean": 70}),
        ("adaptive", {"transfer": 40, "matched": 20, "ensemble": None, "union": 10, "clean": 100}),
    ],
)
def test_accuracy_by_column_and_choice(choice: str, values: dict[str, float | None]) -> None:
    mine = robustness(*RECORDS)
    assert {column: percent(mine.value(column, choice)) for column in COLUMNS} == values


def test_lambda_is_tuned_on_validation_images_and_the_oracle_is_reported_apart() -> None:
    classifiers = robustness(*RECORDS).classifiers
    assert classifiers == {"trained": 0.1, "tuned": 0.5, "oracle": 0.9, "adaptive": RULE}


def test_only_transferred_pgd_tunes_lambda() -> None:
    """Matched at 1.3 and another attack at 1.5 stand better; nobody may choose by them."""
    others = [
        attacked(1.3, 1.3, "1111111111"),
        attacked(1.3, 1.3, "1111111111", split="validation"),
        attacked(0.1, 1.5, "1111111111", name="square"),
        attacked(0.1, 1.5, "1111111111", name="square", split="validation"),
    ]
    classifiers = robustness(*RECORDS, *others).classifiers
    assert (classifiers["tuned"], classifiers["oracle"]) == (0.5, 0.9)


def test_a_union_is_no_larger_than_any_of_its_members() -> None:
    rng = np.random.default_rng(0)
    made = [0.1, 0.5, ENSEMBLE]
    records = [
        attacked(at, 0.5, "".join(map(str, rng.integers(0, 2, 40))), name=name)
        for at in made
        for name in ("pgd", "fab", "autoattack")
    ]
    union = there(robustness(*records).accuracy("union", 0.5))
    assert union.hits == tuple(np.logical_and.reduce([record.correct for record in records]).astype(int))
    assert union.value < min(100 * record.accuracy for record in records)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "noise"},
        {"seed": 1},
        {"images": "others"},
        {"split": "validation"},
        {"precision": "bfloat16"},
        {"eps": 0.5},
        {"norm": "l2"},
        {"defence": "blur"},
        {"inference_steps": 8},
        {"smooth": True},
        {"iterations": 4},
        {"steps": 2},
    ],
    ids=str,
)
def test_what_is_no_member_of_a_union_and_that_a_weaker_attack_is(change: dict[str, Any]) -> None:
    """Noise, other images, seeds and threats, placebos, surrogates, and a network with other FISTA iterations."""
    alien = attacked(0.5, 0.5, "0000000000", **change)
    assert percent(robustness(*RECORDS, alien).accuracy("union", 0.5)) == (0 if "steps" in change else 10)


def test_there_is_no_union_without_an_attack_that_knows_the_classifier() -> None:
    assert robustness(*VALIDATION, *TRANSFER).accuracy("union", 0.5) is None
    assert robustness(*VALIDATION, *TRANSFER, TRANSFERRED_TO_RULE).value("union", "adaptive") is None


@pytest.mark.parametrize("one", ADAPTIVE, ids=["detached", "attached"])
def test_the_adaptive_attack_is_both(one: Record) -> None:
    assert robustness(*TRANSFER, one).value("matched", "adaptive") is None


def test_no_adaptive_attack_counts_where_the_rule_is_another() -> None:
    mine = robustness(*TRANSFER, *ADAPTIVE, rule="algorithm-1/unknown/new/image")
    assert [mine.value(column, "adaptive") for column in COLUMNS] == [None] * len(COLUMNS)
    assert "adaptive" not in robustness(*RECORDS, rule=None).classifiers


def test_a_network_without_lambda_is_attacked_as_it_is() -> None:
    mine = robustness(attacked(None, None, "1100", "1110"), trained=None, rule=None)
    values = [percent(mine.value(column, "trained")) for column in COLUMNS]
    assert values == [50, 50, None, 50, 75]
    assert mine.classifiers == {"trained": None}


@pytest.mark.parametrize(("norm", "eps"), [("l2", EPS), ("linf", 0.5)])
def test_attacks_under_another_threat_do_not_count(norm: str, eps: float) -> None:
    assert Robustness.find(RECORDS, Threat(norm, eps), 0.1) is None


WIDER = [
    attacked(0.1, 0.1, "10" * 10),
    attacked(0.1, 0.1, "10" * 10, split="validation"),
    attacked(0.1, 0.9, "11" * 10, split="validation"),
    attacked(0.1, 0.9, "1110" * 5),
]
STRONGER = [
    record.model_copy(update={"cell": record.cell.model_copy(update={"attack": attack})})
    for record in (*VALIDATION, *TRANSFER)
    if record.cell.attack and (attack := record.cell.attack.model_copy(update={"steps": 50}))
]


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_images_win_and_groups_are_never_mixed(order: int) -> None:
    """What the wider group lacks is missing, though the other one has it."""
    mine = robustness(*[*RECORDS, *WIDER][::order])
    assert {record.n for record in mine.records} == {20}
    assert {record.n for record in mine.tuning} == {20}
    assert [percent(mine.value(column, "tuned")) for column in COLUMNS] == [75, None, None, None, 100]
    assert mine.value("transfer", "adaptive") is None


@pytest.mark.parametrize("order", [1, -1])
def test_of_equal_groups_the_attack_with_more_steps_wins(order: int) -> None:
    mine = robustness(*[*RECORDS, *STRONGER][::order])
    assert mine.attack.steps == 50
    assert {record.cell.attack and record.cell.attack.steps for record in mine.tuning} == {50}
    assert mine.value("matched", "tuned") is None
    assert percent(mine.value("union", "tuned")) == 10


def test_an_attack_that_lambda_was_not_tuned_with_is_not_the_papers() -> None:
    """Somebody has tried at one lambda whether more steps break more."""
    check = attacked(0.5, 0.5, "0001000000", steps=100, restarts=5)
    mine = robustness(*RECORDS, check)
    assert mine.attack.steps == 10
    assert percent(mine.value("matched", "tuned")) == 20
    assert percent(mine.value("union", "tuned")) == 10


def test_transfer_matched_and_union_are_compared_image_by_image() -> None:
    transfer, matched, union = (robustness(*RECORDS).value(c, "tuned") for c in ("transfer", "matched", "union"))
    assert transfer is not None
    assert matched is not None
    assert union is not None
    assert mcnemar(matched, transfer) == pytest.approx(0.25)  # three images fall to the one alone, none to the other
    assert mcnemar(union, transfer) == pytest.approx(0.125)


def test_accuracy_by_radius_is_that_of_matched_pgd_with_as_many_steps() -> None:
    other = [
        attacked(0.5, 0.5, "0001000000", eps=16 / 255),
        attacked(0.5, 0.5, "0111000000", eps=4 / 255),
        attacked(0.9, 0.9, "1111111111", eps=4 / 255),
        attacked(0.1, 0.5, "1111111111", eps=2 / 255),
        attacked(0.5, 0.5, "1111111111", eps=2 / 255, steps=5),
        attacked(0.5, 0.5, "1111111111", eps=2 / 255, restarts=2),
        attacked(0.5, 0.5, "1111111111", eps=2 / 255, name="apgd-ce"),
        attacked(0.5, 0.5, "1111111111", eps=2 / 255, norm="l2"),
        attacked(0.5, 0.5, "1" * 20, eps=2 / 255),
    ]
    line = robustness(*RECORDS, *other).against_eps(0.5)
    assert [(round(255 * eps), percent(value)) for eps, value in line] == [(0, 80), (4, 30), (8, 20), (16, 10)]


def nearest(*radii: float, **rest: Any) -> Record:
    """FMN at lambda 0.5 on ten images, with these radii in units of 1/255."""
    cell = attacked(0.5, 0.5, "1111111111", name="fmn", steps=100, step_size=None, **rest).cell
    return Record.of_radii("mine", cell, np.array(radii, np.float32) / 255)


@pytest.mark.parametrize("eps", [EPS, 2 / 255, 1])
def test_a_minimum_norm_attack_is_in_unions_and_curves_whatever_its_eps(eps: float) -> None:
    """Of the union at lambda 0.5, image 3 alone stands, and its radius is 0.1."""
    assert percent(robustness(*RECORDS).accuracy("union", 0.5)) == 10
    mine = robustness(*RECORDS, nearest(9, 9, 8.5, 0.1, 9, 9, 9, 9, 0, 0, eps=eps))
    assert percent(mine.accuracy("union", 0.5)) == 0
    assert "fmn (matched)" in mine.members(0.5)
    line = [(round(255 * at), percent(value)) for at, value in mine.against_eps(0.5)]
    assert line == [(0, 80), (2, 70), (4, 70), (8, 10), (16, 0), (32, 0), (64, 0), (128, 0)]


def test_the_conditions_name_the_attack_the_members_of_the_unions_and_p() -> None:
    text = "; ".join(robustness(*RECORDS).conditions())
    assert "linf 8/255: pgd, 10 steps of 0.0100, 1 random start(s), 10 test images, float32" in text
    assert "union (tuned) of apgd-ce (matched), pgd (transfer, matched, ensemble)" in text
    assert "union (adaptive) of pgd (transfer, adaptive)" in text
    assert "the oracle's lambda 0.9" in text
    assert "p of matched against transfer after tuning 0.25" in text
    assert "union" not in "; ".join(robustness(*TRANSFER[1:]).conditions())


@pytest.mark.parametrize(
    ("eps", "text"), [(8 / 255, "8/255"), (0.5, "0.5"), (1.0, "1"), (0.2, "0.2"), (0.031, "0.031"), (1 / 255, "1/255")]
)
def test_eps_is_written_as_it_is_typed(eps: float, text: str) -> None:
    assert show_eps(eps) == text


def test_a_curve_unites_the_attacks_that_every_lambda_has_met() -> None:
    """An attack that one lambda alone was put to would make a dip there that is none of the network."""
    plain = robustness(*VALIDATION, *TRANSFER, *MATCHED)
    more = robustness(*VALIDATION, *TRANSFER, *MATCHED, OTHER)
    assert percent(more.accuracy("union", 0.5)) < percent(plain.accuracy("union", 0.5))
    assert [(at, value.value) for at, value in more.against_lambda("union")] == [
        (at, value.value) for at, value in plain.against_lambda("union")
    ]
    assert len(more.against_lambda("union")) > 1


@pytest.mark.parametrize("column", ["transfer", "matched", "clean"])
def test_a_curve_is_what_the_table_shows(column: str) -> None:
    found = robustness(*RECORDS)
    assert all(value == found.accuracy(column, at) for at, value in found.against_lambda(column))
