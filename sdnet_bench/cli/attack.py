"""`sdnet-bench attack`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..names import PROTOCOLS
from . import completion, options
from .setup import Setup, measuring
from .show import show


@measuring(precision="float32")
def attack(
    setup: Setup,
    data: options.Data = None,
    norm: options.Norm = "linf",
    eps: options.Eps = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--attack",
            help="pgd, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square or autoattack; with the extra minimum-norm also "
            "ddn (l2) and fmn (linf). By default pgd, and these, where they are there, for --sweep-eps.",
            autocompletion=completion.attacks,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Iterations; by default 10 of pgd, 100 of others, 5000 queries of square.")
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(min=1, help="By default 1, and 9 targets of apgd-t and fab-t.")
    ] = None,
    protocol: Annotated[
        str | None,
        options.choice(
            "protocol",
            (*PROTOCOLS, "all"),
            "transfer is the paper's; by default all for pgd, matched for the others.",
            several=True,
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
    found = setup.open(data).attack(
        norm,
        options.parse_eps(eps),
        attack=name,
        steps=steps,
        restarts=restarts,
        protocol=protocol,
        sweep_eps=by_eps,
        lambdas=options.parse_lambdas(lambdas),
        limit=limit,
        save=save,
    )
    show(found, as_json=setup.json)
