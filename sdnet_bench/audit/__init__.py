"""An audit of a network's robust accuracy by twelve checks.

transfer     adversarial images made at another lambda: C1, C2, C3, C5, C9, C12
adaptive     attacks on robust inference: C4, C6
gradients    usefulness of the gradients: C7, C8
power        strength of the attack: C10
determinism  state and determinism of the network: C11
"""

from .run import CHECKS, run_audit
from .verdict import FEWEST, FULL, QUICK, Accuracies, Audit, Budget, CheckResult

__all__ = ["CHECKS", "FEWEST", "FULL", "QUICK", "Accuracies", "Audit", "Budget", "CheckResult", "run_audit"]
