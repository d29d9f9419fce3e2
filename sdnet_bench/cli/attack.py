"""`sdnet-bench attack`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from . import options
from .setup import Setup, measuring


@measuring(precision="float32")
def attack(
    setup: Setup,
    norm: options.Norm = "linf",
    eps: options.Eps = None,
    name: Annotated[
        str, typer.Option("--attack", help="pgd, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square or autoattack.")
    ] = "pgd",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Iterations; by default 10 of pgd, 100 of others, 5000 queries of square.")
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(min=1, help="By default 1, and 9 targets of apgd-t and fab-t.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="transfer (the paper's), matched, ensemble, adaptive, several with commas, or all; "
            "by default all for pgd, matched for the others."
        ),
    ] = None,
    by_eps: Annotated[
        bool, typer.Option("--sweep-eps", help="Matched attacks at seven radii, from a quarter of eps to 16 times eps.")
    ] = False,
    lambdas: options.Lambdas = options.LAMBDAS,
    limit: Annotated[int, typer.Option(min=1, help="Test images to attack, spread evenly.")] = 1000,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the adversarial images as uint8, beside the records.")
    ] = False,
) -> None:
    """Measure robust accuracy under an attack (Table 4: PGD), in float32; interrupted, it goes on where it was."""
    from ..records import Threat
    from ..studies.adversarial import attack_setting, run_attack, sweep_eps
    from .shared import publish
    from .show import show_records

    if by_eps and (protocol or save):
        raise UsageError("--sweep-eps is matched and keeps no images", hint="Leave out --protocol and --save.")
    threat = Threat(norm, options.parse_eps(eps, norm))
    chosen = options.check_protocols(protocol) if protocol else None
    grid = options.parse_lambdas(lambdas)
    setting = attack_setting(threat, steps, restarts, name=name)
    bench = setup.open()
    images = bench.images("test", limit)
    if by_eps:
        records = sweep_eps(bench, setting, images, grid)
    else:
        records = run_attack(bench, setting, images, chosen, grid, save=save)
    publish(bench)
    show_records(records, as_json=setup.json)
