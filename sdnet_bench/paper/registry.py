"""The studies of the paper by name, and their plans."""

from __future__ import annotations

from dataclasses import replace

from ..errors import UnknownNameError, UsageError
from ..studies.workbench import Workbench
from .inference import plan_inference
from .iterations import plan_table5
from .noise import plan_corruptions, plan_figure2, plan_figure3, plan_table2, plan_table3
from .plan import Images, Planner, PlanStep


def plan(bench: Workbench, study: str, images: Images | None = None) -> list[PlanStep]:
    """The steps of a study of STUDIES, in their order; a `UsageError` where the network has no lambda for it."""
    images = images or Images()
    if study not in STUDIES:
        raise UnknownNameError("study", study, STUDIES)
    if images.archived and study not in ON_ARCHIVES:
        raise UsageError(f"{study} is no study of an archive", expected=", ".join(ON_ARCHIVES))
    steps: list[PlanStep] = []
    for step in STUDIES[study](bench, images):
        known = {cell for earlier in steps for cell in earlier.cells}
        steps.append(replace(step, cells=[cell for cell in step.cells if cell not in known]))
    return steps


ON_ARCHIVES = ("table2", "table3", "table5", "corruptions")
"""Those that the paper, or the benchmark, made from the -C archives."""

STUDIES: dict[str, Planner] = {
    "table2": plan_table2,
    "table3": plan_table3,
    "table5": plan_table5,
    "figure2": plan_figure2,
    "figure3": plan_figure3,
    "inference": plan_inference,
    "corruptions": plan_corruptions,
}
