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
else:
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

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "corrupt"]
__all__ += ["DATASETS", "Dataset", "fixed_classes", "open_dataset"]
__all__ += ["labels_of"]
__all__ += ["Augmentation", "Batch", "Split", "TensorSplit", "limited"]
__all__ += ["Noise", "Stream", "stream_of"]
