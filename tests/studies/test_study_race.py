"""Races: bounds by hand, who drops out, and in how many races the best lambda wins at what price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from sdnet_bench.errors import UsageError
from sdnet_bench.records import Cell, Images, Inference, Record
from sdnet_bench.records.lambda_fit import find_points
from sdnet_bench.studies import race as module
from sdnet_bench.studies.algorithm1 import fit_lambda, swept
from sdnet_bench.studies.race import RaceState, Rules, block_ends, compare, race, upper_bound
from sdnet_bench.studies.workbench import Workbench

Open = Callable[[str], Workbench]
Bits = NDArray[np.bool_]
GRID = [0.1, 0.2, 0.3, 0.4]


def bits(text: str) -> Bits:
    return np.array(list(text)) == "1"


def first(right: int, of: int = 1000) -> Bits:
    """The first `right` images are classified correctly."""
    return np.arange(of) < right


@pytest.mark.parametrize(
    ("one", "other", "z", "bound"),
    [
        ("1100", "1010", 2.0, 2 * sqrt(3 / 16)),  # one win, one loss: (1 + 1 + 1) / 4 / 4
        ("1110000000", "0000000001", 1.0, 0.2 + sqrt((0.5 - 0.04) / 10)),
        ("0000000001", "1110000000", 1.0, -0.2 + sqrt((0.5 - 0.04) / 10)),
        ("1010", "1010", 3.0, 3 * sqrt(1 / 16)),
        ("1100", "0011", 0.0, 0.0),
    ],
)
def test_bounds_are_those_worked_out_by_hand(one: str, other: str, z: float, bound: float) -> None:
    assert upper_bound(bits(one), bits(other), z) == pytest.approx(bound)


PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(PAIRS, st.floats(0, 5), st.floats(0, 5))
def test_a_bound_grows_with_z_and_is_never_below_the_difference(pairs: Any, low: float, high: float) -> None:
    one, other = np.array(pairs).T
    low, high = sorted((low, high))
    assert one.mean() - other.mean() - 1e-12 <= upper_bound(one, other, low) <= upper_bound(one, other, high)


def test_a_bound_tightens_with_more_images() -> None:
    bounds = [upper_bound(np.tile(bits("1100"), n), np.tile(bits("1010"), n), 2) for n in (1, 10, 100)]
    assert bounds == sorted(bounds, reverse=True)


def test_lambdas_that_agree_on_every_image_are_decided_within_a_tolerance() -> None:
    same = {0.5: first(700), 0.1: first(700), 0.9: first(700)}
    assert compare(same, z=3, tolerance=0.01) == RaceState(0.1, (0.1, 0.5, 0.9), decided=True)
    assert not compare(same, z=3, tolerance=0).decided


def test_a_lambda_that_cannot_be_the_best_drops_out() -> None:
    assert compare({0.1: first(300), 0.5: first(700)}, z=3, tolerance=0) == RaceState(0.5, (0.5,), decided=True)


def test_a_lambda_that_may_be_the_best_stays() -> None:
    found = compare({0.1: first(300), 0.5: first(700), 0.9: first(698)}, z=3, tolerance=0.001)
    assert found == RaceState(0.5, (0.5, 0.9), decided=False)


def test_one_lambda_has_won() -> None:
    assert compare({0.1: first(3)}, z=3, tolerance=0) == RaceState(0.1, (0.1,), decided=True)


@pytest.mark.parametrize(
    ("size", "ends"),
    [(1, [1]), (100, [100]), (250, [250]), (251, [250, 251]), (500, [250, 500]), (1237, [250, 500, 1000, 1237])],
)
def test_blocks_double_what_has_been_seen_and_end_with_the_images(size: int, ends: list[int]) -> None:
    assert block_ends(size) == ends


@pytest.mark.parametrize("confidence", [0, 1, 1.5, -0.1, float("nan")])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    with pytest.raises(UsageError, match="confidence out of range, expected between 0 and 1"):
        Rules(confidence=confidence)


@pytest.mark.parametrize("tolerance", [-0.01, 1, float("nan")])
def test_a_tolerance_is_a_share_of_images(tolerance: float) -> None:
    with pytest.raises(UsageError, match="tolerance out of range, expected from 0 to below 1"):
        Rules(tolerance=tolerance)


LAMBDAS = [round(0.1 * place, 1) for place in range(1, 16)]
CELL = Cell(weights="w", images=Images(dataset="d", split="train", digest="i", corruption="gaussian", level=0.1))


@dataclass
class Synthetic:
    """Stands in for a bench: images whose outcomes under each lambda are drawn, some of them alike for all."""

    accuracies: dict[float, float]
    size: int
    rng: np.random.Generator
    shared: float = 0.7
    trained_lambda: float = 0.1
    used: int = 0
    outcomes: dict[float, Bits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        common, is_common = self.rng.random(self.size), self.rng.random(self.size) < self.shared
        for lambda_, accuracy in self.accuracies.items():
            drawn = np.where(is_common, common, self.rng.random(self.size))
            self.outcomes[lambda_] = drawn < accuracy

    def split_of(self, images: Images) -> range:
        return range(self.size)

    def images(self, split: str, limit: int | None, block: tuple[int, int], **rest: object) -> Images:
        return CELL.images.model_copy(update={"block": block})

    def cell(self, images: Images, inference: Inference) -> Cell:
        return Cell(weights="w", images=images, inference=inference)

    def measure(self, cells: Sequence[Cell], title: str) -> list[Record]:
        records = []
        for cell in cells:
            assert cell.images.block
            found = self.outcomes[float(cell.inference.lambda_ or 0)][slice(*cell.images.block)]
            self.used += len(found)
            records.append(Record.of("m", cell, found, metrics={"residual": 1.0}))
        return records


def synthetic(seed: int, size: int) -> Synthetic:
    """Accuracy is a parabola in lambda: its height, place and width are drawn."""
    rng = np.random.default_rng(seed)
    top, place, width = rng.uniform(0.4, 0.9), rng.uniform(0.1, 1.5), rng.uniform(0.02, 0.3)
    return Synthetic({each: max(0.1, top - width * (each - place) ** 2) for each in LAMBDAS}, size, rng)


@pytest.mark.parametrize(("tolerance", "share"), [(0.01, 0.5), (0.03, 0.1)])
def test_the_winner_is_as_good_as_the_best_and_cheaper_to_find(tolerance: float, share: float) -> None:
    races, won, used = 150, 0, 0
    for seed in range(races):
        bench: Any = synthetic(seed, size=16_000)
        records = race(bench, CELL, LAMBDAS, Rules(0.95, tolerance))
        winner = find_points(records, bench.trained_lambda)[0].lambda_
        won += max(bench.accuracies.values()) - bench.accuracies[winner] <= tolerance
        used += bench.used
    assert won / races >= 0.95
    assert used / races < share * 16_000 * len(LAMBDAS)


def test_a_true_best_drops_out_in_few_races() -> None:
    """Even of lambdas that hardly differ, at a confidence of 0.8: an unfair bound would lose it in most."""
    lost = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        bench: Any = Synthetic({each: 0.6 + 0.02 * (each == 0.8) for each in LAMBDAS}, 4000, rng)
        records = race(bench, CELL, LAMBDAS, Rules(0.8, 0))
        images = {each: sum(record.n for record in records if record.inference.lambda_ == each) for each in LAMBDAS}
        lost += images[0.8] < max(images.values())
    assert lost / 150 <= 0.2


def test_lambda_0_is_measured_to_the_end_of_the_race() -> None:
    bench: Any = Synthetic({0.1: 0.2, 0.5: 0.7, 0.9: 0.71}, 4000, np.random.default_rng(0))
    records = race(bench, CELL, [0.1, 0.5, 0.9], Rules(0.95, 0.001))
    images = {lambda_: sum(r.n for r in records if r.inference.lambda_ == lambda_) for lambda_ in (0.1, 0.5, 0.9)}
    assert images == {0.1: 4000, 0.5: 4000, 0.9: 4000}
    assert find_points(records, 0.1)[0].lambda_ in (0.5, 0.9)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20, 20, 40 and 20 images where there are 100."""
    monkeypatch.setattr(module, "FIRST_BLOCK", 20)


