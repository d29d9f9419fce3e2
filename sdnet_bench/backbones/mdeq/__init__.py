"""Multiscale deep equilibrium networks (Bai, Koltun and Kolter, 2020).

solvers       Broyden's method and plain iteration
equilibrium   the equilibrium layer, its gradient and its convergence
transform     the function f(z, u)
network       stem, head and assembly
"""

from .equilibrium import Convergence, ConvergenceMeter, Equilibrium, convergence, equilibria
from .network import MDEQ, mdeq, mdeq_tiny

__all__ = [
    "MDEQ",
    "Convergence",
    "ConvergenceMeter",
    "Equilibrium",
    "convergence",
    "equilibria",
    "mdeq",
    "mdeq_tiny",
]
