"""Prints records, plans and fits as tables or JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .screen import show_rows

if TYPE_CHECKING:
    from ..paper.plan import PlanStep
    from ..records import AttackSetting, Record
    from ..records.lambda_fit import LambdaFit
    from ..studies.workbench import Workbench


def show_records(records: Sequence[Record], *, as_json: bool) -> None:
    """Prints one row per record: cell, accuracy with its interval, residual; as JSON the full cell, unrounded."""
    show_rows([_data(record) if as_json else _row(record) for record in records], as_json=as_json)


def _data(record: Record) -> dict[str, Any]:
    from ..records.statistics import percent

    value = percent([record])
    measured = {} if value is None else {"accuracy": value.value, "low": value.low, "high": value.high}
    attacked = _attacked(record) if record.cell.attack else {}
    cell = record.cell.model_dump()
    return {"key": record.cell.key, **cell, **attacked, "n": record.n, **measured, **record.metrics}


def _attacked(record: Record) -> dict[str, Any]:
    """Columns of an attacked record: protocol and clean accuracy (%)."""
    from ..records import CLEAN

    return {"protocol": record.cell.protocol, "clean": 100 * float((~record.lost(CLEAN)).mean())}


def _row(record: Record) -> dict[str, Any]:
    from ..records.statistics import percent

    cell, value = record.cell, percent([record])
    noise = {"corruption": cell.images.corruption or "none", "severity": cell.images.severity}
    row: dict[str, Any] = {**(_attack(record, cell.attack) if cell.attack else noise), "lambda": _lambda(record)}
    if cell.inference.adaptation:
        row["adaptation"] = str(cell.inference.adaptation)
    if cell.attack:
        row["clean %"] = round(_attacked(record)["clean"], 2)
    row["accuracy %"] = value and round(value.value, 2)
    if value and value.low is not None and value.high is not None:
        row["95 % interval"] = f"{value.low:.1f} .. {value.high:.1f}"
    if not cell.attack:
        row["residual"] = record.metrics.get("residual")
    return row | {"images": record.n}


def _attack(record: Record, attack: AttackSetting) -> dict[str, Any]:
    """Columns of an attack: its name, its threat and the attacked network."""
    from ..records import show_eps

    restarts = f" x {attack.restarts}" if attack.restarts > 1 else ""
    return {
        "attack": f"{attack.name} {attack.steps}{restarts}",
        "norm": attack.norm,
        "eps": show_eps(attack.eps),
        "protocol": _attacked(record)["protocol"] or (record.inference.defence or "")[:12] or None,
        "made at": _made_at(attack),
    }


def _made_at(attack: AttackSetting) -> str | None:
    """The lambda of the attacked network as text; of several the first, the last and their number."""
    if attack.through:
        return f"each image's, {attack.through}"
    made = attack.crafted_at
    if isinstance(made, tuple):
        parts = [f"{made[0]:g} .. {made[-1]:g} ({len(made)})"]
    else:
        parts = [] if made is None else [f"{made:g}"]
    parts += [f"{attack.inference_steps} iterations"] if attack.inference_steps else []
    parts += ["smooth"] if attack.smooth else []
    parts += [f"{attack.gradient} gradient"] if attack.gradient else []
    return ", ".join(parts) or None


def _lambda(record: Record) -> float | str | None:
    """The lambda of the cell, with its rule; mean and standard deviation where it is chosen per image."""
    inference, metrics = record.inference, record.metrics
    if inference.rule is None:
        return inference.lambda_
    by = f"by the {inference.rule.split('/')[1]} fit"
    if {"lambda_mean", "lambda_std"} <= metrics.keys():
        return f"{metrics['lambda_mean']:.3g} ± {metrics['lambda_std']:.2g} per image {by}"
    return f"per image {by}" if inference.lambda_ is None else f"{inference.lambda_:.4g} {by}"


def show_plan(bench: Workbench, steps: Sequence[PlanStep], *, as_data: bool, as_json: bool) -> None:
    """Prints the steps of a study and the time they take at the speed of one batch, as data or as notes."""
    from ..paper.plan import images_per_second

    rows = [_plan_row(bench, step) for step in steps]
    work = [row["images"] * step.passes for row, step in zip(rows, steps, strict=True)]
    total = sum(work)
    speed = images_per_second(bench) if total else 1.0
    rows = [row | {"minutes": round(images / speed / 60, 1)} for row, images in zip(rows, work, strict=True)]
    if as_data:
        show_rows(rows, as_json=as_json)
    time = f"about {math.ceil(total / speed / 60)} min at {speed:,.0f} noisy images/s" if total else "all is on record"
    bench.progress.note(f"plan: at most {total:,} images to classify, {time}")


def _plan_row(bench: Workbench, step: PlanStep) -> dict[str, Any]:
    missing = bench.missing(step.cells)
    images = bench.work(missing) + step.later
    return {"stage": step.title, "cells": len(step.cells), "missing": len(missing), "images": images}


def show_sweep(records: Sequence[Record]) -> None:
    """Prints one row per lambda, one column per corruption and severity, with the best of each column marked."""
    rows = "lambda of the stem" if any(record.inference.layers == "stem" for record in records) else "lambda"
    columns: dict[str, dict[float, float]] = {}
    for record in records:
        column = columns.setdefault(f"{record.images.corruption} {record.images.severity}", {})
        column[float(record.inference.lambda_ or 0)] = 100 * record.accuracy
    marked = {
        name: {at: f"{value:.1f} {'*' if value == max(column.values()) else ' '}" for at, value in column.items()}
        for name, column in columns.items()
    }
    lambdas = next(iter(columns.values()))
    show_rows([{rows: at, **{name: column[at] for name, column in marked.items()}} for at in lambdas], as_json=False)


def show_fits(fits: Sequence[LambdaFit], *, as_json: bool) -> None:
    """Prints fits with R² and their points; as JSON whole."""
    show_rows([fit.model_dump() if as_json else _fit_row(fit) for fit in fits], as_json=as_json)


def _fit_row(fit: LambdaFit) -> dict[str, Any]:
    return {
        "corruption": fit.corruption,
        "lambda(r)": f"{fit.slope:.4g} r {fit.intercept:+.4g}",
        "R^2": fit.r_squared,
        "points (r_c, lambda_c)": "  ".join(f"({point.residual:.3g}, {point.lambda_:g})" for point in fit.points),
    }
