"""The whole path on the embedded digits, small enough for a coffee break: every study, two networks or all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..attacks import DEFAULT_EPS, Threat
from ..csc import csc_layers
from ..data import NOISES
from ..engine.runtime import Runtime
from ..progress import Progress
from .accuracy import measure_clean, measure_corrupted
from .adaptive_lambda import fit_lambda, measure_adaptive
from .adversarial import attack_setting, run_attack, sweep_eps
from .lambda_sweep import parse_lambdas, sweep_lambda
from .plans import STEPS, TABLE5
from .training import find_recipe, train_model
from .workbench import Workbench


@dataclass(frozen=True)
class Budget:
    """How much is measured of a network."""

    lambdas: str
    training_images: int
    """That Algorithm 1 looks at."""
    attacked: int
    """Test images, and as many for validation."""
    in_depth: bool = False
    """Accuracy against eps too, and where there is a lambda more FISTA iterations."""


MAIN = dict.fromkeys(("resnet18-digits", "sdnet18-digits"), Budget("0.1:1.5:0.2", 300, 150, in_depth=True))
OTHERS = dict.fromkeys(
    (
        "resnet34-digits",
        "sdnet34-digits",
        "sdnet18_all-digits",
        "sdnet34_all-digits",
        "scn-digits",
        "scn18-digits",
        "mdeq-digits",
        "mdeq_tiny-digits",
    ),
    Budget("0.1:1.3:0.4", 100, 40),
)
"""The other systems of the paper, in brief."""


def run_demo(
    runs_dir: Path, data_dir: Path, device: str, seed: int, progress: Progress, *, every: bool = False
) -> Iterator[Workbench]:
    """Trains a ResNet-18 and an SDNet-18, or `every` architecture, and puts each through everything.

    What is on record is not repeated. A network comes when it is done.
    """
    runtime = Runtime.create(device)
    for name, budget in (MAIN | OTHERS if every else MAIN).items():
        recipe = find_recipe(name).replace(name=f"demo-{name}", seed=seed)
        progress.note(f"--- {recipe.name}")
        bench = train_model(recipe, runs_dir, data_dir, runtime, progress, resume=True)
        measure_corrupted(bench, NOISES)
        if csc_layers(bench.model.net):
            _tune(bench, budget)
        if csc_layers(bench.model.net) and budget.in_depth and every:
            _iterate(bench, budget)
        _attack(bench, budget)
        yield bench


def _tune(bench: Workbench, budget: Budget) -> None:
    """Figures 2 and 3, Tables 2 and 3."""
    grid = parse_lambdas(budget.lambdas)
    sweep_lambda(bench, "gaussian", lambdas=grid)
    fits = [fit_lambda(bench, name, grid, limit=budget.training_images) for name in NOISES]
    measure_adaptive(bench, fits)


def _iterate(bench: Workbench, budget: Budget) -> None:
    """Table 5."""
    grid = parse_lambdas(budget.lambdas)
    for steps in STEPS:
        measure_clean(bench, steps=steps)
        fits = [fit_lambda(bench, name, grid, limit=budget.training_images, steps=steps) for name in TABLE5]
        measure_adaptive(bench, fits)


def _attack(bench: Workbench, budget: Budget) -> None:
    """Table 4."""
    grid = parse_lambdas(budget.lambdas)
    for norm, eps in DEFAULT_EPS.items():
        setting = attack_setting(Threat(norm, eps))
        run_attack(bench, setting, lambdas=grid, limit=budget.attacked)
        if budget.in_depth:
            sweep_eps(bench, setting, grid, limit=budget.attacked)
