"""Adversarial attacks: threat models, the attacks by name, and surrogate networks."""

from .adapter import ATTACKS, NARROWING, TARGETED, Attack
from .craft import Adversarials, AttackRun, craft
from .surrogates import surrogate

__all__ = ["ATTACKS", "NARROWING", "TARGETED", "Adversarials", "Attack", "AttackRun", "craft", "surrogate"]
