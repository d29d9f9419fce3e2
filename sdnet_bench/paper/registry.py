"""The tables and figures of the paper by name."""

from __future__ import annotations

from ..errors import UnknownNameError, UsageError
from ..studies.workbench import Workbench
from .accuracy import TABLE1, TABLE6
from .adaptation import ADAPTATION
from .attacks import TABLE4
from .inference import INFERENCE
from .iterations import TABLE5
from .noise import CORRUPTION_ERRORS, FIGURE2, FIGURE3, TABLE2, TABLE3
from .plan import PlanStep, Study, StudySize, TableStudy

TABLES: tuple[TableStudy, ...] = (
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE5,
    TABLE6,
    INFERENCE,
    ADAPTATION,
    CORRUPTION_ERRORS,
)
"""All tables, in the order of a report."""

STUDIES: dict[str, Study] = {study.name: study for study in (*TABLES[:6], FIGURE2, FIGURE3, *TABLES[6:])}


def plan(bench: Workbench, name: str, size: StudySize | None = None) -> list[PlanStep]:
    """The steps of a study of STUDIES, in order; a `UsageError` where the study needs a lambda that is missing."""
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    if size and size.archived and not STUDIES[name].on_archives:
        on_archives = [study.name for study in STUDIES.values() if study.on_archives]
        raise UsageError(f"{name} is no study of an archive", expected=", ".join(on_archives))
    return STUDIES[name].steps(bench, size)
