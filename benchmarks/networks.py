"""The table of `sdnet-bench bench --json`, as it stands in the README: networks beside ResNet-18 on one machine.

sdnet-bench bench --json > benchmarks/networks.json
python benchmarks/networks.py
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from sdnet_bench.report.render import markdown_table

HEADER = [
    "network",
    "width",
    "parameters",
    "training, images/s",
    "ratio",
    "inference, images/s",
    "ratio",
    "memory, MB",
    "ratio",
]


def line(network: dict[str, Any]) -> list[str]:
    contender = network["contender"]
    training, inference, memory = (network[name] for name in ("training", "inference", "memory"))
    return [
        contender["title"],
        str(contender["options"]["width"]),
        f"{contender['parameters']:,}",
        f"{statistics.median(training['rounds']):,.0f}",
        ratio(training["ratio"]),
        f"{statistics.median(inference['rounds']):,.0f}",
        ratio(inference["ratio"]),
        f"{statistics.median(memory['rounds']) / 1e6:,.0f}",
        f"{memory['ratio']['median']:.2f}",
    ]


def ratio(spread: dict[str, float]) -> str:
    """The median over the rounds, and the least and the most."""
    if spread["low"] == spread["high"]:
        return digits(spread["median"])
    return f"{digits(spread['median'])} [{digits(spread['low'])}, {digits(spread['high'])}]"


def digits(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


if __name__ == "__main__":
    measured = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    sys.stdout.write(markdown_table(HEADER, map(line, measured["networks"])) + "\n")
