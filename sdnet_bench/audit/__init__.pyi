from .run import CHECKS as CHECKS, run_audit as run_audit
from .verdict import (
    FEWEST as FEWEST,
    FULL as FULL,
    QUICK as QUICK,
    Accuracies as Accuracies,
    Audit as Audit,
    Budget as Budget,
    CheckResult as CheckResult,
)
