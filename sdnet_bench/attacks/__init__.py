"""Adversarial attacks: threat models, the attacks by name, and surrogate networks."""

from .adapter import ATTACKS, TARGETED, Attack
from .craft import Adversarials, AttackRun, craft
from .surrogates import surrogate

__all__ = ["ATTACKS", "TARGETED", "Adversarials", "Attack", "AttackRun", "craft", "surrogate"]
