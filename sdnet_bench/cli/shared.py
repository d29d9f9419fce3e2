"""Shared steps of commands: writing tables and figures, and the card and results of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BenchError, RecordError
from .screen import IS_FIRST, Screen, fail, say, warn

if TYPE_CHECKING:
    from ..studies.workbench import Workbench


def write_report(names: Sequence[str], output: Path, formats: Sequence[str], runs_dir: Path) -> None:
    """Writes a report on the named models, or on all, in the first process only; prints tables that are texts."""
    if not IS_FIRST:
        return
    from ..paper.render import to_markdown
    from ..paper.results import find_results
    from ..paper.tables import build_tables
    from ..report.formats import TEXTS, check_formats, write

    kinds = check_formats(formats)
    left_out: list[BenchError] = []
    results = find_results(names, runs_dir, left_out, Screen())
    if results or not left_out:
        tables = build_tables(results)
        written = write(results, tables, output, kinds)
        if set(kinds) & set(TEXTS):
            say("\n".join(to_markdown(table) for table in tables))
            Screen().note(f"{len(written)} files in {output}")
        else:
            say("\n".join(map(str, written)))
    refuse(left_out)


def refuse(left_out: Sequence[BenchError]) -> None:
    """Says of each model that was left out what is wrong with it: in lines, the last by raising it."""
    for error in left_out[:-1]:
        fail(str(error))
    if left_out:
        raise left_out[-1]


def publish(bench: Workbench) -> None:
    """Updates card and `results.json` of a run from its records; shipped models are not changed.

    Where they cannot be written, a warning: what was measured is on record, and is shown.
    """
    from ..paper.results import Results
    from ..report.card import publish

    if bench.model.folder.resolve() == bench.folder.resolve() and bench.runtime.processes.is_main_process:
        results = Results.read(bench.model.folder, bench.folder.parent)
        try:
            publish(bench.folder, results)
        except RecordError as error:
            warn(f"the card is as it was: {error}")
