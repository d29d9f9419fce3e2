"""Plans of studies as values: what they have to measure, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from ..paper.plan import images_per_second, run
from ..paper.steps import PlanStep
from ..studies.workbench import Workbench
from .rows import Row, Several
from .values import Measured


@dataclass(frozen=True)
class Plan(Several[PlanStep]):
    """The steps of a study, in order, with the images that each has to classify and the minutes that takes."""

    bench: Workbench
    at_work: Callable[[], AbstractContextManager[Workbench]]
    """Opens a block that measures."""

    def measure(self) -> Measured:
        """Measures what is not on record, and returns all records of the study, each once."""
        with self.at_work():
            return Measured(tuple(run(self)))

    def rows(self) -> list[Row]:
        return self._rows

    data = rows

    @property
    def estimate(self) -> str:
        """How long it takes at the speed of one batch, in words."""
        total = sum(self._work)
        speed = f"about {math.ceil(total / self._speed / 60)} min at {self._speed:,.0f} noisy images/s"
        return f"plan: at most {total:,} images to classify, {speed if total else 'all is on record'}"

    @cached_property
    def _rows(self) -> list[Row]:
        minutes = [round(images / self._speed / 60, 1) for images in self._work]
        return [step | {"minutes": each} for step, each in zip(self._steps, minutes, strict=True)]

    @cached_property
    def _work(self) -> list[int]:
        return [int(row["images"]) * step.passes for row, step in zip(self._steps, self, strict=True)]

    @cached_property
    def _speed(self) -> float:
        return images_per_second(self.bench) if sum(self._work) else 1.0

    @cached_property
    def _steps(self) -> list[dict[str, int | str]]:
        return [self._row(step) for step in self]

    def _row(self, step: PlanStep) -> dict[str, int | str]:
        missing = self.bench.missing(step.cells)
        images = self.bench.work(missing) + step.later
        return {"stage": step.title, "cells": len(step.cells), "missing": len(missing), "images": images}