def level_cell(bench: Workbench) -> Cell:
    return bench.cell(bench.images("train", 100, corruption="gaussian", level=0.3))


TO_THE_END = Rules(1 - 1e-12, 0)


@pytest.mark.usefixtures("small_blocks")
def test_a_race_to_the_end_finds_what_the_grid_finds(sdnet: Workbench) -> None:
    raced = race(sdnet, level_cell(sdnet), GRID, TO_THE_END)
    assert len(raced) == 4 * len(GRID)
    (by_race,) = find_points(raced, sdnet.trained_lambda)
    (by_grid,) = find_points(sdnet.measure(swept([level_cell(sdnet)], GRID), "grid"), sdnet.trained_lambda)
    assert by_race[2:] == by_grid[2:]
    assert by_race.residual == pytest.approx(by_grid.residual)


@pytest.mark.usefixtures("small_blocks")
def test_a_race_goes_on_where_it_was(open_bench: Open, told: Any) -> None:
    bench = open_bench("sdnet18-tiny")
    raced = race(bench, level_cell(bench), GRID, TO_THE_END)
    assert told.images == 100 * len(GRID)
    again = open_bench("sdnet18-tiny")
    assert race(again, level_cell(again), GRID, TO_THE_END) == raced
    assert told.images == 100 * len(GRID)
    race(again, level_cell(again), [*GRID, 0.25], TO_THE_END)
    assert told.images == 100 * (len(GRID) + 1)


def test_blocks_are_the_images_in_a_seeded_order_each_once(open_bench: Open) -> None:
    def order(seed: int) -> list[int]:
        bench = open_bench("sdnet18-tiny")
        bench.seed = seed
        return [at for block in ((0, 20), (20, 70), (70, 100)) for at in bench.split("train", 100, block).index]  # type: ignore[attr-defined]

    whole = open_bench("sdnet18-tiny").split("train", 100).index.tolist()  # type: ignore[attr-defined]
    drawn = [int(at) for at in order(0)]
    assert sorted(drawn) == whole
    assert drawn != whole
    assert drawn == [int(at) for at in order(0)] != [int(at) for at in order(1)]


@pytest.mark.usefixtures("small_blocks")
def test_algorithm_1_may_race(sdnet: Workbench, told: Any) -> None:
    fit = fit_lambda(sdnet, sdnet.images("train", 100), "gaussian", GRID, search=Rules(0.9, 0.05))
    assert len(fit.points) == 7
    assert told.images < 7 * 100 * len(GRID)
    blocks = [record.images.block for record in sdnet.store if record.images.split == "train" and record.outcomes]
    assert {block for block in blocks if block} == {(0, 20), (20, 40), (40, 80), (80, 100)} & set(blocks)
    assert (0, 20) in blocks
