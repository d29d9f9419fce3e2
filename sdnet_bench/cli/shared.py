"""Shared steps of commands: findings, the report of models, and what is wrong with those that are left out."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..api.screen import IS_FIRST, Screen
from ..errors import BenchError
from .screen import fail, say
from .show import show_rows

if TYPE_CHECKING:
    from ..conformance import Finding

SHORT = {"not applicable": "-   "}
"""What is shown of a verdict that is longer than the others."""


def show_findings(found: Iterable[Finding], what: str, *, as_json: bool) -> None:
    """Prints findings, each as soon as it is made, or all as JSON; a `BenchError` where one of `what` failed."""
    findings = []
    for finding in found:
        findings.append(finding)
        if not as_json:
            say(f"{SHORT.get(finding.verdict, finding.verdict)}  {finding.kind:10}  {finding.check:18}  {finding.says}")
    if as_json:
        show_rows([finding.model_dump() for finding in findings], as_json=True)
    failed = [finding.check for finding in findings if finding.verdict == "fail"]
    if failed:
        raise BenchError(f"{what} failed {len(failed)} of {len(findings)} checks: {', '.join(failed)}")


def write_report(names: Sequence[str], output: Path, formats: Sequence[str], runs_dir: Path) -> None:
    """Writes a report on the named models, or on all, in the first process only; prints tables that are texts."""
    if not IS_FIRST:
        return
    from ..api.comparison import Comparison
    from ..paper.results import find_results
    from ..records.store import without_collections
    from ..report.formats import TEXTS, check_formats

    kinds = check_formats(formats)
    left_out: list[BenchError] = []
    with without_collections():
        results = find_results(names, runs_dir, left_out, Screen())
        gc.freeze()  # the records stay: no later collection needs to look at them
    if results or not left_out:
        comparison = Comparison(results)
        written = comparison.report(output, kinds)
        if set(kinds) & set(TEXTS):
            say("\n".join(map(str, comparison.tables)))
            Screen().note(f"{len(written)} files in {output}")
        else:
            say("\n".join(map(str, written)))
    refuse(left_out)


def refuse(left_out: Sequence[BenchError]) -> None:
    """Says of each model that was left out what is wrong with it: in lines, the last by raising it."""
    for error in left_out[:-1]:
        fail(str(error))
    if left_out:
        raise left_out[-1]
