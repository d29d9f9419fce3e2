"""What the measuring commands share: opening a model, and publishing what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .screen import IS_FIRST, Screen, say

if TYPE_CHECKING:
    from ..studies.workbench import Workbench


def open_bench(
    model: str | None, runs_dir: Path, data_dir: Path, device: str, precision: str, seed: int = 0
) -> Workbench:
    """The named model on the bench; without a name, the one trained last."""
    from ..engine.runtime import Runtime
    from ..studies.workbench import Workbench

    runtime = Runtime.create(device, precision)
    return Workbench.open(model or latest_run(runs_dir), runs_dir, data_dir, runtime, Screen(), seed)


def latest_run(runs_dir: Path) -> str:
    """The name of the model in `runs_dir` that was trained last."""
    trained = list(runs_dir.glob("*/model*.safetensors"))
    if not trained:
        raise UsageError(f"no model in {runs_dir}", hint="Train one with `sdnet-bench train`, or name a model.")
    return max(trained, key=lambda path: path.stat().st_mtime).parent.name


def write_report(names: Sequence[str], output: Path, formats: Sequence[str], runs_dir: Path) -> None:
    """Writes tables and figures of the named models, or of all, and prints the tables; the first process does."""
    if not IS_FIRST:
        return
    from ..paper.render import check_formats, to_markdown, write_tables
    from ..paper.results import find_results
    from ..paper.tables import build_tables
    from ..report.figures import write_figures

    kinds = check_formats(formats)
    results = find_results(names, runs_dir, Screen())
    tables = build_tables(results)
    written = [*write_tables(tables, output, kinds), *write_figures(results, output)]
    say("\n".join(to_markdown(table) for table in tables))
    Screen().note(f"{len(written)} files in {output}")


def publish(bench: Workbench) -> None:
    """Brings card and `results.json` of a run up to its records; shipped models are left as they are."""
    from ..paper.results import Results
    from ..report.card import publish

    if bench.model.folder.resolve() == bench.folder.resolve() and bench.runtime.processes.is_main_process:
        publish(bench.folder, Results.read(bench.model.folder, bench.folder.parent))
