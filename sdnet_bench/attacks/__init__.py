"""Adversarial attacks: threat models, the attacks by name, and the networks that they look at.

threat       the geometry of the ball around an image
draws        random numbers of its own for every image
victim       a network as an attack sees it: guarded and watched
adapter      the attacks of torchattacks
library      those of them that had to be mended
gradients    other ways to differentiate layers that solve for their output
surrogates   networks to look at: of several lambdas, with lambda by the residual, with a smooth threshold
craft        one run of one attack on one batch
transforms   input transformations: placebo defences
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
