"""The card of a run after it was measured."""

from __future__ import annotations

from ..errors import RecordError
from ..paper.results import Results
from ..report.card import write_card
from ..studies.workbench import Workbench
from ..zoo.weights import weight_files


def publish(bench: Workbench) -> None:
    """Updates card and `results.json` of a run from its records; shipped models and guests are not changed.

    Where they cannot be written, a warning: what was measured is on record, and is shown.
    """
    is_run = bench.model.folder.resolve() == bench.folder.resolve() and weight_files(bench.folder)
    if is_run and bench.runtime.processes.is_main_process:
        results = Results.read(bench.model.folder, bench.folder.parent)
        try:
            write_card(bench.folder, results)
        except RecordError as error:
            bench.progress.warn(f"the card is as it was: {error}")
