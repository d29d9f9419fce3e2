"""The table of `sdnet-bench bench --suite --json` of one or more versions, as it stands in the README.

sdnet-bench bench --suite --json > benchmarks/suite/now.json
python benchmarks/suite.py benchmarks/suite/before.json benchmarks/suite/now.json
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from sdnet_bench.paper.render import markdown_table
from sdnet_bench.studies.speed import Spread


def columns(comparison: dict[str, Any]) -> list[str]:
    """Images/s of both ways, and their ratio."""
    rates = (statistics.median(comparison[name]["rounds"]) for name in ("figure", "plain"))
    return [*(f"{rate:,.0f}" for rate in rates), str(Spread(**comparison["figure"]["ratio"]))]


if __name__ == "__main__":
    names, folder = ("before", "now"), Path(__file__).with_suffix("")
    measured = [json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["comparisons"] for name in names]
    header = ["this", "beside", *(f"{name}: {of}" for name in names for of in ("images/s", "beside", "ratio"))]
    lines = [
        [each[0]["what"], each[0]["beside"], *(text for comparison in each for text in columns(comparison))]
        for each in zip(*measured, strict=True)
    ]
    sys.stdout.write(markdown_table(header, lines) + "\n")
