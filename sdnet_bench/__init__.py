"""sdnet-bench: train SDNets, tune their sparsity at test time, attack them, report beside the paper.

Reference: Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .version import __version__

__all__ = ["__version__", "load_model"]

if TYPE_CHECKING:
    from .zoo.find import load_model


def __getattr__(name: str) -> object:
    if name == "load_model":
        from .zoo.find import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
