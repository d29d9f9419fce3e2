"""Measurements: cells, their records, and the files that hold them. Imports no torch."""

from __future__ import annotations

from .cell import (
    CLEAN,
    DEFAULT_EPS,
    MIXED,
    NOISES,
    PROTOCOLS,
    REVISION,
    UNKNOWN,
    AttackSetting,
    Cell,
    Images,
    Inference,
    InferenceChoice,
    Layers,
    Protocol,
    Severity,
    Threat,
    show_eps,
    usual_budget,
    usual_protocols,
)
from .record import Outcomes, Record
from .store import RecordStore, load, read_records, read_results, write_results

__all__ = [
    "CLEAN",
    "DEFAULT_EPS",
    "MIXED",
    "NOISES",
    "PROTOCOLS",
    "REVISION",
    "UNKNOWN",
    "AttackSetting",
    "Cell",
    "Images",
    "Inference",
    "InferenceChoice",
    "Layers",
    "Outcomes",
    "Protocol",
    "Record",
    "RecordStore",
    "Severity",
    "Threat",
    "load",
    "read_records",
    "read_results",
    "show_eps",
    "usual_budget",
    "usual_protocols",
    "write_results",
]
