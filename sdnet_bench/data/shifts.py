"""Test images of the classes of CIFAR-10 and ImageNet from elsewhere, for models that were trained on those.

CIFAR-10.1 and ImageNet-V2 (Recht et al., 2018 and 2019), ImageNet-R (Hendrycks et al., 2021), ImageNet-A (Hendrycks
et al., 2021) and ImageNet-Sketch (Wang et al., 2019). Folders of classes are found by WordNet id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from ..files import reading
from ..progress import Progress
from .datasets import CIFAR10_PIXELS, DATASETS, IMAGENET_PIXELS, Dataset, Which, fixed_classes
from .folders import FolderSplit, class_names, labelled
from .splits import Augmentation, Split, TensorSplit
from .tarballs import fetch_tar

CIFAR10_1_PAGE = "https://github.com/modestyachts/CIFAR-10.1/tree/master/datasets"


@dataclass(frozen=True)
class Folder:
    """A folder of test images under the data folder, named as its published archive names it."""

    name: str
    source: str
    """Address of the tar archive; without an md5 of the page that has it."""
    md5: str | None = None


FOLDERS = {
    "imagenet-v2": Folder(
        "imagenetv2-matched-frequency-format-val", "https://huggingface.co/datasets/vaishaal/ImageNetV2"
    ),
    "imagenet-r": Folder(
        "imagenet-r",
        "https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
        "a61312130a589d0ca1a8fca1f2bd3337",
    ),
    "imagenet-a": Folder(
        "imagenet-a",
        "https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
        "c3e55429088dc681f30d81f4726b6595",
    ),
    "imagenet-sketch": Folder("sketch", "https://github.com/HaohanWang/ImageNet-Sketch"),
}


def only_test(name: str, test: Callable[[], Split]) -> Callable[[Which], Split]:
    """Opens the test split, which is read once; a `DataError` for the others."""
    read = cache(test)

    def open_split(which: Which) -> Split:
        if which != "test":
            hint = "Train, and tune lambda, on the data set whose classes it has."
            raise DataError(f"{name} has no {which} images", expected="test", hint=hint)
        return read()

    return open_split


def cifar10_1(version: str, name: str, data_dir: Path, progress: Progress) -> Dataset:
    """CIFAR-10.1 from `cifar10.1/cifar10.1_<version>_data.npy` and `..._labels.npy`; v6 has 2,000 images, v4 2,021."""
    files = [data_dir / "cifar10.1" / f"cifar10.1_{version}_{part}.npy" for part in ("data", "labels")]
    for file in files:
        if not file.is_file():
            hint = f"Download it there from {CIFAR10_1_PAGE}, or name the folder above with --data-dir."
            raise DataError(f"no file {file}", hint=hint)
    open_split = only_test(name, partial(_read_arrays, *files))
    return Dataset(name, 10, *CIFAR10_PIXELS, "cifar", open_split, fixed_classes("cifar10"))


def _read_arrays(images: Path, labels: Path) -> TensorSplit:
    """Images `(N, 32, 32, 3)` uint8 and their labels, 0 to 9."""
    arrays = []
    for file in (images, labels):
        with reading(file, DataError, "Download it again."):
            arrays.append(np.load(file, allow_pickle=False))
    pixels, numbers = arrays
    if pixels.dtype != np.uint8 or pixels.shape != (len(numbers), 32, 32, 3) or set(numbers.tolist()) - {*range(10)}:
        expected = f"uint8 ({len(numbers)}, 32, 32, 3), and labels from 0 to 9 in {labels.name}"
        raise DataError(f"{images} is not CIFAR-10.1", expected=expected, got=f"{pixels.dtype} {pixels.shape}")
    chw = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return TensorSplit(chw, torch.from_numpy(numbers).long(), torch.arange(len(numbers)), Augmentation())


def imagenet_folder(name: str, data_dir: Path, progress: Progress) -> Dataset:
    """A test set of ImageNet's classes, or of some of them, at 224x224: a folder for each class."""
    root = data_dir / FOLDERS[name].name
    if not root.is_dir():
        _fetch(FOLDERS[name], data_dir, progress)
    by_id = {_wordnet_id(folder, root): folder for folder in class_names(root)}
    ids = sorted(by_id)
    files = labelled(root, [by_id[each] for each in ids])
    if not ids or {label for _, label in files} != {*range(len(ids))}:
        raise DataError(f"a class without images in {root}", expected="a folder of images for each class")
    split = FolderSplit(files, range(len(files)), 224, ids, progress=progress)
    return Dataset(name, len(ids), *IMAGENET_PIXELS, "imagenet", only_test(name, lambda: split), tuple(ids))


def _fetch(folder: Folder, data_dir: Path, progress: Progress) -> None:
    """Downloads and unpacks a folder; a `DataError` that says where it goes, if nobody published its md5."""
    if folder.md5 is None:
        hint = f"Unpack its archive there from {folder.source}, or name the folder above with --data-dir."
        raise DataError(f"no image folder at {data_dir / folder.name}", hint=hint)
    progress.note(f"{folder.name} is not in {data_dir}: downloading it from {folder.source}")
    fetch_tar(folder.source, folder.md5, data_dir, folder.name, progress)


def _wordnet_id(folder: str, root: Path) -> str:
    """The WordNet id of a class folder that is named by it, or by its label in ImageNet, as in ImageNet-V2."""
    known = fixed_classes("imagenet")
    found = known[int(folder)] if folder in map(str, range(len(known))) else folder
    if found not in known:
        raise DataError(f"{root / folder} is no class of ImageNet", expected="a WordNet id, or a label from 0 to 999")
    return found


for version, label in {"v6": "cifar10.1", "v4": "cifar10.1-v4"}.items():
    DATASETS.register(label)(partial(cifar10_1, version, label))
for label in FOLDERS:
    DATASETS.register(label)(partial(imagenet_folder, label))
