"""Measurements: cells, their records, and the files that hold them. Imports no torch."""

from __future__ import annotations

from ..names import PROTOCOLS, Layers, Protocol
from .cell import (
    CLEAN,
    DEFAULT_EPS,
    MIXED,
    NOISES,
    REVISION,
    UNKNOWN,
    AdaptationSetting,
    AttackSetting,
    Cell,
    Images,
    Inference,
    InferenceChoice,
    Order,
    Severity,
    Threat,
    show_eps,
    usual_budget,
    usual_protocols,
)
from .record import Outcomes, Record
from .store import RecordStore, frame_of, load, read_records, read_results, write_results

__all__ = [
    "CLEAN",
    "DEFAULT_EPS",
    "MIXED",
    "NOISES",
    "PROTOCOLS",
    "REVISION",
    "UNKNOWN",
    "AdaptationSetting",
    "AttackSetting",
    "Cell",
    "Images",
    "Inference",
    "InferenceChoice",
    "Layers",
    "Order",
    "Outcomes",
    "Protocol",
    "Record",
    "RecordStore",
    "Severity",
    "Threat",
    "frame_of",
    "load",
    "read_records",
    "read_results",
    "show_eps",
    "usual_budget",
    "usual_protocols",
    "write_results",
]
