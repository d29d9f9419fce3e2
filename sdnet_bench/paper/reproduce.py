"""The whole path, from a recipe to everything that the paper's tables and figures show of its network.

On the embedded digits it is a demonstration, small enough for a coffee break; on CIFAR-10 it is the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import LAMBDAS, Recipe
from ..csc import csc_layers
from ..engine.runtime import Runtime
from ..progress import Progress
from ..records import NOISES, Inference
from ..studies.accuracy import measure_clean, measure_corrupted, sweep_lambda
from ..studies.adversarial import attack_setting, run_attack, sweep_eps
from ..studies.algorithm1 import fit_lambda, measure_adaptive
from ..studies.export import export
from ..studies.race import Rules
from ..studies.training import find_recipe, train_model
from ..studies.workbench import Workbench
from .iterations import STEPS, TABLE5
from .robustness import THREATS


@dataclass(frozen=True)
class Extent:
    """How much is measured of a network.

    Args:
        lambdas: the grid of all that tries lambdas.
        swept: the noises of Figure 2.
        training_images: that Algorithm 1 looks at; None for all of them, in a race.
        attacked: test images at most, and as many for validation.
        tested: test images at most for everything else; None for all.
        radii: accuracy against eps too.
        iterations: more FISTA iterations too, Table 5.
    """

    lambdas: Sequence[float]
    swept: Sequence[str]
    training_images: int | None
    attacked: int
    tested: int | None = None
    radii: bool = False
    iterations: bool = False


Step = tuple[Recipe, Extent]

PAPER = Extent(LAMBDAS, NOISES, training_images=None, attacked=10_000)
"""All that there is of everything."""
PAPER_RECIPES = (
    "sdnet18-cifar10",
    "resnet18-cifar10",
    "sdnet34-cifar10",
    "resnet34-cifar10",
    "scn18-cifar10",
    "sdnet18_all-cifar10",
    "scn-cifar10",
    "mdeq-cifar10",
)
"""What the paper compares on CIFAR-10, those that its claims are about first."""

DEMO = Extent(LAMBDAS[::2], ["gaussian"], training_images=300, attacked=150, radii=True)
BRIEF = Extent(LAMBDAS[::4], ["gaussian"], training_images=100, attacked=40)
DEMO_RECIPES = ("resnet18-digits", "sdnet18-digits")
OTHER_RECIPES = (
    "resnet34-digits",
    "sdnet34-digits",
    "sdnet18_all-digits",
    "sdnet34_all-digits",
    "scn-digits",
    "scn18-digits",
    "mdeq-digits",
    "mdeq_tiny-digits",
)
"""The other systems of the paper."""


def demo_recipes(seed: int, *, every: bool) -> list[Step]:
    """A ResNet-18 and an SDNet-18 on digits, or every architecture, the others in brief."""
    main = dict.fromkeys(DEMO_RECIPES, replace(DEMO, iterations=every))
    wanted = main | (dict.fromkeys(OTHER_RECIPES, BRIEF) if every else {})
    return [(find_recipe(name).replace(name=f"demo-{name}", seed=seed), budget) for name, budget in wanted.items()]


def paper_recipes(names: Sequence[str], epochs: int | None = None, limit: int | None = None) -> list[Step]:
    """Recipes by name, by default those of the paper; with fewer epochs or images it is a rehearsal, and called so."""
    budget = replace(PAPER, training_images=limit, attacked=limit, tested=limit) if limit else PAPER
    recipes = [find_recipe(name) for name in names or PAPER_RECIPES]
    if epochs or limit:
        recipes = [each.replace(name=f"rehearsal-{each.name}", epochs=epochs, limit=limit) for each in recipes]
    return [(recipe, budget) for recipe in recipes]


def reproduce(
    steps: Iterable[Step],
    runs_dir: Path,
    data_dir: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    published: Path | None = None,
) -> Iterator[Workbench]:
    """Trains every network and puts it through everything; it comes when it is done.

    What is on record is not repeated, and an interrupted training goes on.

    Args:
        published: where models are exported to once they are trained; everything is measured of the exported ones.
    """
    for recipe, budget in steps:
        progress.note(f"--- {recipe.name}")
        bench = train_model(recipe, runs_dir, data_dir, runtime, progress, resume=True)
        if published is not None:
            bench = export(bench, published / recipe.name)
        measure(bench, budget)
        yield bench


def measure(bench: Workbench, budget: Extent) -> None:
    """Everything but training."""
    tested = bench.images("test", budget.tested)
    measure_clean(bench, tested)
    measure_corrupted(bench, tested, NOISES)
    if csc_layers(bench.model.net):
        _tune(bench, budget)
    _attack(bench, budget)


def _tune(bench: Workbench, budget: Extent) -> None:
    """Figures 2 and 3, Tables 2, 3 and 5."""
    for name in budget.swept:
        sweep_lambda(bench, bench.images("test", budget.tested), name, lambdas=budget.lambdas)
    _adapt(bench, NOISES, budget)
    if budget.iterations:
        _iterate(bench, budget)


def _iterate(bench: Workbench, budget: Extent) -> None:
    """Table 5."""
    for steps in STEPS:
        inference = bench.inference(steps=steps)
        measure_clean(bench, bench.images("test", budget.tested), inference)
        _adapt(bench, TABLE5, budget, inference)


def _adapt(bench: Workbench, corruptions: Sequence[str], budget: Extent, inference: Inference | None = None) -> None:
    """Algorithm 1, and test images under the lambdas that it chooses."""
    images = bench.images("train", budget.training_images)
    search = Rules() if budget.training_images is None else None
    fits = [fit_lambda(bench, images, name, budget.lambdas, search=search, inference=inference) for name in corruptions]
    measure_adaptive(bench, bench.images("test", budget.tested), fits)


def _attack(bench: Workbench, budget: Extent) -> None:
    """Table 4."""
    attacked = bench.images("test", budget.attacked)
    for threat in THREATS.values():
        setting = attack_setting(threat)
        run_attack(bench, setting, attacked, lambdas=budget.lambdas)
        if budget.radii:
            sweep_eps(bench, setting, attacked, budget.lambdas)
