"""sdnet-bench: train SDNets, tune their sparsity at test time, attack them, report beside the paper.

    bench = sdnet_bench.Bench(net, data=(images, labels))
    bench.evaluate("gaussian", severity=[1, 3, 5])

Reference: Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .doors import opening
from .version import __version__

if TYPE_CHECKING:
    from .api.bench import Bench, compare
    from .api.doctor import doctor
    from .api.training import train
    from .zoo.find import load_model
else:
    __getattr__ = opening(  # nothing, torch least of all, is imported before it is needed
        __name__,
        {
            ".api.bench": ("Bench", "compare"),
            ".api.doctor": ("doctor",),
            ".api.training": ("train",),
            ".zoo.find": ("load_model",),
        },
    )

__all__ = ["Bench", "__version__", "compare", "doctor", "load_model", "train"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
