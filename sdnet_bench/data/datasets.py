"""The data sets by name, each with a training, a validation and a test split; `shifts` has some with test images alone.

The validation split is held out of the training images by a fixed permutation. No choice is made on the test split.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError
from ..files import reading
from ..progress import Progress
from ..registry import Registry, check_call
from .folders import FolderSplit, class_names, labelled
from .splits import Augmentation, Split, TensorSplit
from .tarballs import fetch_tar

Which = Literal["train", "validation", "test"]
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Dataset:
    """A data set whose files have been found.

    Args:
        name: registered name.
        num_classes: number of classes; labels are 0 .. num_classes - 1.
        mean, std: mean and standard deviation of the pixels in [0, 1], per channel.
        family: family of the severities of its corruptions, "cifar" or "imagenet".
        open: returns a split, which is read once and cached.
        classes: name of each label; empty where nobody names them.
    """

    name: str
    num_classes: int
    mean: RGB
    std: RGB
    family: str
    open: Callable[[Which], Split]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))  # a plugin may have a list
        if self.classes and not len(self.classes) == len({*self.classes}) == self.num_classes:
            expected = f"{self.num_classes} different names, or none"
            raise DataError(f"the classes of {self.name}", expected=expected, got=f"{len(self.classes)} names")


Opener = Callable[[Path, Progress], Dataset]
"""`(data_dir, progress) -> Dataset`; a `DataError` where files are missing or damaged."""


def check_opener(opener: Opener) -> None:
    """Raises a TypeError where `opener` cannot be called as an `Opener`."""
    check_call(opener, "(data_dir, progress)", Path(), Progress())


FIXED = ("digits", "cifar10", "cifar100", "imagenet")
"""The data sets whose classes `fixed_classes` names."""
DATASETS: Registry[Opener] = Registry("dataset", check_opener, late=["sdnet_bench.data.shifts"])
CIFAR10_PIXELS: tuple[RGB, RGB] = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET_PIXELS: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the training images."""


def open_dataset(name: str, data_dir: Path, progress: Progress | None = None) -> Dataset:
    """Opens a data set under `data_dir`, downloading it where possible; a `DataError` where files are missing."""
    return DATASETS[name](data_dir, progress or Progress())


def hold_out(count: int, held: int) -> tuple[list[int], list[int]]:
    """Splits the places 0 .. count - 1 into kept and held-out ones, both ascending, by a fixed permutation."""
    order = np.random.default_rng(0).permutation(count)
    return sorted(order[held:].tolist()), sorted(order[:held].tolist())


@cache
def fixed_classes(dataset: str) -> tuple[str, ...]:
    """The names of the classes of a data set that has the same wherever it lies: of ImageNet the WordNet ids."""
    path = Path(__file__).parent / "classes" / f"{dataset}.txt"
    return tuple(path.read_text(encoding="utf-8").split()) if dataset in FIXED else ()


@DATASETS.register("digits")
def digits(data_dir: Path, progress: Progress) -> Dataset:
    """The 1,797 handwritten digits of scikit-learn, enlarged from 8x8 grey to 32x32 RGB."""
    return Dataset("digits", 10, (0.312,) * 3, (0.356,) * 3, "imagenet", _open_digits, fixed_classes("digits"))


@cache
def _open_digits(which: Which) -> Split:
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")  # its import takes a second
    rows = torch.from_numpy(np.loadtxt(str(path), np.float32, delimiter=","))  # 64 pixels of 0 .. 16, and the digit
    grey, labels = rows[:, :-1].view(-1, 1, 8, 8) / 16, rows[:, -1].long()
    large = F.interpolate(grey, size=(32, 32), mode="bicubic", align_corners=False).clamp(0, 1)
    images = (large * 255).round().to(torch.uint8).repeat(1, 3, 1, 1)
    rest, test = hold_out(len(labels), 360)
    kept, held = hold_out(len(rest), 200)
    places = {"train": [rest[at] for at in kept], "validation": [rest[at] for at in held], "test": test}[which]
    return _tensor_split(images, labels, places, Augmentation(flip=False))


@DATASETS.register("cifar10")
def cifar10(data_dir: Path, progress: Progress) -> Dataset:
    """CIFAR-10: 45,000 training, 5,000 validation and 10,000 test images of 32x32."""
    open_split = _cifar("CIFAR10", data_dir, progress)
    return Dataset("cifar10", 10, *CIFAR10_PIXELS, "cifar", open_split, fixed_classes("cifar10"))


