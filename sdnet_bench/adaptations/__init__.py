"""Test-time adaptations: changes of a network, or of the images before it, while a stream of batches is classified.

A plugin adds one as an entry point of the group `sdnet_bench.adaptations`; see `Adaptation`.
"""

from .adaptation import ADAPTATIONS, Adaptation, Chain, Classifier, chain_of, setting_of
from .filters import PLACEBOS, InputFilter
from .norms import BatchStatistics, RunningStatistics
from .tent import Tent

__all__ = ["ADAPTATIONS", "PLACEBOS", "Adaptation", "BatchStatistics", "Chain", "Classifier", "InputFilter"]
__all__ += ["RunningStatistics", "Tent", "chain_of", "setting_of"]
