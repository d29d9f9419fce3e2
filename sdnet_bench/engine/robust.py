"""Robust accuracy: which images no adversarial image of an attack could turn.

An attack is a sequence of runs: restarts, targets, or the attacks of a suite. An image that is misclassified as it
is is never attacked; one that falls is not attacked again. A run sees those that are left in full batches; when most
of a batch has fallen it is abandoned, and those who stand are attacked anew among others. As the random numbers of an
image depend on nothing but the image, that changes no outcome, but for what the order of sums does to the last digits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..attacks import TARGETED, Adversarials, AttackRun, craft, surrogate
from ..data import Batch, Split
from ..progress import Task
from ..records import CLEAN, AttackSetting, Outcomes
from ..records.journal import Entry, Journal
from .evaluate import BATCH_SIZE, LambdaRule
from .runtime import Runtime

Key = TypeVar("Key")
Scorer = Callable[[Tensor, Batch], Tensor]
"""`(pixels, batch) -> (N,) bool`: which images of a batch are classified correctly with these pixels in [0, 1]."""

PATIENCE = 0.25
"""The share of a batch that may still stand when it is abandoned."""

SUITES: dict[str, tuple[tuple[str, int], ...]] = {
    "autoattack": (("apgd-ce", 1), ("apgd-t", 9), ("fab-t", 9), ("square", 1)),
}
"""Attacks made of others, each with so many restarts; AutoAttack is that of Croce & Hein (2020), "standard"."""

QUERIES = 50
"""How many queries of a random search a suite allows for each of its iterations: 5,000 for 100."""

Keep = Callable[[Batch, Tensor, Sequence[bool]], None]
"""`(batch, adversarial, wanted)`: told of every batch what was made of its images, and for which this is to be kept."""


def attack_runs(setting: AttackSetting, num_classes: int) -> list[AttackRun]:
    """The runs that an attack consists of, in their order."""
    found = []
    for name, restarts in SUITES.get(setting.name, ((setting.name, setting.restarts),)):
        part = setting.model_copy(update={"name": name, "steps": _budget(setting, name)})
        found += [AttackRun(part, restart) for restart in range(_restarts(name, restarts, num_classes))]
    return found


def _budget(setting: AttackSetting, name: str) -> int:
    return setting.steps * QUERIES if name == "square" and setting.name in SUITES else setting.steps


def _restarts(name: str, wanted: int, num_classes: int) -> int:
    """Targeted attacks have as many restarts as there are wrong classes, at most."""
    return min(wanted, num_classes - 1) if name in TARGETED else wanted


@dataclass(frozen=True, eq=False)
class RobustEval(Generic[Key]):
    """A robust evaluation: an attack, and who decides whether an image stands.

    Args:
        net: on the runtime's device, in eval mode; what the attack looks at is made of it.
        setting: the attack.
        scorers: an image stands or falls for each of them on its own.
        own: the scorer that classifies as the network does that the attack looks at, if there is one: for it an image
            has fallen as soon as one of the attack's iterates fools it.
        num_classes: bounds the targets of targeted attacks.
        rule: of the network that the attack looks through.
        seed: of all random numbers.
        keep: told of every adversarial image.
    """

    net: nn.Module
    setting: AttackSetting
    scorers: Mapping[Key, Scorer]
    own: Key | None
    runtime: Runtime
    num_classes: int
    rule: LambdaRule | None = None
    seed: int = 0
    keep: Keep | None = None

    @property
    def own_index(self) -> int | None:
        """The place of `own` among the scorers; None where there is none."""
        return None if self.own is None else list(self.scorers).index(self.own)

    def attack(self, run: AttackRun, batch: Batch) -> Adversarials:
        """One run of the attack on a batch of images that are left."""
        rule = self.rule
        through = (lambda residual: rule(residual, batch)) if rule else None
        hurried = self.keep is None and list(self.scorers) == [self.own]
        pixels = self.runtime.to_pixels(batch.images)
        with surrogate(self.net, run.setting, through) as seen:
            index = batch.index.tolist()
            return craft(seen, pixels, batch.labels, run, index, seed=self.seed, patience=PATIENCE if hurried else None)

    @torch.no_grad()
    def broken(self, batch: Batch, first: Tensor, last: Tensor) -> list[list[bool]]:
        """For every scorer, which images are turned by `last`; for `own`, by those that fooled it `first`."""
        return [(~scorer(first if key == self.own else last, batch)).tolist() for key, scorer in self.scorers.items()]

    @torch.no_grad()
    def stronger(self, batch: Batch, made: Adversarials) -> Tensor:
        """What the attack ended with; what fooled its network first where in the end it did not."""
        if self.own is None:
            return made.last
        back = made.fallen & self.scorers[self.own](made.last, batch)
        return made.first.where(back.view(-1, 1, 1, 1), made.last)


@dataclass(eq=False)
class AttackState:
    """What has become of the images of a split so far: the sum of its entries.

    Args:
        scorers: how many there are.
        total: images of the split.
    """

    scorers: int
    total: int
    lost_to: NDArray[np.int16] = field(init=False)
    """`(scorers, total)`: the run that broke an image; 0 for one misclassified as it is, -1 for one that stands."""
    done: NDArray[np.int16] = field(init=False)
    """`(total,)`: the last run that an image went through, -1 for none."""

    def __post_init__(self) -> None:
        self.lost_to = np.full((self.scorers, self.total), -1, np.int16)
        self.done = np.full(self.total, -1, np.int16)

    def apply(self, entry: Entry) -> None:
        """Takes in what a run did to some images: `stage`, `places` and for each scorer which are `broken`."""
        places = np.asarray(entry["places"], int)
        for lost_to, broken in zip(self.lost_to, entry["broken"], strict=True):
            new = places[np.asarray(broken, bool) & (lost_to[places] < 0)]
            lost_to[new] = entry["stage"]
        self.done[places] = entry["stage"]

    def left(self, run: int, places: NDArray[np.int64]) -> list[int]:
        """Those that have not been through a run and stand for some scorer."""
        open_ = (self.done[places] < run) & (self.lost_to[:, places] < 0).any(0)
        return [int(place) for place in places[open_]]

    def withstands(self, scorer: int | None, places: Sequence[int]) -> list[bool]:
        """Which images no attack has broken yet for a scorer, by its place; all where there is none."""
        return [scorer is None or bool(self.lost_to[scorer, place] <= 0) for place in places]

    def settled(self, runs: int) -> int:
        """How many images nothing can happen to any more."""
        return int(((self.done >= runs) | (self.lost_to >= 0).all(0)).sum())


def robust_evaluate(
    evaluation: RobustEval[Key], split: Split, *, journal: Journal | None = None, task: Task | None = None
) -> dict[Key, dict[str, Outcomes]]:
    """Attacks a split; for every scorer which images, `(n,)` bool, fell to what: `CLEAN`, or an attack by name.

    Args:
        journal: what it holds is not done again, and every batch is added to it.
        task: advanced by every image, once, when nothing can happen to it any more.
    """
    evaluation.net.eval()
    processes, journal, task = evaluation.runtime.processes, journal or Journal(), task or Task()
    mine = np.arange(processes.process_index, len(split), processes.num_processes)
    plan, state = (
        attack_runs(evaluation.setting, evaluation.num_classes),
        AttackState(len(evaluation.scorers), len(split)),
    )
    for entry in journal:
        state.apply(entry)
    processes.wait_for_everyone()  # nobody writes before all have read
    settled = state.settled(len(plan))
    task.advance(settled)
    for number in range(len(plan) + 1):
        queue = deque(state.left(number, mine))
        while queue:
            places = [queue.popleft() for _ in range(min(BATCH_SIZE, len(queue)))]
            entry = _run(evaluation, plan[number - 1] if number else None, number, split, places, state)
            journal.append(entry)
            state.apply(entry)
            queue.extend(sorted(set(places) - set(entry["places"])))
            done = state.settled(len(plan))
            task.advance(done - settled)
            settled = done
    return _losses(evaluation, state, plan, mine)


def _run(
    evaluation: RobustEval[Key], run: AttackRun | None, number: int, split: Split, places: list[int], state: AttackState
) -> Entry:
    """What a run, or a first look at the clean images, did to those of a batch that it came to an end with."""
    batch = next(iter(split.subset(places).batches(len(places), evaluation.runtime.device)))
    if run is None:
        pixels = evaluation.runtime.to_pixels(batch.images)
        return {"stage": number, "places": places, "broken": evaluation.broken(batch, pixels, pixels)}
    made = evaluation.attack(run, batch)
    broken = evaluation.broken(batch, made.first, made.last)
    ended = [made.finished or fallen for fallen in made.fallen.tolist()]
    if evaluation.keep:
        stood = state.withstands(evaluation.own_index, places)
        evaluation.keep(
            batch,
            evaluation.stronger(batch, made),
            [is_over and left for is_over, left in zip(ended, stood, strict=True)],
        )
    return {
        "stage": number,
        "places": _those(places, ended),
        "broken": [_those(verdicts, ended) for verdicts in broken],
    }


Item = TypeVar("Item")


def _those(items: Iterable[Item], wanted: Iterable[bool]) -> list[Item]:
    return [item for item, is_wanted in zip(items, wanted, strict=True) if is_wanted]


def _losses(
    evaluation: RobustEval[Key], state: AttackState, plan: Sequence[AttackRun], mine: NDArray[np.int64]
) -> dict[Key, dict[str, Outcomes]]:
    """By scorer and by what images fell to, from what all processes found."""
    names = [CLEAN, *(run.setting.name for run in plan)]
    found = torch.zeros(state.lost_to.shape)
    found[:, mine] = torch.from_numpy(state.lost_to[:, mine] + 1).float()
    numbers = evaluation.runtime.sum(found).numpy().astype(int) - 1
    return {
        key: {name: np.isin(lost_to, [at for at, other in enumerate(names) if other == name]) for name in names}
        for key, lost_to in zip(evaluation.scorers, numbers, strict=True)
    }
