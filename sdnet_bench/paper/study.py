"""Studies: tables and figures of the paper, and for a table our numbers and the commands that measure them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ..records.statistics import Value
from .published import PaperRow, PaperTable, published
from .results import Results


@dataclass(frozen=True)
class Study:
    """The measurements of a table or figure.

    Args:
        name: `table1`, `figure2`, ..., or a word for a study that is not in the paper.
        needs_lambda: whether it applies only to networks with CSC-layers.
        on_archives: whether the paper, or the benchmark, measured it on the -C archives.
    """

    name: str
    needs_lambda: bool = False
    on_archives: bool = False


def study_command(name: str, model: Results) -> str | None:
    """The command that measures a study; None for results on archives, whose folder is not known."""
    return None if model.origin else f"sdnet-bench evaluate {model.name} --study {name}"


@dataclass(frozen=True, kw_only=True)
class TableStudy(Study):
    """A study with a table of our numbers beside those of `paper.toml`.

    Args:
        value: returns the number of a model in a row and column; None where it is not on record.
        command: returns the command that measures it, or None; by default `evaluate --study`.
        notes: returns notes on a model's numbers, besides those on the measurement.
        remark: returns a difference in conditions between a model's numbers and the paper's in a row.
        of_the_machine: columns whose numbers depend on the machine.
        optional: whether the table is left out while it has only clean accuracy.
        fixed: whether the table is only for the architectures of its rows.
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
        """The rows and columns of the table, with the paper's numbers."""
        return published()[self.name]

    def filled_by(self, model: Results, row: PaperRow, column: str) -> str | None:
        """The command that measures a number of a model; None where there is none."""
        return self.command(model, row, column) if self.command else study_command(self.name, model)
