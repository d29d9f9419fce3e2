"""Adversarial attacks: threat models, and the attacks themselves by name."""

from .adapter import ATTACKS, Attack, guarded
from .threat import DEFAULT_EPS, Threat, parse_eps

__all__ = ["ATTACKS", "DEFAULT_EPS", "Attack", "Threat", "guarded", "parse_eps"]
