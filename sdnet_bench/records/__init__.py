"""What was measured: cells, their records, and the files they are kept in. No torch.

cell        what is measured: images, what classifies them, an attack within a threat
record      a measured cell: one bit per image
store       the append-only file of records, and published ones
journal     what a long measurement writes down on its way
lambda_fit  lambda as a line of the residual
statistics  proportions with their intervals, and tests of their differences
"""

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
