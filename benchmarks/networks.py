"""The tables of `sdnet-bench bench --json` in docs/networks.md: networks beside ResNet-18 on one machine.

    sdnet-bench bench --json > benchmarks/networks/quarter.json
    sdnet-bench bench sdnet18 sdnet18_all --scale 1 --json > benchmarks/networks/full.json
    python benchmarks/networks.py quarter | full | full-float32

Beside each ratio stands that of the paper's Tables 1 and 6 on CIFAR-10: full width, one GTX 2080 Ti.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from sdnet_bench.paper.published import published
from sdnet_bench.paper.render import markdown_table
from sdnet_bench.studies.speed import Spread, show_ratio

HEADER = [
    *("network", "width", "parameters"),
    *("training, images/s", "beside ResNet-18", "paper"),
    *("inference, images/s", "beside ResNet-18"),
    *("memory, MB", "beside ResNet-18", "paper"),
]


def line(network: dict[str, Any]) -> list[str]:
    contender = network["contender"]
    training, inference, memory = (network[name] for name in ("training", "inference", "memory"))
    plain = contender["title"] == contender["name"]
    return [
        contender["title"],
        str(contender["options"]["width"]),
        f"{contender['parameters']:,}",
        f"{statistics.median(training['rounds']):,.0f}",
        str(Spread(**training["ratio"])),
        printed(contender["name"], "Speed (n/s)") if plain else "—",
        f"{statistics.median(inference['rounds']):,.0f}",
        str(Spread(**inference["ratio"])),
        f"{statistics.median(memory['rounds']) / 1e6:,.0f}",
        str(Spread(**memory["ratio"])),
        printed(contender["name"], "Memory (GB)") if plain else "—",
    ]


def printed(backbone: str, column: str) -> str:
    """The paper's ratio to its ResNet-18."""
    values = {
        row.backbone: row.values[table.columns.index(column)]
        for table in (published()["table6"], published()["table1"])
        for row in table.rows
        if row.dataset == "cifar10" and row.values
    }
    return show_ratio(values[backbone] / values["resnet18"]) if backbone in values else "—"


if __name__ == "__main__":
    measured = json.loads((Path(__file__).with_suffix("") / f"{sys.argv[1]}.json").read_text(encoding="utf-8"))
    sys.stdout.write(markdown_table(HEADER, map(line, measured["networks"])) + "\n")
