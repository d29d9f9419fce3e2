"""Trains recipes and measures everything that the paper's tables and figures show of their networks.

On the digits it is a short demonstration; on CIFAR-10 it reproduces the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import LAMBDAS, Recipe
from ..csc import csc_layers
from ..engine.runtime import Runtime
from ..progress import Progress
from ..studies.adversarial import sweep_eps
from ..studies.export import export
from ..studies.protocols import attack_setting
from ..studies.training import find_recipe, train_model
from ..studies.workbench import Workbench
from .accuracy import TABLE1
from .attacks import TABLE4
from .iterations import TABLE5
from .noise import FIGURE2, TABLE3
from .plan import plan, run
from .robustness import THREATS
from .steps import StudySize
from .study import Study


@dataclass(frozen=True)
class Experiment:
    """The measurements of a network.

    Args:
        size: sizes of the studies.
        studies: the studies; those that need lambda are skipped for a network without one. Table 3 includes the
            measurements of Table 2 and Figure 3.
        radii: whether accuracy against eps is measured too.
    """

    size: StudySize
    studies: tuple[Study, ...] = (TABLE1, FIGURE2, TABLE3, TABLE4)
    radii: bool = False


Step = tuple[Recipe, Experiment]

PAPER = Experiment(StudySize(swept=None, attacked=10_000, training_images=None, lambdas=LAMBDAS, refit=True))
"""The paper's measurements on all images."""
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
"""Recipes of the networks that the paper compares on CIFAR-10, first those of its main claims."""

ON_DIGITS = StudySize(swept=None, swept_noises=["gaussian"], refit=True)
DEMO = Experiment(replace(ON_DIGITS, attacked=150, training_images=300, lambdas=LAMBDAS[::2]), radii=True)
BRIEF = Experiment(replace(ON_DIGITS, attacked=40, training_images=100, lambdas=LAMBDAS[::4]))
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
"""Recipes of the paper's other systems."""


def demo_recipes(seed: int, *, every: bool) -> list[Step]:
    """A ResNet-18 and an SDNet-18 on digits; with `every` all architectures, the others with small sizes."""
    whole = replace(DEMO, studies=(*DEMO.studies, TABLE5)) if every else DEMO
    wanted = dict.fromkeys(DEMO_RECIPES, whole) | (dict.fromkeys(OTHER_RECIPES, BRIEF) if every else {})
    return [(find_recipe(name).replace(name=f"demo-{name}", seed=seed), part) for name, part in wanted.items()]


def paper_recipes(names: Sequence[str], epochs: int | None = None, limit: int | None = None) -> list[Step]:
    """Recipes by name, by default those of the paper; with `epochs` or `limit` the models are named rehearsals."""
    size = PAPER.size
    if limit:
        size = replace(size, tested=limit, swept=limit, attacked=limit, training_images=limit)
    recipes = [find_recipe(name) for name in names or PAPER_RECIPES]
    if epochs or limit:
        recipes = [each.replace(name=f"rehearsal-{each.name}", epochs=epochs, limit=limit) for each in recipes]
    return [(recipe, replace(PAPER, size=size)) for recipe in recipes]


def reproduce(
    steps: Iterable[Step],
    runs_dir: Path,
    data_dir: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    published: Path | None = None,
) -> Iterator[Workbench]:
    """Trains and measures every network, and yields each when it is done.

    Cells on record are not measured again, and an interrupted training is resumed. Where there is a folder `published`,
    trained models are exported to it, and the exported models are the ones measured.
    """
    for recipe, experiment in steps:
        progress.note(f"--- {recipe.name}")
        bench = train_model(recipe, runs_dir, data_dir, runtime, progress, resume=True)
        if published is not None:
            bench = export(bench, published / recipe.name)
        measure(bench, experiment)
        yield bench


def measure(bench: Workbench, experiment: Experiment) -> None:
    """Runs all measurements of a trained network."""
    size = experiment.size
    for study in experiment.studies:
        if csc_layers(bench.model.net) or not study.needs_lambda:
            run(plan(bench, study.name, size))
    for threat in THREATS.values() if experiment.radii else ():
        sweep_eps(bench, attack_setting(threat), bench.images("test", size.attacked), size.lambdas)
