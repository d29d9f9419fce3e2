"""Where commands run in a test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def at(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands run: the small networks are in `runs/`, the SDNet is the one trained last."""
    monkeypatch.chdir(runs.parent)
    for name in ("SDNET_BENCH_RUNS", "SDNET_BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    os.utime(runs / "sdnet18-tiny" / "model.safetensors", (2e9, 2e9))
    return runs.parent
