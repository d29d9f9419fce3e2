"""The whole path on the embedded digits, small enough for a coffee break: every study, two networks."""

from __future__ import annotations

from pathlib import Path

from ..attacks import DEFAULT_EPS, Threat
from ..csc import csc_layers
from ..data import NOISES
from ..engine.runtime import Runtime
from ..progress import Progress
from .accuracy import measure_corrupted
from .adaptive_lambda import fit_lambda, measure_adaptive
from .adversarial import attack_setting, run_attack, sweep_eps
from .lambda_sweep import parse_lambdas, sweep_lambda
from .training import find_recipe, train_model
from .workbench import Workbench

RECIPES = ("resnet18-digits", "sdnet18-digits")
GRID = "0.1:1.5:0.2"
TRAINING_IMAGES = 300
ATTACKED = 150


def run_demo(runs_dir: Path, data_dir: Path, device: str, seed: int, progress: Progress) -> list[Workbench]:
    """Trains a ResNet-18 and an SDNet-18, and puts both through everything; what is on record is not repeated."""
    runtime = Runtime.create(device)
    benches = []
    for name in RECIPES:
        recipe = find_recipe(name).replace(name=f"demo-{name}", seed=seed)
        progress.note(f"--- {recipe.name}")
        bench = train_model(recipe, runs_dir, data_dir, runtime, progress, resume=True)
        measure_corrupted(bench, NOISES)
        if csc_layers(bench.model.net):
            _tune(bench)
        _attack(bench)
        benches.append(bench)
    return benches


def _tune(bench: Workbench) -> None:
    grid = parse_lambdas(GRID)
    sweep_lambda(bench, "gaussian", lambdas=grid)
    fits = [fit_lambda(bench, name, grid, limit=TRAINING_IMAGES) for name in NOISES]
    measure_adaptive(bench, fits)


def _attack(bench: Workbench) -> None:
    grid = parse_lambdas(GRID)
    for norm, eps in DEFAULT_EPS.items():
        setting = attack_setting(Threat(norm, eps))
        run_attack(bench, setting, lambdas=grid, limit=ATTACKED)
        sweep_eps(bench, setting, grid, limit=ATTACKED)
