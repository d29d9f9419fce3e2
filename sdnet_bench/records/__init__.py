"""Measurements: cells, their records, and the files that hold them. Imports no torch."""

from __future__ import annotations

from ..names import PROTOCOLS, Layers, Protocol
from .cell import (
    BATCH_SIZE,
    CLEAN,
    DEFAULT_EPS,
    MINIMUM_NORM,
    MIXED,
    NOISES,
    RADII,
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
    widening,
)
from .record import Outcomes, Radii, Record
from .store import RecordStore, frame_of, load, read_records, read_results, write_results

__all__ = ["BATCH_SIZE", "CLEAN", "DEFAULT_EPS", "MINIMUM_NORM", "MIXED", "NOISES", "PROTOCOLS", "RADII", "REVISION"]
__all__ += ["UNKNOWN", "AdaptationSetting", "AttackSetting", "Cell", "Images", "Inference", "InferenceChoice"]
__all__ += ["Layers", "Order", "Outcomes", "Protocol", "Radii", "Record", "RecordStore", "Severity", "Threat"]
__all__ += ["frame_of", "load", "read_records", "read_results", "show_eps", "usual_budget", "usual_protocols"]
__all__ += ["widening", "write_results"]
