"""Adversarial attacks: threat models, the attacks by name, and surrogate networks."""

from .adapter import ATTACKS, TARGETED, Attack
from .craft import Adversarials, AttackRun, craft
from .surrogates import surrogate
from .transforms import INPUT_TRANSFORMS

__all__ = ["ATTACKS", "INPUT_TRANSFORMS", "TARGETED", "Adversarials", "Attack", "AttackRun", "craft", "surrogate"]
