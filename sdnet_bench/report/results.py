"""What is on record of one model, as the numbers that tables are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..config import MODELS, ModelConfig
from ..data import SEVERITIES
from ..engine.checkpoint import find_model
from ..records import AttackSetting, Cell, Record, RecordStore
from ..studies.adaptive_lambda import LambdaFit, fit_line, points
from ..studies.adversarial import best_lambda

NOISES = ("gaussian", "shot", "speckle", "impulse")
"""The four of the paper, in the order of its Table 3."""


class Value(NamedTuple):
    """A measured number; `low` and `high` bound a proportion at 95 %, `n` images stand behind it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Curve(NamedTuple):
    """Accuracy (%) against lambda at one severity."""

    severity: int
    n: int
    points: list[tuple[float, float]]
    """(lambda, accuracy), lambda ascending."""


@dataclass(frozen=True, eq=False)
class Results:
    """The records of one model."""

    name: str
    config: ModelConfig
    records: tuple[Record, ...]

    @classmethod
    def read(cls, folder: Path, runs_dir: Path) -> Results:
        """From a model folder, with what its run has added."""
        name = folder.resolve().name
        config = ModelConfig.read(folder)
        store = RecordStore.of_model(folder, runs_dir / name)
        return cls(name, config, tuple(r for r in store if r.cell.weights == config.weights_sha256))

    @cached_property
    def trained_lambda(self) -> float | None:
        """lambda_0, as the record of training has it."""
        training = self._find(lambda cell: cell.kind == "training")
        return training.cell.lambda_ if training else None

    def training(self, metric: str) -> Value | None:
        """`parameters`, `peak_memory` (bytes) or `images_per_second` of training."""
        record = self._find(lambda cell: cell.kind == "training")
        return Value(record.metrics[metric]) if record else None

    def clean(self) -> Value | None:
        """Accuracy (%) on clean test images at lambda_0."""
        return percent([self._clean()])

    def _clean(self) -> Record | None:
        return self._find(lambda cell: self._is_test(cell) and cell.lambda_ == self.trained_lambda)

    def corrupted(self, corruption: str, severity: int, *, adaptive: bool = False) -> Record | None:
        """The record of one severity: at lambda_0, or at the lambda that Algorithm 1 chose."""
        return self._find(
            lambda cell: (
                self._is_test(cell, corruption)
                and cell.severity == severity
                and (cell.rule is not None if adaptive else cell.rule is None and cell.lambda_ == self.trained_lambda)
            )
        )

    def corrupted_mean(self, corruption: str, *, adaptive: bool = False) -> Value | None:
        """Accuracy (%) over all severities; None unless every one is on record."""
        return percent([self.corrupted(corruption, severity, adaptive=adaptive) for severity in SEVERITIES])

    def attacked(self, norm: str, eps: float, protocol: str) -> Value | None:
        """Robust accuracy (%): "trained" (at lambda_0), or at the tuned lambda "transfer", "matched" or "clean"."""
        if protocol == "trained":
            return percent([self._attacked(norm, eps, self.trained_lambda, self.trained_lambda)])
        tuned = self.tuned_lambda(norm, eps)
        if tuned is None:
            return None
        if protocol == "clean":
            images = {record.cell.images for record in [self._strongest(norm, eps)] if record}
            return percent(
                [self._find(lambda cell: self._is_test(cell) and cell.lambda_ == tuned and cell.images in images)]
            )
        return percent([self._attacked(norm, eps, self.trained_lambda if protocol == "transfer" else tuned, tuned)])

    def tuned_lambda(self, norm: str, eps: float) -> float | None:
        """The lambda that stands best against attacks made at lambda_0 on validation images."""
        setting = self._setting(norm, eps)
        tuning = [r for r in self.records if r.cell.split == "validation" and _made_at(r.cell, None) == setting]
        largest = max((record.n for record in tuning), default=0)
        return best_lambda([record for record in tuning if record.n == largest]) if setting and tuning else None

    def conditions(self) -> str:
        """Its size, how long it was trained, and in which precision it was tested on what."""
        training, clean = self._find(lambda cell: cell.kind == "training"), self._clean()
        width = f"width {self.config.backbone.options.get('width', 64)}"
        epochs = f", {training.metrics['epochs']:.0f} epochs" if training and "epochs" in training.metrics else ""
        device = clean.provenance.get("device", "an unknown device") if clean else ""
        return f"{width}{epochs}" + (f"; noise measured in {clean.cell.precision} on {device}" if clean else "")

    def attack_conditions(self, norm: str, eps: float) -> str | None:
        """The attack behind `attacked`."""
        record = self._strongest(norm, eps)
        if record is None or record.cell.attack is None:
            return None
        attack = record.cell.attack
        steps = f"{attack.steps} steps of {attack.step_size:.4f}, {attack.restarts} random start(s)"
        return f"{norm} {eps:.4f}: {attack.name}, {steps}, {record.n:,} test images, {record.cell.precision}"

    def sweep(self, corruption: str) -> list[Curve]:
        """What `sweep-lambda` found, by severity."""
        curves = []
        for severity in SEVERITIES:
            found = [
                record
                for record in self.records
                if self._is_test(record.cell, corruption)
                and record.cell.severity == severity
                and record.cell.rule is None
                and record.cell.lambda_ is not None
            ]
            n = _widest(found)
            points = sorted((float(r.cell.lambda_ or 0), 100 * r.accuracy) for r in found if r.n == n)
            if len(points) > 1:
                curves.append(Curve(severity, n, points))
        return curves

    def fit(self, corruption: str) -> LambdaFit | None:
        """Algorithm 1's line, from the records of training images."""
        found = [r for r in self.records if r.cell.split == "train" and r.cell.corruption == corruption]
        n = _widest(found)
        at = points([r for r in found if r.n == n], float(self.trained_lambda or 0))
        return fit_line(corruption, str(self.config.weights_sha256), at) if len(at) > 1 else None

    def _attacked(self, norm: str, eps: float, crafted: float | None, scored: float | None) -> Record | None:
        setting = self._setting(norm, eps)
        wanted = setting and setting.model_copy(update={"crafted_at": crafted})
        if wanted is None:
            return None
        return self._find(lambda cell: cell.split == "test" and cell.attack == wanted and cell.lambda_ == scored)

    def _setting(self, norm: str, eps: float) -> AttackSetting | None:
        """The attack that `attacked` is about; `crafted_at` left open."""
        strongest = self._strongest(norm, eps)
        return _made_at(strongest.cell, None) if strongest else None

    def _strongest(self, norm: str, eps: float) -> Record | None:
        """A record of the attack under this threat with the most images, then steps, behind it."""
        found = [r for r in self.records if r.cell.split == "test" and _is_attack(r.cell, norm, eps)]
        return max(found, key=lambda record: (record.n, _steps(record.cell)), default=None)

    def _find(self, wanted: Callable[[Cell], bool]) -> Record | None:
        """The record of the wanted cells with the most images behind it; of equals the latest."""
        found = [record for record in self.records if wanted(record.cell)]
        return max(enumerate(found), key=lambda pair: (pair[1].n, pair[0]))[1] if found else None

    @staticmethod
    def _is_test(cell: Cell, corruption: str | None = None) -> bool:
        plain = cell.kind == "accuracy" and cell.attack is None
        return plain and cell.split == "test" and cell.corruption == corruption


