"""Images: the data sets, their splits, and the corruptions they are tested with."""

from .corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
from .datasets import DATASETS, Dataset, open_dataset
from .splits import Augmentation, Batch, Split, limited

__all__ = [
    "CORRUPTIONS",
    "DATASETS",
    "SEVERITIES",
    "Augmentation",
    "Batch",
    "Corruption",
    "Dataset",
    "Split",
    "corrupt",
    "limited",
    "open_dataset",
]
