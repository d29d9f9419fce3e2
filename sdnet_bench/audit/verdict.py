"""The checks of an audit, their results, and the audit as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from ..config import Frozen, Verdict
from ..records import DEFAULT_EPS, Threat
from ..records.sealed import Sealed
from .evidence import exceeds

Needs = Literal["lambda", "fits"]

SHAKEN_BY = ("C7", "C8", "C11")
"""Checks whose failure makes every robust accuracy unreliable, because attacks do not work on the network."""
FEWEST = 100
"""Least number of images of a robust accuracy; an interval around 50 % is then about twenty points wide."""
BLACK_BOX = 0.2
"""Points by which other attacks may lower the figure before it is unreliable: the limit of AutoAttack's own warning for
Square (Croce & Hein, 2020, `check_square_sr`)."""


class CheckResult(Frozen):
    """The result of one check."""

    id: str
    """Number of the check, "C1" to "C13"."""
    title: str
    verdict: Verdict
    says: str
    """One sentence with the figures behind the verdict."""
    figures: dict[str, float] = Field(default_factory=dict)
    """The measured figures by name, in percent or points unless the name has another unit."""
    threshold: str
    """The condition of failures and warnings, in words."""
    masking: bool = False
    """Whether the check found signs of gradient masking."""


@dataclass(frozen=True)
class Check:
    """The definition of a check.

    Args:
        threshold: the condition of failures and warnings, in words.
        needs: what the network must have: nothing, a lambda, or a lambda and fits of lambda(r).
    """

    id: str
    title: str
    threshold: str
    needs: Needs | None = None

    def answer(
        self, verdict: Verdict, says: str, figures: Mapping[str, float], *, masking: bool = False
    ) -> CheckResult:
        """The result of the check; figures have six significant digits, so that a small p is not zero."""
        return CheckResult(
            id=self.id,
            title=self.title,
            verdict=verdict,
            says=says,
            figures={name: float(f"{float(value):.6g}") for name, value in figures.items()},
            threshold=self.threshold,
            masking=masking,
        )

    def not_applicable(self, why: str) -> CheckResult:
        """The result where the check does not apply."""
        return self.answer("not applicable", why, {})


class Budget(Frozen):
    """The budget of an audit."""

    images: int
    """Number of attacked test images."""
    tuning: int
    """Number of validation images that lambda is tuned on."""
    apgd_steps: int
    queries: int
    """Queries of Square on all images; AutoAttack's own Square has 5,000 on the remaining images."""
    step_factors: tuple[int, ...]
    """Factors of the steps of PGD that C10 compares."""
    surrogate_steps: tuple[int, ...]
    """FISTA iterations of the surrogates of C8."""
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


Percent = Annotated[float, Field(ge=0, le=100)]


class Accuracies(Frozen):
    """Accuracies (%) on the same test images, at the tuned lambda where there is one."""

    clean: Percent
    transfer: Percent | None
    """Accuracy under transferred PGD, the paper's protocol; None for a network without lambda."""
    pgd: Percent
    """Accuracy under matched PGD."""
    autoattack: Percent | None
    """Accuracy under AutoAttack; None where it was not run."""
    lowest: Percent
    """Accuracy under all attacks on record within this radius together."""
    attacks: int
    """Number of attacks on record, without noise."""


class Audit(Sealed):
    """The audit of a network under one threat model: attacks, accuracies and the results of all checks."""

    model: str
    architecture: str
    """The backbone by name, with its options."""
    weights: str
    """sha256 of the model's weights."""
    dataset: str
    norm: Annotated[str, Field(pattern=f"^({'|'.join(DEFAULT_EPS)})$")]
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    images: Annotated[int, Field(gt=0, le=10**9)]
    """Number of attacked test images; lambda is tuned on as many validation images."""
    seed: int
    trained_lambda: float | None
    tuned_lambda: float | None
    usable_lambdas: tuple[float, ...]
    """Lambdas at which clean validation accuracy is at least 90 % of that at lambda_0."""
    budget: Budget
    accuracies: Accuracies
    """Accuracies (%) of the tuned network without and under attack."""
    checks: tuple[CheckResult, ...]
    """The thirteen checks, C1 to C13, with verdict and reason."""
    provenance: dict[str, Any]

    def __str__(self) -> str:
        """Two lines for each check: what it is, with its verdict, and what was found."""
        lines = [f"{check.id} {check.title}: {check.verdict}\n    {check.says}" for check in self.checks]
        return "\n".join([f"Audit of {self.model}, {self.threat}, {self.images:,} images of {self.dataset}", *lines])

    __repr__ = __str__

    @property
    def threat(self) -> Threat:
        """The threat model."""
        return Threat(self.norm, self.eps)

    @property
    def name(self) -> str:
        """Name of the audit and of its files: the norm, with "-quick" where the budget has no AutoAttack."""
        return self.norm if self.budget.autoattack else f"{self.norm}-quick"

    @property
    def failed(self) -> list[str]:
        """The ids of the checks that failed."""
        return [check.id for check in self.checks if check.verdict == "fail"]

    @property
    def unreliable(self) -> bool:
        """Whether the robust accuracy is unreliable.

        It is so without AutoAttack, with fewer than a hundred images, with signs of gradient masking (as in C10), after
        a failure of C7, C8 or C11, and where all attacks on record together lower the accuracy under AutoAttack by more
        than BLACK_BOX points.
        """
        known = self.accuracies
        if known.autoattack is None or self.images < FEWEST:
            return True
        masked = any(check.masking for check in self.checks)
        shaken = not set(self.failed).isdisjoint(SHAKEN_BY)
        return masked or shaken or exceeds(known.autoattack - known.lowest, BLACK_BOX, self.images)
