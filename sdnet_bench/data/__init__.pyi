from .corruptions import (
    CORRUPTIONS as CORRUPTIONS,
    SEVERITIES as SEVERITIES,
    Corruption as Corruption,
    corrupt as corrupt,
)
from .datasets import (
    DATASETS as DATASETS,
    Dataset as Dataset,
    fixed_classes as fixed_classes,
    open_dataset as open_dataset,
)
from .folders import labels_of as labels_of
from .splits import (
    Augmentation as Augmentation,
    Batch as Batch,
    Split as Split,
    TensorSplit as TensorSplit,
    limited as limited,
)
from .stream import Noise as Noise, Stream as Stream, stream_of as stream_of
