"""The same figures on every machine: other processors, by the switches of the libraries."""

from __future__ import annotations

import ast
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from together import IN_TURN

import sdnet_bench

MODEL = "sdnet18-cifar10"
PROCESSORS = ("Prescott", "Haswell", "SkylakeX")
"""As OpenBLAS knows them: without and with vector units."""


def report(processor: str, folder: Path) -> dict[str, bytes]:
    """The files of a report on a shipped model, by name."""
    folder.mkdir()
    command = [sys.executable, "-m", "sdnet_bench", "report", MODEL, "--format", "csv"]
    settings = {"OPENBLAS_CORETYPE": processor, "OMP_NUM_THREADS": "1", "SDNET_BENCH_RUNS": str(folder / "runs")}
    subprocess.run(command, cwd=folder, env=os.environ | settings, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in sorted((folder / "report").glob("*.*")) if path.suffix != ".png"}


@pytest.mark.slow
@pytest.mark.parametrize("other", [PROCESSORS[-1], pytest.param(PROCESSORS[1], marks=pytest.mark.soak)])
def test_the_report_does_not_depend_on_the_processor(tmp_path: Path, other: str) -> None:
    reports = [report(processor, tmp_path / processor) for processor in (PROCESSORS[0], other)]
    assert reports[0] == reports[1]
    table4 = csv.DictReader(reports[0]["cifar10-table4.csv"].decode().splitlines())
    found = {(row["model"], row["row"], row["column"]): row["ours"] for row in table4}
    robust = found[MODEL, "SDNet-18 (a lambda for each image, by Algorithm 1)", "linf 8/255 matched"]
    assert float(robust) >= 0  # the attack that looks through the choice


def float64_off_the_cpu(source: str) -> list[int]:
    """Lines that may make float64 on another device, which Apple's GPUs do not have.

    Allowed: `x.cpu().double()`, and `dtype=torch.float64` without a device.
    """
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if widens(call) and not is_on_the_cpu(call)]


def widens(call: ast.Call) -> bool:
    """Whether a call makes a tensor of float64."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    is_double = isinstance(call.func, ast.Attribute) and call.func.attr == "double"
    return is_double or any(ast.unparse(each) == "torch.float64" for each in given)


def is_on_the_cpu(call: ast.Call) -> bool:
    """Whether the tensor was moved to the CPU just before, or is a new one without a device."""
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    is_moved = isinstance(receiver, ast.Call) and ast.unparse(receiver.func).endswith(".cpu")
    is_new = ast.unparse(receiver) == "torch" and "device" not in [keyword.arg for keyword in call.keywords]
    return is_moved or is_new


def test_float64_stays_on_the_cpu() -> None:
    wide = "x.double()\nx.to(torch.float64)\ntorch.ones(3, dtype=torch.float64, device=d)"
    assert float64_off_the_cpu(wide) == [1, 2, 3]
    assert float64_off_the_cpu("x.cpu().double()\ntorch.ones(3, dtype=torch.float64)") == []
    package = Path(sdnet_bench.__file__).parent
    found = {path.name: float64_off_the_cpu(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


WITHOUT_UNIX = """
import os, sys, psutil, filelock  # which know each system themselves
for name in ("resource", "pwd", "grp", "termios", "syslog"):
    sys.modules[name] = None
del os.fork
from importlib import import_module
from pkgutil import walk_packages
import sdnet_bench
for module in walk_packages(sdnet_bench.__path__, "sdnet_bench."):
    import_module(module.name)
"""


@pytest.mark.slow
def test_what_linux_alone_has_is_not_needed(tmp_path: Path) -> None:
    train = ["train", "resnet18-digits", "--epochs", "1", "--limit", "64", "--width", "2"]
    words = [sys.executable, "-c", WITHOUT_UNIX + IN_TURN, json.dumps([train])]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
