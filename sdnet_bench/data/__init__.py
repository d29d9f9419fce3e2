"""Images: the data sets, their splits, and the corruptions they are tested with."""

from .corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
from .datasets import DATASETS, Dataset, open_dataset
from .splits import Augmentation, Batch, Split, TensorSplit, limited
from .stream import MIXED, NOISES, UNKNOWN, Noise, Severity, Stream, stream_of

__all__ = [
    "CORRUPTIONS",
    "DATASETS",
    "MIXED",
    "NOISES",
    "SEVERITIES",
    "UNKNOWN",
    "Augmentation",
    "Batch",
    "Corruption",
    "Dataset",
    "Noise",
    "Severity",
    "Split",
    "Stream",
    "TensorSplit",
    "corrupt",
    "limited",
    "open_dataset",
    "stream_of",
]
