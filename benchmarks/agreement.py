"""Do the figures on record come out again on this machine? Image by image, on a part of the images.

    python benchmarks/agreement.py resnet18-cifar10 sdnet18-cifar10 --output benchmarks/agreement.md

Each cell is measured as its record says, lambda included, on fewer images. "Differ" counts images whose outcome is not
the one on record. Two columns say how much that is: outcomes here that differ between bfloat16 and float32, which is
rounding alone, and outcomes here that differ between two draws of the same noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.paper.render import markdown_table
from sdnet_bench.progress import Progress
from sdnet_bench.records import DEFAULT_EPS, Cell, Inference, Outcomes, Record
from sdnet_bench.studies.workbench import Workbench

CONDITIONS = [
    (None, None),
    *(("gaussian", severity) for severity in (1, 3, 5)),
    *((noise, 3) for noise in ("shot", "speckle", "impulse")),
]
"""Corruption and severity."""
HEADER = [
    *("model", "images", "lambda", "on record, %", "here, %", "differ", "of images"),
    *("bfloat16 against float32, here", "another draw of the noise, here"),
]
Line = tuple[str, ...]


def chosen(bench: Workbench) -> Iterator[Record]:
    """What is measured again: clean and noisy images at lambda_0 and by Algorithm 1, and matched PGD."""
    whole = [record for record in bench.store if record.images.split == "test"]
    whole = [record for record in whole if record.inference.steps is None]
    for corruption, severity in CONDITIONS:
        for record in whole:
            cell, images = record.cell, record.images
            is_wanted = (images.corruption, images.severity, images.limit) == (corruption, severity, None)
            if is_wanted and cell.kind == "accuracy" and cell.attack is None and _is_plain(bench, cell.inference):
                yield record
    for record in whole:
        cell, attack = record.cell, record.cell.attack
        is_usual = attack is not None and attack.name == "pgd" and attack.eps == DEFAULT_EPS[attack.norm]
        if is_usual and cell.protocol == "matched" and cell.inference.lambda_ == bench.model.trained_lambda:
            yield record


def _is_plain(bench: Workbench, inference: Inference) -> bool:
    """Whether lambda is that of training, or one that Algorithm 1 chose for the whole set."""
    at_lambda_0 = inference.lambda_ == bench.model.trained_lambda
    return at_lambda_0 if inference.rule is None else inference.lambda_ is not None


def on_record(bench: Workbench, record: Record, limit: int) -> Outcomes:
    """`(limit,)`: the recorded outcomes of those images that are measured again."""
    places = {int(index): place for place, index in enumerate(bench.split_of(record.images).index)}  # type: ignore[attr-defined]
    return record.correct[[places[int(index)] for index in bench.split("test", limit).index]]  # type: ignore[attr-defined]


def compare(bench: Workbench, record: Record, limit: int) -> Line:
    """A row of the table."""
    images, inference = record.images, record.inference
    fewer = images.model_copy(update={"limit": limit, "digest": bench.split("test", limit).digest})
    cell = record.cell.model_copy(update={"images": fewer})
    here, there = outcomes(bench, cell), on_record(bench, record, limit)
    single = cell.with_inference(inference.model_copy(update={"precision": "float32"}))
    other = "—" if cell.attack else share(here, outcomes(bench, single))
    redrawn = "—"
    if images.corruption and images.severity == 3 and inference.rule is None:
        again = fewer.model_copy(update={"seed": images.seed + 1})
        redrawn = share(here, outcomes(bench, cell.model_copy(update={"images": again})))
    by = ", Algorithm 1" * (inference.rule is not None)
    lambda_ = "—" if inference.lambda_ is None else f"{inference.lambda_:.3g}{by}"
    figures = (f"{100 * there.mean():.1f}", f"{100 * here.mean():.1f}", str(int((here != there).sum())), f"{limit:,}")
    return (bench.model.name, condition(cell), lambda_, *figures, other, redrawn)


def condition(cell: Cell) -> str:
    """What was done to the images."""
    if cell.attack:
        return f"PGD {cell.attack.threat}"
    return f"{cell.images.corruption} {cell.images.severity}" if cell.images.corruption else "clean"


def outcomes(bench: Workbench, cell: Cell) -> Outcomes:
    """Measured here, unless that was done before."""
    bench.runtime = replace(bench.runtime, precision=cell.inference.precision)
    (record,) = bench.measure([cell], f"{bench.model.name} again")
    return record.correct


def share(one: Outcomes, other: Outcomes) -> str:
    return f"{int((one != other).sum())}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where what is measured here goes")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--attacked", type=int, default=200)
    parser.add_argument("--output", type=Path, help="a Markdown file")
    args = parser.parse_args()
    runtime = Runtime.create("auto")
    rows: list[Line] = []
    for name in args.models:
        bench = Workbench.open(name, args.runs_dir, args.data_dir, runtime, Progress())
        for record in list(chosen(bench)):
            rows.append(compare(bench, record, args.attacked if record.cell.attack else args.images))
            sys.stdout.write(" | ".join(rows[-1]) + "\n")
            sys.stdout.flush()
    if args.output:
        args.output.write_text(page(rows, runtime), encoding="utf-8")


def page(rows: list[Line], runtime: Runtime) -> str:
    about = runtime.provenance()
    differ, total = (int(np.sum([int(row[column].replace(",", "")) for row in rows])) for column in (5, 6))
    here = f"Here: {about['device']}, torch {about['torch']}."
    found = f"{differ:,} of {total:,} outcomes differ from those on record."
    return f"{here}\n{found}\n\n{markdown_table(HEADER, rows)}\n"


if __name__ == "__main__":
    main()
