"""Adversarial attacks: threat models, the attacks by name, and surrogate networks.

threat       distances, balls and rounding
draws        random numbers from one generator per image
victim       the wrapper of the attacked network
adapter      the attacks of torchattacks
library      corrected versions of torchattacks' classes
gradients    other ways to differentiate layers that solve for their output
surrogates   attacked networks: with several lambdas, lambda by the residual, or a smooth threshold
craft        one run of one attack on one batch
transforms   input transformations, as placebo defences
"""

from .adapter import ATTACKS, TARGETED, Attack
from .craft import Adversarials, AttackRun, craft
from .surrogates import surrogate
from .transforms import INPUT_TRANSFORMS

__all__ = [
    "ATTACKS",
    "INPUT_TRANSFORMS",
    "TARGETED",
    "Adversarials",
    "Attack",
    "AttackRun",
    "craft",
    "surrogate",
]
