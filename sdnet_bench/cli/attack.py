"""`sdnet-bench attack`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options


def attack(
    model: options.Model = None,
    norm: Annotated[str, typer.Option(help="linf or l2.")] = "linf",
    eps: Annotated[str | None, typer.Option(help="Radius in pixels of [0, 1]; 8/255 for linf, 0.5 for l2.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of projected gradient ascent, each 2.5 eps / steps long.")] = 10,
    restarts: Annotated[int, typer.Option(min=1)] = 1,
    protocol: Annotated[
        str, typer.Option(help="matched (knows lambda), transfer (made at lambda 0.1: the paper's), or all.")
    ] = "all",
    lambdas: options.Lambdas = "0.1:1.5:0.1",
    limit: Annotated[int, typer.Option(min=1, help="Test images to attack, spread evenly.")] = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
) -> None:
    """Measure robust accuracy under PGD (Table 4). Attacks always run in float32."""
    from ..attacks import Threat, parse_eps
    from ..studies.adversarial import attack as siege
    from ..studies.adversarial import check_protocol, pgd
    from ..studies.lambda_sweep import parse_lambdas
    from .shared import open_bench, publish
    from .show import show_records

    threat, chosen, grid = (
        Threat(norm, parse_eps(eps, norm)),
        check_protocol(protocol),
        parse_lambdas(lambdas),
    )
    bench = open_bench(model, runs_dir, data_dir, device, "float32", seed)
    records = siege(bench, pgd(threat, steps, restarts), chosen, grid, limit=limit)
    publish(bench)
    show_records(records, as_json=json)
