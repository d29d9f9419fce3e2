"""Adversarial attacks: threat models, the attacks by name, and the networks that they look at.

threat       the ball around an image
draws        random numbers of its own for every image
victim       a network as an attack sees it: guarded and watched
adapter      the attacks of torchattacks
library      those of them that had to be mended
gradients    other ways to differentiate layers that solve for their output
surrogates   networks to look at: of several lambdas, with lambda by the residual, with a smooth threshold
craft        one run of one attack on one batch
placebos     defences that are none
"""

from .adapter import ATTACKS, TARGETED, Attack
from .craft import Crafted, Stage, craft
from .placebos import PLACEBOS
from .surrogates import surrogate
from .threat import DEFAULT_EPS, Threat, parse_eps, show_eps

__all__ = [
    "ATTACKS",
    "DEFAULT_EPS",
    "PLACEBOS",
    "TARGETED",
    "Attack",
    "Crafted",
    "Stage",
    "Threat",
    "craft",
    "parse_eps",
    "show_eps",
    "surrogate",
]
