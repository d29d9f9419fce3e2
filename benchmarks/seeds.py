"""How much lambda gains over runs that differ in their seed, and over recipes: on validation noise, not on test noise.

    python benchmarks/seeds.py benchmarks/seeds/*.toml --seeds 0 1      # trains, measures, writes records and table
    python benchmarks/seeds.py                                          # writes the table of the records alone

Every recipe is trained with every seed (a finished run is taken as it is), and Gaussian noise of severities 1 to 5 on
validation images is classified under a grid of lambdas.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from sdnet_bench.config import Recipe
from sdnet_bench.data import SEVERITIES
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.progress import Progress
from sdnet_bench.records import Cell, Record, read_records, write_results
from sdnet_bench.records.statistics import best_record
from sdnet_bench.studies.accuracy import corrupted_images
from sdnet_bench.studies.algorithm1 import swept
from sdnet_bench.studies.training import find_recipe, train_model
from sdnet_bench.studies.workbench import Workbench

LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.1)
FOLDER = Path(__file__).with_name("seeds")


def measure(recipe: Recipe, images: int, data_dir: Path, runs_dir: Path) -> list[Record]:
    """Trains, and classifies clean and noisy validation images."""
    bench = train_model(recipe, runs_dir, data_dir, Runtime.create(), Progress(), resume=True)
    return bench.measure(cells_of(bench, images), "validation images")


def cells_of(bench: Workbench, images: int) -> list[Cell]:
    clean = bench.images("validation", images)
    noisy = map(bench.cell, corrupted_images(bench, clean, "gaussian", SEVERITIES))
    return [bench.cell(clean), *swept(noisy, LAMBDAS)]


def row(name: str, records: Iterable[Record]) -> str:
    """Clean accuracy; at each severity that at lambda_0, the best, and the lambda of the best; the mean gain."""
    records = list(records)
    clean = next(record for record in records if record.images.corruption is None)
    cells, gains = [], []
    for severity in SEVERITIES:
        at = [record for record in records if record.images.severity == severity]
        given = next(record for record in at if record.inference.lambda_ == clean.inference.lambda_)
        best = best_record(at)
        gains.append(100 * (best.accuracy - given.accuracy))
        cells.append(f"{100 * given.accuracy:.1f} → {100 * best.accuracy:.1f} ({best.inference.lambda_:g})")
    return f"| {name} | {100 * clean.accuracy:.1f} | {' | '.join(cells)} | {sum(gains) / len(gains):+.1f} |"


def table(folder: Path) -> str:
    """What the records in a folder say, a line for each run."""
    header = ["run", "clean", *(f"severity {severity}" for severity in SEVERITIES), "mean gain"]
    lines = [row(path.stem, read_records(path)) for path in sorted(folder.glob("*.json"))]
    return "\n".join(["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1), *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="names, or TOML files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--images", type=int, default=1000, help="validation images")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    args = parser.parse_args()
    for name in args.recipes:
        for seed in args.seeds:
            recipe = find_recipe(name).replace(seed=seed)
            recipe = recipe.replace(name=f"{recipe.name}-s{seed}")
            write_results(FOLDER / f"{recipe.name}.json", measure(recipe, args.images, args.data_dir, args.runs_dir))
    sys.stdout.write(table(FOLDER))


if __name__ == "__main__":
    main()
