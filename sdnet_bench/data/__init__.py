"""Images: the data sets, their splits, and the corruptions they are tested with. Corruptions need no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..doors import opening

if TYPE_CHECKING:
    from .corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
    from .datasets import DATASETS, Dataset, fixed_classes, open_dataset
    from .folders import labels_of
    from .splits import Augmentation, Batch, Split, TensorSplit, limited
    from .stream import Noise, Stream, stream_of

__all__ = [
    "CORRUPTIONS",
    "DATASETS",
    "SEVERITIES",
    "Augmentation",
    "Batch",
    "Corruption",
    "Dataset",
    "Noise",
    "Split",
    "Stream",
    "TensorSplit",
    "corrupt",
    "fixed_classes",
    "labels_of",
    "limited",
    "open_dataset",
    "stream_of",
]

__getattr__ = opening(
    __name__,
    {
        ".corruptions": ("CORRUPTIONS", "SEVERITIES", "Corruption", "corrupt"),
        ".datasets": ("DATASETS", "Dataset", "fixed_classes", "open_dataset"),
        ".folders": ("labels_of",),
        ".splits": ("Augmentation", "Batch", "Split", "TensorSplit", "limited"),
        ".stream": ("Noise", "Stream", "stream_of"),
    },
)
