"""The paper's main figures beside those of the shipped networks, for the README and for the page on attacks.

python benchmarks/headline.py results
python benchmarks/headline.py l2
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sdnet_bench.config import MODELS
from sdnet_bench.paper.accuracy import TABLE1
from sdnet_bench.paper.attacks import COLUMNS, TABLE4
from sdnet_bench.paper.noise import TABLE2, TABLE3
from sdnet_bench.paper.render import markdown_table, paper_number
from sdnet_bench.paper.results import Results
from sdnet_bench.paper.robustness import Robustness
from sdnet_bench.paper.study import TableStudy
from sdnet_bench.paper.tables import Entry, Table, build_tables
from sdnet_bench.records import Threat
from sdnet_bench.records.statistics import show

TRANSFER, MATCHED = (tuple(name for name, (_, of) in COLUMNS.items() if of == by) for by in ("transfer", "matched"))
TUNED = "SDNet-18 (after tuning lambda)"
ATTACKS = "PGD, Linf 8/255 and L2 0.5"
RADII = (0.5, 0.2)
NOISES = "gaussian, shot, speckle, impulse; mean of 1 to 5"


class Line(NamedTuple):
    """A line of the table, and the table and columns of its figures."""

    condition: str
    subject: str
    table: TableStudy
    row: str
    columns: tuple[str, ...] | None = None
    """Columns of the figures; None for all columns of the table, in order."""
    digits: int = 1
    """Number of decimals of an accuracy."""

    def figures(self, table: Table, number: Callable[[Entry], str]) -> str:
        """The figures of the line as `number` writes them; "—" where there is none."""
        entries = [entry for entry in table.entries if entry.row == self.row]
        found = [number(entry) for entry in entries if self.columns is None or entry.column in self.columns]
        return " ".join(found) if set(found) != {"—"} else "—"

    def ours(self, entry: Entry) -> str:
        """Our number: an accuracy in percent, or a lambda with two decimals."""
        return f"{entry.ours.value:.{2 if entry.ours.low is None else self.digits}f}" if entry.ours else "—"


LINES = (
    Line("clean", "ResNet-18", TABLE1, "ResNet-18", ("Top-1 Acc (%)",), digits=2),
    Line("clean", "SDNet-18", TABLE1, "SDNet-18", ("Top-1 Acc (%)",), digits=2),
    Line("Gaussian noise, severity 1 to 5", "ResNet-18", TABLE2, "ResNet-18"),
    Line("Gaussian noise, severity 1 to 5", "SDNet-18, lambda 0.1", TABLE2, "SDNet-18 w/ lambda = 0.1"),
    Line("Gaussian noise, severity 1 to 5", "SDNet-18, Algorithm 1", TABLE2, "SDNet-18 w/ adaptive lambda"),
    Line("", "lambda that it chose", TABLE2, "lambda from linear fitting"),
    Line(NOISES, "ResNet-18", TABLE3, "ResNet-18"),
    Line(NOISES, "SDNet-18, lambda 0.1", TABLE3, "SDNet-18 w/ lambda = 0.1"),
    Line(NOISES, "SDNet-18, Algorithm 1", TABLE3, "SDNet-18 w/ adaptive lambda"),
    Line(ATTACKS, "ResNet-18", TABLE4, "ResNet-18", TRANSFER),
    Line(ATTACKS, "SDNet-18, lambda 0.1", TABLE4, "SDNet-18 w/ lambda = 0.1", TRANSFER),
    Line(ATTACKS, "SDNet-18, tuned lambda, attacked at lambda 0.1", TABLE4, TUNED, TRANSFER),
    Line(ATTACKS, "SDNet-18, tuned lambda, attacked at that lambda", TABLE4, TUNED, MATCHED),
)


def headline(results: Sequence[Results]) -> str:
    """The table as Markdown, a line for each of `LINES`, for models of one data set, one per architecture."""
    tables = {table.name: table for table in build_tables(results, [TABLE1, TABLE2, TABLE3, TABLE4])}
    lines, before = [], ""
    for line in LINES:
        table, condition = tables[line.table.name], line.condition if line.condition != before else ""
        lines.append([condition, line.subject, line.figures(table, paper_number), line.figures(table, line.ours)])
        before = line.condition
    return markdown_table(["", "", "paper", "here"], lines)


def budgets(results: Sequence[Results]) -> str:
    """A Markdown table of the paper's figures under L2 0.5 beside transferred PGD with the RADII."""
    models = {result.name: result for result in results}
    entries = [entry for table in build_tables(results, [TABLE4]) for entry in table.entries]
    lines = []
    for entry in entries:
        if entry.column == TRANSFER[1] and entry.paper is not None and entry.model:
            model, is_tuned = models[entry.model], entry.row == TUNED
            here = (_under(Threat("l2", radius), model, is_tuned) for radius in RADII)
            lines.append([entry.row, paper_number(entry), *here])
    return markdown_table(["", "paper, eps 0.5", *(f"here, eps {radius:g}" for radius in RADII)], lines)


def _under(threat: Threat, model: Results, is_tuned: bool) -> str:
    """Accuracy at the lambda of training, or at the lambda tuned for this radius, which is added to the text."""
    found = Robustness.find(model.records, threat, model.trained_lambda)
    choice = "tuned" if is_tuned else "trained"
    if found is None or choice not in found.classifiers:
        return "—"
    at = f", lambda {found.classifiers[choice]:g}" if is_tuned else ""
    return show(found.value("transfer", choice)) + at


if __name__ == "__main__":
    with TemporaryDirectory() as runs:  # without records of one's own
        shipped = [Results.read(MODELS / name, Path(runs)) for name in ("resnet18-cifar10", "sdnet18-cifar10")]
    sys.stdout.write({"results": headline, "l2": budgets}[sys.argv[1]](shipped) + "\n")
