"""The tables and figures of the paper by name."""

from __future__ import annotations

from .accuracy import TABLE1, TABLE6
from .adaptation import ADAPTATION
from .attacks import TABLE4
from .inference import INFERENCE
from .iterations import TABLE5
from .noise import CORRUPTION_ERRORS, FIGURE2, FIGURE3, TABLE2, TABLE3
from .study import Study, TableStudy

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
