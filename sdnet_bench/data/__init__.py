"""Images: the data sets, their splits, and the corruptions they are tested with."""

from . import shifts  # noqa: F401  (registers data sets)
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
