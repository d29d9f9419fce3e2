"""The scope of an audit: the network, the threat model, the images and the tuned lambda."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from ..adaptations import PLACEBOS
from ..attacks import AttackRun, craft
from ..csc import csc_layers
from ..data import Batch, Split
from ..engine.runtime import Runtime
from ..errors import ModelError, UnknownNameError, UsageError
from ..records import AttackSetting, Cell, Images, Record, Threat
from ..studies.adversarial import tune_lambda, usable_lambdas
from ..studies.algorithm1 import PerImage, full_grid
from ..studies.group import OTHER
from ..studies.protocols import adaptive_rules, attack_setting, transfer_cells
from ..studies.workbench import Workbench
from ..zoo.checkpoint import Model
from ..zoo.classes import of_classes
from ..zoo.find import load_model
from .verdict import Budget

PARTNERS = {"sdnet": "resnet", "resnet": "sdnet"}
"""Pairs of architectures that differ only in their first layer."""


@dataclass(frozen=True)
class Scope:
    """A network under audit.

    Args:
        grid: ascending lambdas with that of training; empty for a network without lambda.
        tuned: lambda tuned on validation images; None for a network without lambda.
        usable: lambdas of the grid at which clean accuracy is at least 90 % of that at lambda_0.
        rules: rules of robust inference by name, where they were fitted.
        others: sha256 of the weights of other networks of the same data set, by name.
    """

    bench: Workbench
    threat: Threat
    budget: Budget
    grid: tuple[float, ...] = ()
    tuned: float | None = None
    usable: tuple[float, ...] = ()
    rules: Mapping[str, PerImage] | None = None
    others: Mapping[str, str] | None = None

    @classmethod
    def open(cls, bench: Workbench, threat: Threat, budget: Budget, others: Sequence[str] = ()) -> Scope:
        """Tunes lambda, and loads other networks: `others`, or the partner of this network where there is one."""
        bare = cls(bench, threat, budget, others=_lend(bench, others))
        if not csc_layers(bench.model.net):
            return bare
        grid = full_grid(bench, None)
        tuned = tune_lambda(bench, bare.pgd, budget.tuning, grid)
        usable = usable_lambdas(bench, budget.tuning, grid)
        return replace(bare, grid=tuple(grid), tuned=tuned, usable=usable, rules=adaptive_rules(bench))

    @property
    def pgd(self) -> AttackSetting:
        """PGD with its default budget."""
        return attack_setting(self.threat)

    @property
    def images(self) -> Images:
        """The attacked test images."""
        return self.bench.images("test", self.budget.images)

    @property
    def split(self) -> Split:
        """The attacked test images as a split."""
        return self.bench.split_of(self.images)

    @property
    def runtime(self) -> Runtime:
        """The runtime in float32, the precision of attacks."""
        return replace(self.bench.runtime, precision="float32")

    def white_box(self, setting: AttackSetting) -> Cell:
        """The cell of a matched attack at the tuned lambda."""
        crafted = setting.model_copy(update={"crafted_at": self.tuned})
        return self.bench.cell(self.images, self.bench.inference(self.tuned), crafted)

    def attacked(self, batch: Batch) -> Tensor:
        """The images of a batch, `(N, 3, H, W)` in [0, 1], after PGD on the network in its present state."""
        pixels, run, index = self.runtime.to_pixels(batch.images), AttackRun(self.pgd), batch.index.tolist()
        return craft(self.bench.model.net, pixels, batch.labels, run, index, seed=self.bench.seed).last

    def transferred(self, lambda_: float | None = None, rule: str | None = None, defence: str | None = None) -> Record:
        """The record of PGD at the lambda of training, scored at a lambda or by a rule, optionally behind a defence."""
        self.measure(self._transfer_cells, "transfer")
        return self.measure([self._transfer_cell(lambda_, rule, defence)], "transfer")[0]

    def measure(self, cells: Sequence[Cell], title: str) -> list[Record]:
        """The records of cells, in their order."""
        return self.bench.measure(cells, f"audit, {title}", self.rules)

    @property
    def defences(self) -> dict[str, str]:
        """Placebos and other networks: values of `Inference.defence` by description."""
        nets = {f"the network {name}": f"{OTHER}{weights}" for name, weights in (self.others or {}).items()}
        return {name: name for name in PLACEBOS} | nets

    @cached_property
    def _transfer_cells(self) -> list[Cell]:
        """All cells with the same transferred images, which are measured in one pass."""
        grid = transfer_cells(self.bench, self.pgd, self.images, self.grid) if self.grid else []
        defended = [self._transfer_cell(defence=defence) for defence in self.defences.values()]
        return [*grid, self._transfer_cell(), *defended]

    def _transfer_cell(self, lambda_: float | None = None, rule: str | None = None, defence: str | None = None) -> Cell:
        crafted = self.pgd.model_copy(update={"crafted_at": self.bench.model.trained_lambda})
        return self.bench.cell(self.images, self.bench.inference(lambda_, rule=rule, defence=defence), crafted)


def _lend(bench: Workbench, others: Sequence[str]) -> dict[str, str]:
    """Adds other networks to the workbench; returns the sha256 of their weights by unique name."""
    models = [_open_other(bench, other) for other in others] if others else _find_partner(bench)
    found = {model.weights: model for model in models}
    bench.others |= {weights: bench.runtime.place(model.net) for weights, model in found.items()}
    names = Counter(model.name for model in (bench.model, *found.values()))
    marks = {weights: f" ({weights[:8]})" if names[model.name] > 1 else "" for weights, model in found.items()}
    return {f"{model.name}{marks[weights]}": weights for weights, model in found.items()}


def _find_partner(bench: Workbench) -> list[Model]:
    """The partner, such as `resnet18-digits` for `sdnet18-digits`; empty where there is no such model."""
    ours = bench.model.name
    names = [ours.replace(old, new, 1) for old, new in PARTNERS.items() if ours.startswith(old)]
    try:
        return [_open_other(bench, name) for name in names]
    except (UnknownNameError, ModelError, UsageError):
        return []


def _open_other(bench: Workbench, name: str) -> Model:
    """Loads another network; an error for one of another data set or other classes, or for the one under audit."""
    model, ours = load_model(name, runs_dir=bench.folder.parent), bench.model
    if model.config.dataset != ours.config.dataset:
        what = f"{model.name} cannot judge the images of {ours.name}"
        raise UsageError(what, expected=f"a network of {ours.config.dataset}", got=model.config.dataset)
    if model.weights == ours.weights:
        raise UsageError(f"{model.name} is the network under audit", expected="another one beside --other")
    return of_classes(model, bench.dataset, bench.progress)
