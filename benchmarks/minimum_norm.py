"""One run of a minimum-norm attack against PGD at seven radii, on the same networks and images, matched.

    python benchmarks/minimum_norm.py resnet18-cifar10-small sdnet18-cifar10-small     # measures, writes the records
    python benchmarks/minimum_norm.py                                                  # the table of the records alone

SDNets are attacked at the lambda of training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdnet_bench.csc import csc_layers
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.progress import Progress
from sdnet_bench.records import DEFAULT_EPS, MINIMUM_NORM, RADII, Record, Threat, read_records, widening, write_results
from sdnet_bench.studies.protocols import attack_setting, matched_cells, within
from sdnet_bench.studies.workbench import Workbench

FOLDER = Path(__file__).with_name("minimum_norm")
PGD_STEPS = (10, 20, 100)


def measure(bench: Workbench, images: int) -> list[Record]:
    """Attacks test images at the lambda of training."""
    tested, at = bench.images("test", images), bench.trained_lambda if csc_layers(bench.model.net) else None
    settings = []
    for name, norm in MINIMUM_NORM.items():
        threat = Threat(norm, DEFAULT_EPS[norm])
        settings.append(attack_setting(threat, name=name))
        settings += [within(attack_setting(threat, steps), ball) for steps in PGD_STEPS for ball in widening(threat)]
    cells = [cell for setting in settings for cell in matched_cells(bench, setting, tested, [at])]
    return bench.measure(cells, "minimum-norm attacks and PGD")


def rows(name: str, records: Sequence[Record]) -> Iterator[str]:
    """For each norm and attack accuracy (%) at the seven radii, and the time of all runs."""
    for attack, norm in MINIMUM_NORM.items():
        threat = Threat(norm, DEFAULT_EPS[norm])
        for what, steps in ((attack, None), *(("pgd", steps) for steps in PGD_STEPS)):
            found = [record for record in records if is_of(record, what, norm, steps)]
            accuracies = (min(each.accuracy for each in seen(found, ball)) for ball in widening(threat))
            values = " | ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies)
            seconds = sum(record.provenance["seconds"] for record in found)
            yield f"| {name} | {threat} | {what}, {steps_of(found)} steps | {values} | {seconds:.0f} |"


def is_of(record: Record, name: str, norm: str, steps: int | None) -> bool:
    attack = record.cell.attack
    return attack is not None and (attack.name, attack.norm) == (name, norm) and steps in (None, attack.steps)


def seen(records: Sequence[Record], threat: Threat) -> list[Record]:
    return [found for record in records if (found := record.under(threat))]


def steps_of(records: Sequence[Record]) -> int:
    return next(record.cell.attack.steps for record in records if record.cell.attack)


def table(folder: Path) -> str:
    """What the records in a folder say."""
    factors = (f"eps x {factor:g}" for factor in RADII)
    header = f"| network | eps | attack | {' | '.join(factors)} | seconds |"
    lines = [header, f"| --- | --- | --- |{' ---: |' * (len(RADII) + 1)}"]
    for path in sorted(folder.glob("*.json")):
        lines += rows(path.stem, read_records(path))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--images", type=int, default=500)
    args = parser.parse_args()
    for name in args.models:
        runtime = Runtime.create("auto", "float32")
        bench = Workbench.open(name, args.runs_dir, args.data_dir, runtime, Progress())
        write_results(FOLDER / f"{bench.model.name}.json", measure(bench, args.images))
    sys.stdout.write(table(FOLDER) + "\n")


if __name__ == "__main__":
    main()
