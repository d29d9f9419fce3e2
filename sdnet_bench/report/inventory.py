"""Lists of models, and descriptions of one, as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import MODELS, Origin
from ..errors import BenchError
from ..paper.results import Results, skipping
from ..records import NOISES
from ..records.statistics import Value
from ..zoo.weights import weight_files


def list_all(runs_dir: Path, left_out: list[BenchError]) -> Iterator[dict[str, Any]]:
    """A row for each run and each shipped model; what is wrong with those that cannot be read joins `left_out`."""
    for where, root in {"run": runs_dir, "shipped": MODELS}.items():
        for folder in sorted(path.parent for path in root.glob("*/config.json")):
            with skipping(f"the model {folder}", left_out):
                row = _row(Results.read(folder, runs_dir))
                weights = "yes" if weight_files(folder) else "no"
                yield {"name": folder.name, "where": where, **row, "weights": weights}


def _row(results: Results) -> dict[str, Any]:
    parameters, clean = results.training("parameters"), results.clean()
    return {
        "backbone": results.config.backbone.architecture,
        "data set": results.config.dataset,
        "parameters": parameters and int(parameters.value),
        "clean %": clean and round(clean.value, 2),
    }


def describe(folder: Path, runs_dir: Path) -> dict[str, Any]:
    """The origin and configuration of a model, and its accuracies (%) at the lambda of training."""
    results, origin = Results.read(folder, runs_dir), Origin.read(folder)
    values = {"clean": results.clean(), **{noise: results.mean(noise) for noise in NOISES}}
    values |= {f"{threat} union": found.value("union", "trained") for threat, found in results.robustness.items()}
    return {
        "name": results.name,
        "folder": str(folder),
        "origin": origin and origin.model_dump(),
        "config": results.config.model_dump(),
        "lambda": results.trained_lambda,
        "accuracy": {name: _interval(value) for name, value in values.items() if value},
    }


def _interval(value: Value) -> dict[str, float | int | None]:
    return {"value": value.value, "low": value.low, "high": value.high, "n": value.n}
