"""What an audit says: questions, answers, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from ..config import Frozen, Verdict
from ..records import Threat
from .evidence import exceeds

Needs = Literal["lambda", "fits"]

SHAKEN_BY = ("C7", "C8", "C11")
"""A failure of one of these says that attacks do not work on the network as they should: no figure of them counts."""
FEWEST = 100
"""Images that a robust accuracy must rest on: an interval around 50 % is then about twenty points wide."""
BLACK_BOX = 0.2
"""Points by which a later attack may lower a figure before it is unreliable: the limit of AutoAttack's own warning
for Square (Croce & Hein, 2020, `check_square_sr`)."""


class CheckResult(Frozen):
    """The answer to one question."""

    id: str
    """"C1" to "C12"."""
    title: str
    verdict: Verdict
    says: str
    """One sentence, with the figures that stand behind the verdict."""
    figures: dict[str, float] = Field(default_factory=dict)
    """All that was measured for it; percent and points where the name says nothing else."""
    threshold: str
    """When it fails or warns, in words."""
    masking: bool = False
    """Whether it found signs of masked gradients, on which attacks only seem to fail."""


@dataclass(frozen=True)
class Check:
    """What a check asks.

    Args:
        threshold: when it fails or warns, in words.
        needs: what a network must have for it to make sense: a lambda, or fits of lambda(r) too.
    """

    id: str
    title: str
    threshold: str
    needs: Needs | None = None

    def answer(
        self, verdict: Verdict, says: str, figures: Mapping[str, float], *, masking: bool = False
    ) -> CheckResult:
        """A check with this outcome; figures are rounded to 1e-4."""
        return CheckResult(
            id=self.id,
            title=self.title,
            verdict=verdict,
            says=says,
            figures={name: round(float(value), 4) for name, value in figures.items()},
            threshold=self.threshold,
            masking=masking,
        )

    def not_applicable(self, why: str) -> CheckResult:
        """A check that was not made."""
        return self.answer("not applicable", why, {})


class Budget(Frozen):
    """How much an audit spends."""

    images: int
    """Of the test split: those under attack."""
    tuning: int
    """Of the validation split: those that lambda is tuned on."""
    apgd_steps: int
    queries: int
    """Of Square, on all images; AutoAttack's own has 5,000 for those that its other attacks leave."""
    step_factors: tuple[int, ...]
    """So many times as many steps of PGD must change nothing."""
    surrogate_steps: tuple[int, ...]
    """FISTA iterations of the networks that a surrogate attack looks at."""
    autoattack: bool


FULL = Budget(
    images=500,
    tuning=1000,
    apgd_steps=100,
    queries=1000,
    step_factors=(2, 10),
    surrogate_steps=(4, 8, 16),
    autoattack=True,
)
QUICK = Budget(
    images=100, tuning=100, apgd_steps=20, queries=200, step_factors=(2,), surrogate_steps=(8,), autoattack=False
)


class Accuracies(Frozen):
    """Accuracy (%) on the same test images, at the tuned lambda where there is one."""

    clean: float
    transfer: float | None
    """Under PGD that looks at the lambda of training: the paper's protocol. None for a network without lambda."""
    pgd: float
    """Under PGD that looks at the network as it is."""
    autoattack: float | None
    """None where it was not run."""
    lowest: float
    """Of the images that no attack on record broke within this radius."""
    attacks: int
    """How many runs of attacks are on record; noise is none."""


class Audit(Frozen):
    """A network under one threat model: who attacks it, what is left of it, and what that is worth."""

    model: str
    architecture: str
    """The backbone by name, with its options."""
    weights: str
    """sha256."""
    dataset: str
    norm: str
    eps: float
    images: int
    """How many test images were attacked; as many validation images tuned lambda."""
    seed: int
    trained_lambda: float | None
    tuned_lambda: float | None
    usable_lambdas: tuple[float, ...]
    """Those under which clean validation images keep 90 % of their accuracy."""
    budget: Budget
    accuracies: Accuracies
    checks: tuple[CheckResult, ...]
    provenance: dict[str, Any]

    @property
    def threat(self) -> Threat:
        """The ball that adversarial images stay in."""
        return Threat(self.norm, self.eps)

    @property
    def name(self) -> str:
        """ "linf", or "linf-quick" where the budget has no AutoAttack: that of its files."""
        return self.norm if self.budget.autoattack else f"{self.norm}-quick"

    @property
    def failed(self) -> list[str]:
        """The ids of the checks that failed."""
        return [check.id for check in self.checks if check.verdict == "fail"]

    @property
    def unreliable(self) -> bool:
        """Whether there is no robust accuracy to be relied on.

        That is so without AutoAttack, with fewer than a hundred images, where gradients or forwards are not what
        attacks need them to be (C7, C8, C11, a failure of C10), or where all attacks on record together leave less
        than AutoAttack does.
        """
        known = self.accuracies
        if known.autoattack is None or self.images < FEWEST:
            return True
        masked = any(check.masking for check in self.checks)
        shaken = not set(self.failed).isdisjoint(SHAKEN_BY)
        return masked or shaken or exceeds(known.autoattack - known.lowest, BLACK_BOX, self.images)
