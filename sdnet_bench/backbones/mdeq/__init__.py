"""Multiscale deep equilibrium networks (Bai, Koltun and Kolter, 2020)."""

from .equilibrium import Convergence, ConvergenceMeter, Equilibrium, convergence, equilibria
from .network import MDEQ

__all__ = ["MDEQ", "Convergence", "ConvergenceMeter", "Equilibrium", "convergence", "equilibria"]
