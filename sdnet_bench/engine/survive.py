"""Robust accuracy: which images no adversarial image of an attack could turn.

An attack is a sequence of stages: restarts, targets, or the attacks of a suite. An image that is misclassified as it
is is never attacked; one that falls is not attacked again. A stage sees those that are left in full batches; when most
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

from ..attacks import TARGETED, Crafted, Stage, craft, surrogate
from ..data import Batch, Split
from ..journal import Entry, Journal
from ..progress import Task
from ..records import CLEAN, AttackSetting, Outcomes
from .evaluate import BATCH_SIZE, LambdaRule
from .runtime import Runtime

Key = TypeVar("Key")
Judge = Callable[[Tensor, Batch], Tensor]
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


def stages(setting: AttackSetting, num_classes: int) -> list[Stage]:
    """The runs that an attack consists of, in their order."""
    found = []
    for name, restarts in SUITES.get(setting.name, ((setting.name, setting.restarts),)):
        part = setting.model_copy(update={"name": name, "steps": _budget(setting, name)})
        found += [Stage(part, restart) for restart in range(_restarts(name, restarts, num_classes))]
    return found


def _budget(setting: AttackSetting, name: str) -> int:
    return setting.steps * QUERIES if name == "square" and setting.name in SUITES else setting.steps


def _restarts(name: str, wanted: int, num_classes: int) -> int:
    """Targeted attacks have as many restarts as there are wrong classes, at most."""
    return min(wanted, num_classes - 1) if name in TARGETED else wanted


@dataclass(frozen=True, eq=False)
class Siege(Generic[Key]):
    """An attack, and who decides whether an image stands.

    Args:
        net: on the runtime's device, in eval mode; what the attack looks at is made of it.
        setting: the attack.
        judges: an image stands or falls for each of them on its own.
        own: the judge that classifies as the network does that the attack looks at, if there is one: for it an image
            has fallen as soon as one of the attack's iterates fools it.
        num_classes: bounds the targets of targeted attacks.
        rule: of the network that the attack looks through.
        seed: of all random numbers.
        keep: told of every adversarial image.
    """

    net: nn.Module
    setting: AttackSetting
    judges: Mapping[Key, Judge]
    own: Key | None
    runtime: Runtime
    num_classes: int
    rule: LambdaRule | None = None
    seed: int = 0
    keep: Keep | None = None

    @property
    def own_place(self) -> int | None:
        """Where `own` stands among the judges."""
        return None if self.own is None else list(self.judges).index(self.own)

    def attack(self, stage: Stage, batch: Batch) -> Crafted:
        """One stage on a batch of images that are left."""
        rule = self.rule
        through = (lambda residual: rule(residual, batch)) if rule else None
        hurried = self.keep is None and list(self.judges) == [self.own]
        pixels = self.runtime.to_pixels(batch.images)
        with surrogate(self.net, stage.setting, through) as seen:
            index = batch.index.tolist()
            return craft(
                seen, pixels, batch.labels, stage, index, seed=self.seed, patience=PATIENCE if hurried else None
            )

    @torch.no_grad()
    def broken(self, batch: Batch, first: Tensor, last: Tensor) -> list[list[bool]]:
        """For every judge, which images these pixels break: for its own those that fooled it `first`."""
        return [(~judge(first if key == self.own else last, batch)).tolist() for key, judge in self.judges.items()]

    @torch.no_grad()
    def stronger(self, batch: Batch, crafted: Crafted) -> Tensor:
        """What the attack ended with; what fooled its network first where in the end it did not."""
        if self.own is None:
            return crafted.last
        back = crafted.fallen & self.judges[self.own](crafted.last, batch)
        return crafted.first.where(back.view(-1, 1, 1, 1), crafted.last)


@dataclass(eq=False)
class Standing:
    """What has become of the images of a split so far: the sum of its entries.

    Args:
        judges: how many there are.
        total: images of the split.
    """

    judges: int
    total: int
    lost_to: NDArray[np.int16] = field(init=False)
    """`(judges, total)`: the stage that broke an image; 0 for one misclassified as it is, -1 for one that stands."""
    done: NDArray[np.int16] = field(init=False)
    """`(total,)`: the last stage that an image went through, -1 for none."""

    def __post_init__(self) -> None:
        self.lost_to = np.full((self.judges, self.total), -1, np.int16)
        self.done = np.full(self.total, -1, np.int16)

    def apply(self, entry: Entry) -> None:
        """Takes in what a stage did to some images: `stage`, `places` and for each judge which are `broken`."""
        places = np.asarray(entry["places"], int)
        for lost_to, broken in zip(self.lost_to, entry["broken"], strict=True):
            new = places[np.asarray(broken, bool) & (lost_to[places] < 0)]
            lost_to[new] = entry["stage"]
        self.done[places] = entry["stage"]

    def left(self, stage: int, places: NDArray[np.int64]) -> list[int]:
        """Those that have not been through a stage and stand for some judge."""
        open_ = (self.done[places] < stage) & (self.lost_to[:, places] < 0).any(0)
        return [int(place) for place in places[open_]]

    def withstands(self, judge: int | None, places: Sequence[int]) -> list[bool]:
        """Which images no attack has broken yet for a judge, by its place; all where there is none."""
        return [judge is None or bool(self.lost_to[judge, place] <= 0) for place in places]

    def settled(self, stages: int) -> int:
        """How many images nothing can happen to any more."""
        return int(((self.done >= stages) | (self.lost_to >= 0).all(0)).sum())


def survive(
    siege: Siege[Key], split: Split, *, journal: Journal | None = None, task: Task | None = None
) -> dict[Key, dict[str, Outcomes]]:
    """Attacks a split; for every judge which images, `(n,)` bool, fell to what: `CLEAN`, or an attack by name.

    Args:
        journal: what it holds is not done again, and every batch is added to it.
        task: advanced by every image, once, when nothing can happen to it any more.
    """
    siege.net.eval()
    processes, journal, task = siege.runtime.processes, journal or Journal(), task or Task()
    mine = np.arange(processes.process_index, len(split), processes.num_processes)
    plan, standing = stages(siege.setting, siege.num_classes), Standing(len(siege.judges), len(split))
    for entry in journal:
        standing.apply(entry)
    processes.wait_for_everyone()  # nobody writes before all have read
    settled = standing.settled(len(plan))
    task.advance(settled)
    for number in range(len(plan) + 1):
        queue = deque(standing.left(number, mine))
        while queue:
            places = [queue.popleft() for _ in range(min(BATCH_SIZE, len(queue)))]
            entry = _run(siege, plan[number - 1] if number else None, number, split, places, standing)
            journal.append(entry)
            standing.apply(entry)
            queue.extend(sorted(set(places) - set(entry["places"])))
            done = standing.settled(len(plan))
            task.advance(done - settled)
            settled = done
    return _losses(siege, standing, plan, mine)


def _run(
    siege: Siege[Key], stage: Stage | None, number: int, split: Split, places: list[int], standing: Standing
) -> Entry:
    """What a stage, or a first look at the clean images, did to those of a batch that it came to an end with."""
    batch = next(iter(split.subset(places).batches(len(places), siege.runtime.device)))
    if stage is None:
        pixels = siege.runtime.to_pixels(batch.images)
        return {"stage": number, "places": places, "broken": siege.broken(batch, pixels, pixels)}
    crafted = siege.attack(stage, batch)
    broken = siege.broken(batch, crafted.first, crafted.last)
    ended = [crafted.finished or fallen for fallen in crafted.fallen.tolist()]
    if siege.keep:
        stood = standing.withstands(siege.own_place, places)
        siege.keep(
            batch,
            siege.stronger(batch, crafted),
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
    siege: Siege[Key], standing: Standing, plan: Sequence[Stage], mine: NDArray[np.int64]
) -> dict[Key, dict[str, Outcomes]]:
    """By judge and by what images fell to, from what all processes found."""
    names = [CLEAN, *(stage.setting.name for stage in plan)]
    found = torch.zeros(standing.lost_to.shape)
    found[:, mine] = torch.from_numpy(standing.lost_to[:, mine] + 1).float()
    numbers = siege.runtime.sum(found).numpy().astype(int) - 1
    return {
        key: {name: np.isin(lost_to, [at for at, other in enumerate(names) if other == name]) for name in names}
        for key, lost_to in zip(siege.judges, numbers, strict=True)
    }
