"""The same figures on every machine: other processors, by the switches of the libraries."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = ("sdnet18-cifar10", "sdnet18-cifar10-small")
PROCESSORS = ("Prescott", "Haswell", "SkylakeX")
"""As OpenBLAS knows them: without and with vector units."""


def report(processor: str, folder: Path) -> dict[str, bytes]:
    """The files of a report on shipped models, by name."""
    folder.mkdir()
    command = [sys.executable, "-m", "sdnet_bench", "report", *MODELS, "--format", "csv"]
    settings = {"OPENBLAS_CORETYPE": processor, "OMP_NUM_THREADS": "1", "SDNET_BENCH_RUNS": str(folder / "runs")}
    subprocess.run(command, cwd=folder, env=os.environ | settings, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in sorted((folder / "report").glob("*.*")) if path.suffix != ".png"}


@pytest.mark.slow
def test_the_report_does_not_depend_on_the_processor(tmp_path: Path) -> None:
    reports = [report(processor, tmp_path / processor) for processor in PROCESSORS]
    assert reports[0] == reports[1] == reports[2]
    table4 = csv.DictReader(reports[0]["cifar10-table4.csv"].decode().splitlines())
    found = {(row["model"], row["row"], row["column"]): row["ours"] for row in table4}
    robust = found["sdnet18-cifar10", "SDNet-18 (a lambda for each image, by Algorithm 1)", "linf 8/255 matched"]
    assert float(robust) >= 0  # the attack that looks through the choice
