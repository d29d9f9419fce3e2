"""What the measuring commands share: opening a model, and publishing what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .screen import Screen

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


def publish(bench: Workbench) -> None:
    """Brings card and `results.json` of a run up to its records; shipped models are left as they are."""
    from ..report.card import publish
    from ..report.results import Results

    if bench.model.folder.resolve() == bench.folder.resolve() and bench.runtime.processes.is_main_process:
        publish(bench.folder, Results.read(bench.model.folder, bench.folder.parent))