def _widest(records: Sequence[Record]) -> int:
    """The number of images that most of these records were measured on."""
    counts = Counter(record.n for record in records)
    return max(counts, key=lambda n: (counts[n], n), default=0)


def _made_at(cell: Cell, lambda_: float | None) -> AttackSetting | None:
    """The cell's attack as it would be made at another lambda."""
    return cell.attack and cell.attack.model_copy(update={"crafted_at": lambda_})


def _steps(cell: Cell) -> int:
    return cell.attack.steps * cell.attack.restarts if cell.attack else 0


def _is_attack(cell: Cell, norm: str, eps: float) -> bool:
    """PGD, which is what the paper's Table 4 is about."""
    attack = cell.attack
    return attack is not None and attack.name == "pgd" and attack.norm == norm and abs(attack.eps - eps) < 1e-9


def percent(records: Sequence[Record | None]) -> Value | None:
    """Accuracy (%) over records of the same images, with Wilson's 95 % interval.

    None if one is missing, or if they differ in images, seed, precision or the rule that chose lambda.

    For a mean over severities the images are not independent, so the interval counts each image once: it is
    wider than it would have to be.
    """
    from scipy.stats import binomtest

    found = [record for record in records if record is not None]
    if not found or len(found) < len(records) or len({_conditions(record.cell) for record in found}) > 1:
        return None
    n = min(record.n for record in found)
    mean = float(np.mean([record.accuracy for record in found]))
    low, high = binomtest(round(mean * n), n).proportion_ci(0.95, method="wilson")
    return Value(100 * mean, 100 * low, 100 * high, n)


def _conditions(cell: Cell) -> tuple[object, ...]:
    """What records must share to be averaged."""
    return (cell.images, cell.seed, cell.precision, cell.rule)


def find_results(names: Sequence[str], runs_dir: Path) -> list[Results]:
    """The results of the named models; where no name is given, of all that `runs_dir` holds anything of."""
    known = sorted(path.name for path in runs_dir.glob("*") if (path / "config.json").exists())
    measured = sorted(path.parent.name for path in runs_dir.glob(f"*/{RecordStore.FILE}"))
    shipped = [name for name in measured if name not in known and (MODELS / name / "config.json").exists()]
    return [Results.read(find_model(name, runs_dir), runs_dir) for name in names or [*known, *shipped]]
