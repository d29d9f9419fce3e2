"""Measurements: cells, their records, and the files that hold them. Imports no torch."""

from __future__ import annotations

from ..names import PROTOCOLS, Layers, Protocol
from .attack import (
    DEFAULT_EPS,
    MINIMUM_NORM,
    RADII,
    REVISION,
    AttackSetting,
    Threat,
    show_eps,
    usual_budget,
    usual_protocols,
    widening,
)
from .cell import (
    ADAPTED_AT_ONCE,
    CLEAN,
    MIXED,
    NOISES,
    UNKNOWN,
    AdaptationSetting,
    Cell,
    Images,
    Inference,
    InferenceChoice,
    Order,
    Severity,
)
from .record import Outcomes, Radii, Record
from .store import RecordStore, frame_of, load, read_records, read_results, write_results

__all__ = [
    "ADAPTED_AT_ONCE",
    "CLEAN",
    "DEFAULT_EPS",
    "MINIMUM_NORM",
    "MIXED",
    "NOISES",
    "PROTOCOLS",
    "RADII",
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
    "Radii",
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
    "widening",
    "write_results",
]