@DATASETS.register("cifar100")
def cifar100(data_dir: Path, progress: Progress) -> Dataset:
    """CIFAR-100: 45,000 training, 5,000 validation and 10,000 test images of 32x32."""
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    return Dataset(
        "cifar100", 100, mean, std, "cifar", _cifar("CIFAR100", data_dir, progress), fixed_classes("cifar100")
    )


def _cifar(kind: str, data_dir: Path, progress: Progress) -> Callable[[Which], Split]:
    from torchvision import datasets

    source = getattr(datasets, kind)
    if not (data_dir / source.base_folder).is_dir():
        progress.note(f"{kind} is not in {data_dir}: downloading it from {source.url}")
        fetch_tar(source.url, source.tgz_md5, data_dir, source.base_folder, progress)

    @cache
    def open_split(which: Which) -> Split:
        images, labels = _read_cifar(source, data_dir, train=which != "test")
        kept, held = hold_out(len(labels), 5000)
        places = {"train": kept, "validation": held, "test": range(len(labels))}[which]
        return _tensor_split(images, labels, list(places), Augmentation())

    return open_split


def _read_cifar(source: Any, data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    """Images `(N, 3, 32, 32)` and labels; torchvision checks the md5 of every file before it reads one."""
    folder = data_dir / source.base_folder
    hint = f"Remove {folder} to download it again, or name another folder with --data-dir."
    with reading(folder, DataError, hint), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy deprecates a dtype in these old pickles
        content = source(data_dir, train=train)
    return torch.from_numpy(content.data).permute(0, 3, 1, 2), torch.tensor(content.targets)


def _tensor_split(images: Tensor, labels: Tensor, places: list[int], augmentation: Augmentation) -> TensorSplit:
    at = torch.tensor(places)
    return TensorSplit(images[at].contiguous(), labels[at], at, augmentation)


@DATASETS.register("imagenet")
def imagenet(data_dir: Path, progress: Progress) -> Dataset:
    """ILSVRC 2012 from folders `imagenet/train/<class>/` and `imagenet/val/<class>/`, at 224x224."""
    return _image_folder("imagenet", data_dir / "imagenet", 224, progress)


@DATASETS.register("imagefolder")
def imagefolder(data_dir: Path, progress: Progress) -> Dataset:
    """Images from folders `train/<class>/` and `val/<class>/` in the data folder, at 64x64."""
    return _image_folder("imagefolder", data_dir, 64, progress)


def _image_folder(name: str, root: Path, size: int, progress: Progress) -> Dataset:
    """A data set of image folders: `val` is the test split, and one in twenty of `train` the validation split.

    `train` may be missing until one of its splits is opened.
    """
    classes, test = _files(root / "val")
    if (root / "train").is_dir() and classes != (trained := class_names(root / "train")):
        odd = ", ".join(sorted({*classes} ^ {*trained})[:5])
        raise DataError(f"train and val in {root} hold different classes", got=f"only in one of them: {odd}")

    @cache
    def open_split(which: Which) -> Split:
        if which == "test":
            return FolderSplit(test, range(len(test)), size, classes, progress=progress)
        train = train_files()
        kept, held = hold_out(len(train), max(1, len(train) // 20))
        places = kept if which == "train" else held
        return FolderSplit([train[at] for at in places], places, size, classes, progress=progress)

    train_files = cache(lambda: _files(root / "train")[1])
    return Dataset(name, len(classes), *IMAGENET_PIXELS, "imagenet", open_split, tuple(classes))


def _files(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """The names of the classes, and (path, label) of every image; a `DataError` for a class without images."""
    hint = "Lay the images out as train/<class>/ and val/<class>/, and name the folder with --data-dir."
    if not folder.is_dir():
        raise DataError(f"no image folder at {folder}", hint=hint)
    classes = class_names(folder)
    files = labelled(folder, classes)
    labels = {label for _, label in files}
    empty = next((name for label, name in enumerate(classes) if label not in labels), None)
    if empty or not classes:
        raise DataError(f"no {f'images of {empty}' if empty else 'classes'} in {folder}", hint=hint)
    return classes, files
