"""Robust accuracy: the share of images that are classified correctly under an attack.

An attack is a sequence of runs: restarts, targets, or the attacks of a suite. Misclassified images are not attacked,
and fooled images are not attacked again. Each run works on full batches of the remaining images. When most of a batch
is fooled, the run stops on this batch, and its remaining images join later batches. The random numbers of an image do
not depend on its batch, so this changes outcomes only by rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..attacks import NARROWING, TARGETED, Adversarials, AttackRun, craft, surrogate
from ..attacks.threat import distance
from ..csc import shared_correlations
from ..data import Batch, Split
from ..progress import Task
from ..records import CLEAN, AttackSetting, Outcomes, Radii
from ..records.journal import Entry, Journal
from .batches import AtOnce
from .evaluate import LambdaRule
from .runtime import Runtime

Key = TypeVar("Key")
Scorer = Callable[[Tensor, Batch], Tensor]
"""`(pixels, batch) -> (N,) bool`: which images of a batch are classified correctly, given their pixels in [0, 1]."""

PATIENCE = 0.25
"""A run stops on a batch once the share of its images that are not fooled is at most this.

Not on a CPU where fooled images rest: there few images cost little, and what they went through would be repeated."""

SUITES: dict[str, tuple[tuple[str, int], ...]] = {
    "autoattack": (("apgd-ce", 1), ("apgd-t", 9), ("fab-t", 9), ("square", 1)),
    "autoattack-few": (("apgd-ce", 1), ("fab-t", 9), ("square", 1)),
}
"""Attacks that consist of other attacks with their restarts; AutoAttack is "standard" of Croce & Hein (2020).

