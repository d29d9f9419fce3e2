"""An audit of a network's robust accuracy by thirteen checks."""

from .run import CHECKS, run_audit
from .verdict import FEWEST, FULL, QUICK, Accuracies, Audit, Budget, CheckResult

__all__ = ["CHECKS", "FEWEST", "FULL", "QUICK", "Accuracies", "Audit", "Budget", "CheckResult", "run_audit"]
