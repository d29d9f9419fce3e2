"""A race of lambdas: successive elimination, which finds the best lambda with fewer forward passes than a grid.

Images are taken in a seeded order, in blocks that double the number of images seen. After each block every lambda is
compared with the best one on the same images. Lambdas that are worse at the given confidence are dropped. The race
ends when no remaining lambda can be better than the best one by more than the tolerance.

The bound on a difference of accuracies is Wald's for paired proportions, with half an image added to either kind of
disagreement; the confidence is divided among all possible comparisons (Bonferroni). Under the normal approximation,
the true best lambda is dropped, or is better than the result by more than the tolerance, with probability at most
1 - confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from ..errors import UsageError
from ..records import Cell, Outcomes, Record
from .workbench import Workbench

FIRST_BLOCK = 250


@dataclass(frozen=True)
class Rules:
    """When a race ends: confidence of the result, in (0, 1), and ignored difference of accuracies, in [0, 1)."""

    confidence: float = 0.95
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise UsageError("confidence out of range", expected="between 0 and 1", got=self.confidence)
        if not 0 <= self.tolerance < 1:
            raise UsageError("tolerance out of range", expected="from 0 to below 1", got=self.tolerance)


@dataclass(frozen=True)
class RaceState:
    """The state of a race after a block."""

    leader: float
    alive: tuple[float, ...]
    """The best lambda and all lambdas that may still be better, ascending."""
    decided: bool


def race(bench: Workbench, cell: Cell, lambdas: Sequence[float], rules: Rules | None = None) -> list[Record]:
    """Records of the blocks of the images of `cell`, at lambda_0 and at every remaining lambda.

    `find_points` computes a point from them. lambda_0 is measured on all blocks of the race, for its residual.
    """
    rules, whole = rules or Rules(), cell.images
    ends = block_ends(len(bench.split_of(whole)))
    alive: tuple[float, ...] = tuple(sorted(lambdas))
    z = -NormalDist().inv_cdf((1 - rules.confidence) / max(1, (len(alive) - 1) * len(ends)))
    records: list[Record] = []
    what = f"race, {whole.corruption} {whole.level:g}"
    for block in pairwise([0, *ends]):
        images = bench.images(whole.split, whole.limit, block, corruption=whole.corruption, level=whole.level)
        inferences = [cell.inference.at(lambda_) for lambda_ in sorted({bench.trained_lambda, *alive})]
        title = f"{what}: {len(alive)} lambdas on images {block[0]:,} to {block[1]:,}"
        records += bench.measure([bench.cell(images, inference) for inference in inferences], title)
        state = compare({lambda_: _outcomes(records, lambda_) for lambda_ in alive}, float(z), rules.tolerance)
        alive = state.alive
        if state.decided:
            break
    return records


def block_ends(size: int) -> list[int]:
    """Ends of the blocks: each doubles the number of images seen, the last is `size`."""
    ends = [FIRST_BLOCK]
    while ends[-1] < size:
        ends.append(2 * ends[-1])
    return [*ends[:-1], size]


def compare(outcomes: Mapping[float, Outcomes], z: float, tolerance: float) -> RaceState:
    """Compares lambdas by their outcomes `(n,)` on the same images, at quantile z of the normal distribution."""
    leader = max(outcomes, key=lambda lambda_: (outcomes[lambda_].mean(), -lambda_))
    bounds = {
        lambda_: upper_bound(correct, outcomes[leader], z) for lambda_, correct in outcomes.items() if lambda_ != leader
    }
    alive = sorted({leader, *(lambda_ for lambda_, bound in bounds.items() if bound >= 0)})
    return RaceState(leader, tuple(alive), decided=all(bound <= tolerance for bound in bounds.values()))


def upper_bound(one: Outcomes, other: Outcomes, z: float) -> float:
    """Upper bound of the accuracy of `one` minus that of `other`, at quantile z; both `(n,)` bool."""
    n, wins, losses = len(one), int((one & ~other).sum()), int((other & ~one).sum())
    difference = (wins - losses) / n
    variance = max(0.0, (wins + losses + 1) / n - difference**2) / n
    return difference + z * float(np.sqrt(variance))


def _outcomes(records: Sequence[Record], lambda_: float) -> Outcomes:
    return np.concatenate([record.correct for record in records if record.inference.lambda_ == lambda_])