"autoattack-few" is AutoAttack for two or three classes, where apgd-t is not defined."""

QUERIES = 50
"""Queries of a random search per iteration of a suite: 5,000 for 100 iterations."""

Keep = Callable[[Batch, Tensor, Sequence[bool]], None]
"""`(batch, adversarial, wanted)`: called for every batch with its adversarial images and which of them to keep."""


def attack_runs(setting: AttackSetting, num_classes: int) -> list[AttackRun]:
    """The runs of an attack, in order."""
    found = []
    for name, restarts in SUITES.get(setting.name, ((setting.name, setting.restarts),)):
        steps = setting.steps * (QUERIES if name == "square" and setting.name in SUITES else 1)
        part = setting.model_copy(update={"name": name, "steps": steps})
        targets = min(restarts, num_classes - 1)  # a targeted attack has a wrong class for each restart
        found += [AttackRun(part, restart) for restart in range(targets if name in TARGETED else restarts)]
    return found


@dataclass(frozen=True, eq=False)
class RobustEval(Generic[Key]):
    """A robust evaluation: an attack, and the scorers that classify its images.

    Args:
        net: network on the runtime's device, in eval mode; the attacked network is derived from it.
        scorers: the classifiers; each has its own outcome.
        own: key of the scorer that classifies as the attacked network does, if there is one. For it an image counts as
            fooled as soon as one iterate of the attack fools it.
        num_classes: number of classes, which bounds the targets of targeted attacks.
        rule: the rule for lambda that the attack goes through.
        known: `(n,)` bool by scorer: which clean images it misclassifies. Used where it is there for all scorers.
        keep: called with the adversarial images of every batch.
    """

    net: nn.Module
    setting: AttackSetting
    scorers: Mapping[Key, Scorer]
    own: Key | None
    runtime: Runtime
    num_classes: int
    rule: LambdaRule | None = None
    known: Mapping[Key, Outcomes] = field(default_factory=dict)
    seed: int = 0
    keep: Keep | None = None

    def attack(self, run: AttackRun, batch: Batch) -> Adversarials:
        """One run of the attack on a batch of remaining images."""
        rule = self.rule
        through = (lambda residual: rule(residual, batch)) if rule else None
        is_hurried = self.keep is None and list(self.scorers) == [self.own]
        rests = run.setting.name in NARROWING and self.runtime.device.type == "cpu"
        patience = (0 if rests else PATIENCE) if is_hurried else None
        pixels = self.runtime.to_pixels(batch.images)
        with surrogate(self.net, run.setting, through) as seen:
            index = batch.index.tolist()
            return craft(seen, pixels, batch.labels, run, index, seed=self.seed, patience=patience)

    @torch.no_grad()
    def broken(self, batch: Batch, first: Tensor, last: Tensor) -> tuple[tuple[bool, ...], ...]:
        """For every scorer, which images `last` fools; for `own`, which images `first` fools."""
        shown = [(first if key == self.own else last, scorer) for key, scorer in self.scorers.items()]
        with shared_correlations(self.net):
            return tuple(tuple((~scorer(pixels, batch)).tolist()) for pixels, scorer in shown)

    def misclassified(self, batch: Batch, places: Sequence[int]) -> tuple[tuple[bool, ...], ...]:
        """For every scorer, which clean images of a batch it misclassifies; `places` are theirs in the split."""
        if self.scorers.keys() <= self.known.keys():
            return tuple(tuple(self.known[key][places].tolist()) for key in self.scorers)
        pixels = self.runtime.to_pixels(batch.images)
        return self.broken(batch, pixels, pixels)

    @torch.no_grad()
    def stronger(self, batch: Batch, made: Adversarials) -> Tensor:
        """The last images of the attack; the first fooling iterate where the last image does not fool the network."""
        if self.own is None:
            return made.last
        back = made.fallen & self.scorers[self.own](made.last, batch)
        return made.first.where(back.view(-1, 1, 1, 1), made.last)


@dataclass(eq=False)
class AttackState:
    """The outcomes of the images of a split so far, from the entries of the journal."""

    lost_to: NDArray[np.int16]
    """`(scorers, n)`: number of the run that fooled the scorer; 0 for misclassified images, -1 for robust ones."""
    done: NDArray[np.int16]
    """`(n,)`: number of the last run on each image, -1 for none."""
    distance: Radii
    """`(n,)`: distance of the adversarial image of a minimum-norm attack; infinite where none was made."""

    @classmethod
    def empty(cls, scorers: int, images: int) -> AttackState:
        """The state before any run."""
        lost_to, done = np.full((scorers, images), -1, np.int16), np.full(images, -1, np.int16)
        return cls(lost_to, done, np.full(images, np.inf, np.float32))

    def apply(self, entry: Entry) -> None:
        """Adds the outcome of a run on some images."""
        places = np.asarray(entry.places, int)
        for lost_to, broken in zip(self.lost_to, entry.broken, strict=True):
            new = places[np.asarray(broken, bool) & (lost_to[places] < 0)]
            lost_to[new] = entry.stage
        self.done[places] = entry.stage
        if entry.distances is not None:
            self.distance[places] = entry.distances

    def left(self, run: int, places: NDArray[np.int64]) -> list[int]:
        """The places that a run has not processed and that are robust so far for at least one scorer."""
        open_ = (self.done[places] < run) & (self.lost_to[:, places] < 0).any(0)
        return [int(place) for place in places[open_]]

    def settled(self, runs: int) -> int:
        """Number of images whose outcome is final."""
        return int(((self.done >= runs) | (self.lost_to >= 0).all(0)).sum())

    @property
    def radii(self) -> Radii:
        """`(scorers, n)`: the smallest radius at which each image was lost to a minimum-norm attack."""
        radii: Radii = np.select([self.lost_to == 0, self.lost_to > 0], [np.float32(0), self.distance], np.inf)
        return radii


def robust_evaluate(
    evaluation: RobustEval[Key], split: Split, *, journal: Journal | None = None, task: Task | None = None
) -> dict[Key, dict[str, Outcomes]]:
    """Attacks a split. Returns for every scorer and cause (`CLEAN` or an attack by name) which images were lost to it,
    `(n,)` bool.

    Entries of the journal are not computed again; every batch is added to it. `task` is advanced by one for every image
    whose outcome is final.
    """
    plan = attack_runs(evaluation.setting, evaluation.num_classes)
    state = _attacked(evaluation, plan, split, journal or Journal(), task or Task())
    lost_to = _gathered(evaluation, state.lost_to + 1) - 1
    names = [CLEAN, *(run.setting.name for run in plan)]
    return {
        key: {name: np.isin(numbers, [at for at, other in enumerate(names) if other == name]) for name in names}
        for key, numbers in zip(evaluation.scorers, lost_to, strict=True)
    }


def smallest_radii(
    evaluation: RobustEval[Key], split: Split, *, journal: Journal | None = None, task: Task | None = None
) -> dict[Key, Radii]:
    """Runs a minimum-norm attack on a split as `robust_evaluate` does. Returns the radii for every scorer."""
    plan = attack_runs(evaluation.setting, evaluation.num_classes)
    state = _attacked(evaluation, plan, split, journal or Journal(), task or Task())
    return dict(zip(evaluation.scorers, _gathered(evaluation, state.radii), strict=True))


def _attacked(
    evaluation: RobustEval[Key], plan: Sequence[AttackRun], split: Split, journal: Journal, task: Task
) -> AttackState:
    """The outcomes of the images of this process."""
    evaluation.net.eval()
    processes = evaluation.runtime.processes
    mine = _own_places(evaluation, len(split))
    state = AttackState.empty(len(evaluation.scorers), len(split))
    for entry in journal.read(len(state.lost_to), len(split), len(plan)):
        state.apply(entry)
    processes.wait_for_everyone()  # no process writes before all have read
    settled, at_once = state.settled(len(plan)), AtOnce(split, evaluation.runtime.device)
    task.advance(settled)
    for number, run in enumerate([None, *plan]):
        queue = state.left(number, mine)
        while queue:
            entry = at_once(partial(_run, evaluation, run, number, split, state, queue))
            journal.append(entry)
            state.apply(entry)
            queue = [*queue[at_once.size :], *sorted(set(queue[: at_once.size]) - set(entry.places))]
            done = state.settled(len(plan))
            task.advance(done - settled)
            settled = done
    return state


def _run(
    evaluation: RobustEval[Key],
    run: AttackRun | None,
    number: int,
    split: Split,
    state: AttackState,
    queue: list[int],
    size: int,
) -> Entry:
    """The outcome of a run on those of the first images of a queue that it finished; with None, of clean images."""
    places = queue[:size]
    batch = next(iter(split.subset(places).batches(len(places), evaluation.runtime.device)))
    if run is None:
        return Entry(stage=number, places=tuple(places), broken=evaluation.misclassified(batch, places))
    made = evaluation.attack(run, batch)
    broken = evaluation.broken(batch, made.first, made.last)
    ended = [made.finished or fallen for fallen in made.fallen.tolist()]
    if evaluation.keep:
        lost_to = dict(zip(evaluation.scorers, state.lost_to[:, places], strict=True))
        stood = True if evaluation.own is None else lost_to[evaluation.own] <= 0
        evaluation.keep(batch, evaluation.stronger(batch, made), np.logical_and(ended, stood).tolist())
    return Entry(
        stage=number,
        places=tuple(compress(places, ended)),
        broken=tuple(tuple(compress(verdicts, ended)) for verdicts in broken),
        distances=_distances(evaluation, batch, made.last) if run.setting.is_minimum_norm else None,
    )


def _distances(evaluation: RobustEval[Key], batch: Batch, adversarial: Tensor) -> tuple[float, ...]:
    """How far the images of a finished run are from the clean ones."""
    clean = evaluation.runtime.to_pixels(batch.images)
    return tuple(distance(evaluation.setting.threat, clean, adversarial).tolist())


def _own_places(evaluation: RobustEval[Key], images: int) -> NDArray[np.int64]:
    """The places of a split of so many images that this process attacks."""
    processes = evaluation.runtime.processes
    return np.arange(processes.process_index, images, processes.num_processes)


def _gathered(evaluation: RobustEval[Key], values: NDArray[Any]) -> NDArray[np.float32]:
    """Values `(scorers, n)` of all images, from those that each process has of its own."""
    found = torch.zeros(values.shape)
    mine = _own_places(evaluation, values.shape[1])
    found[:, mine] = torch.from_numpy(values[:, mine]).float()
    return evaluation.runtime.sum(found).numpy()
