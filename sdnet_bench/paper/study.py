"""What a table or figure is: a value that says what it needs, what stands where, and what fills a gap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from ..csc import require_csc_layers
from ..records.statistics import Value
from ..studies.workbench import Workbench
from .plan import Extent, PlanStep
from .published import PaperRow, PaperTable, published
from .results import Results

Planner = Callable[[Workbench, Extent], Iterator[PlanStep]]


@dataclass(frozen=True)
class Study:
    """What is measured for a table or figure.

    Args:
        name: `table1`, `figure2`, ..., or a word for those that the paper does not have.
        plan: the steps that measure it.
        needs_lambda: whether it is about networks with CSC-layers alone.
        on_archives: whether the paper, or the benchmark, made it from the -C archives.
    """

    name: str
    plan: Planner
    needs_lambda: bool = False
    on_archives: bool = False

    def steps(self, bench: Workbench, extent: Extent | None = None) -> list[PlanStep]:
        """The steps in their order, each cell in the first that needs it.

        A `UsageError` for a network without CSC-layers where the study needs lambda.
        """
        if self.needs_lambda:
            require_csc_layers(bench.model.net)
        steps: list[PlanStep] = []
        for step in self.plan(bench, extent or Extent()):
            known = {cell for earlier in steps for cell in earlier.cells}
            steps.append(replace(step, cells=[cell for cell in step.cells if cell not in known]))
        return steps


def study_command(name: str, model: Results) -> str | None:
    """What measures a whole study; None of a model on archives, since nobody knows where these lie."""
    return None if model.origin else f"sdnet-bench evaluate {model.name} --study {name}"


@dataclass(frozen=True, kw_only=True)
class TableStudy(Study):
    """A study whose numbers stand in a table, beside those of `paper.toml`.

    Args:
        value: the number of a model in a row and column; None while it is not on record.
        command: what to type to measure it, None where nothing does; by default `evaluate --study`.
        notes: what a reader has to know of a model's numbers, besides how they were measured.
        remark: what sets a model's numbers in a row apart from the paper's.
        of_the_machine: columns that nobody else's machine can be compared with.
        optional: left out while there is no more in it than clean accuracy.
        fixed: compares certain architectures, and takes in no other.
    """

    value: Callable[[Results, PaperRow, str], Value | None]
    command: Callable[[Results, PaperRow, str], str | None] | None = None
    notes: Callable[[Results], Iterable[str]] = lambda model: ()
    remark: Callable[[Results, PaperRow], str | None] = lambda model, row: None
    of_the_machine: Collection[str] = ()
    optional: bool = False
    fixed: bool = False

    @property
    def published(self) -> PaperTable:
        """Its rows and columns, with the paper's numbers."""
        return published()[self.name]

    def filled_by(self, model: Results, row: PaperRow, column: str) -> str | None:
        """What to type to measure a number of a model; None where nothing does."""
        return self.command(model, row, column) if self.command else study_command(self.name, model)
