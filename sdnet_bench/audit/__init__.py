"""An audit of a network's robust accuracy: twelve checks of what is behind the figure.

transfer     images made at another lambda: C1, C2, C3, C5, C9, C12
adaptive     lambda by the residual, attacked as a whole: C4, C6
gradients    whether they lead anywhere: C7, C8
power        whether the attack is strong enough: C10
determinism  whether the network is a function: C11
"""

from .run import CHECKS, run_audit
from .verdict import FEWEST, FULL, QUICK, Accuracies, Audit, Budget, CheckResult

__all__ = ["CHECKS", "FEWEST", "FULL", "QUICK", "Accuracies", "Audit", "Budget", "CheckResult", "run_audit"]
