"""`sdnet-bench plugins`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import BenchError
from . import options

app = typer.Typer(help="Backbones, corruptions, attacks and data sets: list them, or check one.")


@app.callback(invoke_without_command=True)
def list_parts(context: typer.Context, json: options.Json = False) -> None:
    """List our own parts and those of plugins, with what keeps any of them from working."""
    if context.invoked_subcommand:
        return
    from dataclasses import asdict

    from ..conformance import all_parts
    from .screen import show_rows

    show_rows([asdict(part) for part in all_parts()], as_json=json)


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a part, or a network such as timm:resnet18.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the images that a backbone is shown.")] = 32,
    data_dir: options.DataDir = options.DATA_DIR,
    json: options.Json = False,
) -> None:
    """Check that a part keeps its contract; exit status 1 where it does not."""
    from ..conformance import check_part
    from .screen import say, show_rows

    findings = []
    for finding in check_part(name, side=size, data_dir=data_dir):
        findings.append(finding)
        if not json:
            say(f"{finding.verdict}  {finding.kind:10}  {finding.check:14}  {finding.says}")
    if json:
        show_rows([finding.model_dump() for finding in findings], as_json=True)
    failed = [finding.check for finding in findings if finding.verdict == "fail"]
    if failed:
        raise BenchError(f"{name} failed {len(failed)} of {len(findings)} checks: {', '.join(failed)}")
