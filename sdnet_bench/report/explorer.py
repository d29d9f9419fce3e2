"""Accuracy against lambda as data, for the charts of a page that lambda is dragged over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..paper.results import Curve, Results
from ..paper.robustness import THREATS, Robustness
from ..records import NOISES
from .evidence import Ledger, facts
from .examples import Examples

LINES = ("clean", "transfer", "matched", "union")


def explorable(results: Sequence[Results], ledger: Ledger) -> list[dict[str, Any]]:
    """The models whose accuracy is known at several lambdas."""
    found = [_model(result, ledger) for result in results]
    return [model for model in found if model["noises"] or model["attacks"]]


def _model(result: Results, ledger: Ledger) -> dict[str, Any]:
    examples = Examples.read(result.folders, result.config.weights_sha256)
    return {
        "name": result.name,
        "trained": result.trained_lambda,
        "noises": list(_noises(result, ledger)),
        "attacks": list(_attacks(result, ledger)),
        "examples": examples and examples.model_dump(exclude={"weights"}),
    }


def _noises(result: Results, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """The curves of Figure 2, a line per severity."""
    for noise in NOISES:
        if curves := result.sweep(noise):
            n, swept = curves[0].n, [record for curve in curves for record in curve.records]
            title, shown = f"{result.name}, {noise} noise against λ", f"{len(swept)} points"
            command = f"sdnet-bench sweep-lambda {result.name} --corruption {noise} --limit {n}"
            at = ledger.add(title, shown, facts(swept), [command], {})
            yield {"name": noise, "n": n, "evidence": at, "lines": [_line(curve) for curve in curves]}


def _line(curve: Curve) -> dict[str, Any]:
    return {"name": str(curve.severity), "points": curve.points, "chosen": curve.chosen}


def _attacks(result: Results, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Accuracy under the paper's threats, a line per protocol."""
    for name, threat in THREATS.items():
        robustness = result.robustness.get(threat)
        if robustness and len(robustness.lambdas) > 1:
            tuned, shown = robustness.classifiers.get("tuned"), f"{len(robustness.records)} records"
            command = f"sdnet-bench attack {result.name} --norm {threat.norm} --limit {robustness.records[0].n}"
            at = ledger.add(f"{result.name}, {name} against λ", shown, facts(robustness.records), [command], {})
            lines = list(_protocols(robustness))
            yield {"name": name, "n": robustness.records[0].n, "evidence": at, "lines": lines, "tuned": tuned}


def _protocols(robustness: Robustness) -> Iterator[dict[str, Any]]:
    for column in LINES:
        if found := robustness.against_lambda(column):
            yield {"name": column, "points": [(at, *value[:3]) for at, value in found]}
