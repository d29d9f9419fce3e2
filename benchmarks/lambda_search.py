"""How much a race saves over the grid of Algorithm 1, and a shared sweep over one evaluation per lambda.

    python benchmarks/lambda_search.py sdnet18-cifar10-small --images 10000 --output benchmarks/lambda_search.md

Both searches see the same images with the same noise; the grid's outcomes judge what the race has chosen.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.progress import Progress
from sdnet_bench.records import Record
from sdnet_bench.records.lambda_fit import LambdaFit
from sdnet_bench.studies.algorithm1 import fit_lambda, full_grid, level_cells, swept
from sdnet_bench.studies.race import Rules
from sdnet_bench.studies.workbench import Workbench
from sdnet_bench.zoo.find import find_model
from sdnet_bench.zoo.weights import WEIGHTS


def open_copy(model: str, data_dir: Path, folder: Path, runtime: Runtime) -> Workbench:
    """The model on a bench without records."""
    source, target = find_model(model, Path("runs")), folder / Path(model).name
    target.mkdir(parents=True)
    for name in ("config.json", WEIGHTS):
        shutil.copy(source / name, target / name)
    return Workbench.open(str(target), folder / "runs", data_dir, runtime, Progress())


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare_sweeps(args: argparse.Namespace, runtime: Runtime, scratch: Path) -> list[str]:
    """One level, all lambdas: measured together, and one by one."""
    together, alone = (open_copy(args.model, args.data_dir, scratch / name, runtime) for name in ("all", "one"))
    images = together.images("train", args.sweep_images)
    cells = swept(level_cells(together, images, "gaussian", [0.1]), full_grid(together, None))
    together.measure(cells[:1], "warm-up")
    alone.measure(cells[:1], "warm-up")
    rest = cells[1:]
    shared = timed(lambda: together.measure(rest, "sweep"))
    plain = timed(lambda: [alone.measure([cell], "one") for cell in rest])
    same = [a.correct.tolist() == b.correct.tolist() for a, b in zip(together.store, alone.store, strict=True)]
    return [
        f"| one level, {len(rest)} lambdas | images | seconds | outcomes |",
        "| --- | ---: | ---: | --- |",
        f"| one evaluation per lambda | {args.sweep_images:,} | {plain:.1f} | |",
        f"| shared sweep | {args.sweep_images:,} | {shared:.1f} | {sum(same)} of {len(same)} records bit-identical |",
        "",
        f"The sweep is {plain / shared:.2f} times as fast.",
    ]


def regrets(grid: Sequence[Record], race: LambdaFit, best: LambdaFit) -> list[float]:
    """By how many points of accuracy the race's choice falls short, on the images of the grid."""
    accuracy = {(record.images.level, record.inference.lambda_): 100 * record.accuracy for record in grid}
    return [
        accuracy[exact.level, exact.lambda_] - accuracy[raced.level, raced.lambda_]
        for exact, raced in zip(best.points, race.points, strict=True)
    ]


def compare_searches(args: argparse.Namespace, corruption: str, runtime: Runtime, scratch: Path) -> str:
    """A row of the table: grid against race for one corruption."""
    benches = [open_copy(args.model, args.data_dir, scratch / f"{corruption}-{kind}", runtime) for kind in "gr"]
    fits: list[LambdaFit] = []
    seconds = []
    for bench, search in zip(benches, (None, Rules(args.confidence, args.tolerance / 100)), strict=True):
        work = lambda bench=bench, search=search: fits.append(  # noqa: E731
            fit_lambda(bench, bench.images("train", args.images), corruption, levels=args.levels, search=search)
        )
        seconds.append(timed(work))
    passes = [sum(record.n for record in bench.store) for bench in benches]
    short = regrets(list(benches[0].store), fits[1], fits[0])
    chosen = ["  ".join(f"{point.lambda_:g}" for point in fit.points) for fit in fits]
    return (
        f"| {corruption} | {passes[0]:,} | {passes[1]:,} | {passes[0] / passes[1]:.1f} | {seconds[0]:.0f} "
        f"| {seconds[1]:.0f} | {chosen[0]} | {chosen[1]} | {statistics.fmean(short):.2f} / {max(short):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--corruptions", default="gaussian,impulse")
    parser.add_argument("--levels", type=float, nargs="+", help="by default those of fit-lambda")
    parser.add_argument("--images", type=int, default=10_000, help="training images, spread evenly")
    parser.add_argument("--sweep-images", type=int, default=2_000)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--tolerance", type=float, default=1.0, help="in points of accuracy")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    args = parser.parse_args()
    runtime = Runtime.create("auto", args.precision)
    about = runtime.provenance()
    levels = f"levels {', '.join(f'{level:g}' for level in args.levels)}" if args.levels else "the usual levels"
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            f"{args.model}: {about['precision']}, {about['device']}, torch {about['torch']}, commit {about['commit']}.",
            "",
            *compare_sweeps(args, runtime, Path(folder)),
            "",
            f"Algorithm 1 on {args.images:,} training images, {levels}, 15 lambdas. Race: confidence "
            f"{args.confidence:g}, tolerance {args.tolerance:g} points. Short: by how many points of accuracy, in the "
            "mean and at worst over the levels, the race's choices fall short on the images of the grid.",
            "",
            "| noise | passes, grid | race | times fewer | seconds, grid | race | lambda_c, grid | race | short |",
            "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: |",
            *(compare_searches(args, name, runtime, Path(folder)) for name in args.corruptions.split(",")),
        ]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
