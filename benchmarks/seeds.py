"""How much lambda gains over runs that differ in their seed, and over recipes: on validation noise, not on test noise.

    python benchmarks/seeds.py RECIPE.toml ... --seeds 0 1 --output benchmarks/seeds

Trains every recipe with every seed (or takes the finished run), classifies Gaussian noise of severities 1 to 5 on
validation images under a grid of lambdas, and writes the records and a table of what they say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from sdnet_bench.data import SEVERITIES
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.progress import Progress
from sdnet_bench.records import Record, write_results
from sdnet_bench.studies.accuracy import corrupted_cells
from sdnet_bench.studies.lambda_sweep import best_record
from sdnet_bench.studies.training import find_recipe, train_model
from sdnet_bench.studies.workbench import Workbench

LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.1)


def measure(bench: Workbench, images: int) -> list[Record]:
    clean = [bench.cell("validation", images)]
    noisy = corrupted_cells(bench, "validation", "gaussian", SEVERITIES, LAMBDAS, images)
    return bench.measure([*clean, *noisy], "validation images")


def row(name: str, records: Iterable[Record]) -> str:
    """Clean accuracy; at each severity that at lambda_0, the best, and the lambda of the best."""
    records = list(records)
    clean = next(record for record in records if record.cell.corruption is None)
    cells, gains = [], []
    for severity in SEVERITIES:
        at = [record for record in records if record.cell.severity == severity]
        given = next(record for record in at if record.cell.lambda_ == clean.cell.lambda_)
        best = best_record(at)
        gains.append(100 * (best.accuracy - given.accuracy))
        cells.append(f"{100 * given.accuracy:.1f} → {100 * best.accuracy:.1f} ({best.cell.lambda_:g})")
    return f"| {name} | {100 * clean.accuracy:.1f} | {' | '.join(cells)} | {sum(gains) / len(gains):+.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", help="names, or TOML files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--images", type=int, default=1000, help="validation images")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path("seeds"))
    args = parser.parse_args()
    runtime, lines = Runtime.create(), []
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.recipes:
        for seed in args.seeds:
            recipe = find_recipe(name).replace(seed=seed)
            recipe = recipe.replace(name=f"{recipe.name}-s{seed}")
            bench = train_model(recipe, args.runs_dir, args.data_dir, runtime, Progress(), resume=True)
            records = measure(bench, args.images)
            write_results(args.output / f"{recipe.name}.json", records)
            lines.append(row(recipe.name, records))
    header = ["run", "clean", *(f"severity {severity}" for severity in SEVERITIES), "mean gain"]
    table = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1), *lines]
    text = "\n".join(table) + "\n"
    (args.output / "README.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
