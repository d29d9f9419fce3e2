"""How much the survival loop saves over a plain call of torchattacks: same images, steps and random numbers.

    python benchmarks/survival.py resnet18-cifar10-small --images 1000 --output benchmarks/survival.md

The plain loop attacks every image in every restart to the end, in batches of the same size, and counts an image as
robust when it is classified correctly as it is and at the end of every restart. The two take turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.progress import Progress
from sdnet_bench.records import DEFAULT_EPS, AttackSetting, Threat
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.suite import plainly_attacked, surviving
from sdnet_bench.studies.workbench import Workbench

PLANS = [("pgd", 10, 1), ("pgd", 10, 5), ("pgd", 50, 1), ("apgd-ce", 100, 1)]


def timed(work: Callable[[], list[bool]]) -> tuple[float, list[bool]]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def compare(bench: Workbench, setting: AttackSetting, args: argparse.Namespace) -> str:
    """A row of the table."""
    split = bench.split("test", args.images)
    ours, theirs = [], []
    for _ in range(args.runs):
        theirs.append(timed(lambda: plainly_attacked(bench.model.net, split, setting, bench.runtime)))
        ours.append(timed(lambda: surviving(bench, split, setting)))
    ratios = [slow / fast for (slow, _), (fast, _) in zip(theirs, ours, strict=True)]
    robust, plainly = np.array(ours[0][1]), np.array(theirs[0][1])
    what = f"{setting.name}, {setting.steps} steps, {setting.restarts} restart{'s' * (setting.restarts > 1)}"
    seconds = [statistics.median(seconds for seconds, _ in runs) for runs in (theirs, ours)]
    return (
        f"| {setting.norm} | {what} | {seconds[0]:.1f} | {seconds[1]:.1f} | {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f} to {max(ratios):.1f}) | {plainly.mean():.1%} | {robust.mean():.1%} "
        f"| {int((robust & ~plainly).sum())} / {int((plainly & ~robust).sum())} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--norms", default="linf,l2")
    parser.add_argument("--runs", type=int, default=3, help="of each, in turns")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    args = parser.parse_args()
    runtime = Runtime.create("auto", "float32")
    bench = Workbench.open(args.model, Path("runs"), args.data_dir, runtime, Progress())
    about = runtime.provenance()
    lines = [
        f"{args.model}, {args.images:,} test images: {about['device']}, {torch.get_num_threads()} thread(s), float32, "
        f"torch {about['torch']}, commit {about['commit']}; the median of {args.runs} runs.",
        "",
        "| norm | attack | plain, s | survival, s | times as fast | robust, plain | robust, survival "
        "| robust in one alone: survival / plain |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    for norm in args.norms.split(","):
        for name, steps, restarts in PLANS:
            setting = attack_setting(Threat(norm, DEFAULT_EPS[norm]), steps, restarts, name=name)
            lines.append(compare(bench, setting, args))
            sys.stdout.write(lines[-1] + "\n")
            sys.stdout.flush()
    if args.output:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
