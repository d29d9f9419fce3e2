"""Splits of image folders: worker processes decode, resize and crop the files."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..files import reading
from ..progress import Progress
from .contents import files_in, remembered, visible
from .splits import Batch, Split, TensorSplit

if TYPE_CHECKING:
    from PIL.Image import Image

View = Callable[["Image"], Tensor]
"""Maps a PIL image to `(3, size, size)` uint8."""
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of the files that are images, those of torchvision."""


def class_names(root: Path) -> list[str]:
    """The names of the class folders in a folder, in the order of their labels; hidden folders are none."""
    return [entry.name for entry in visible(root) if entry.is_dir()]


def labelled(root: Path, classes: Sequence[str]) -> list[tuple[str, int]]:
    """(path, label) of all images in the class folders, by class and name."""
    return [(file, label) for label, name in enumerate(classes) for file in files_in(root / name, ENDINGS)]


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """A split of image files.

    Args:
        files: (path, label) of each image.
        index: index of each image in the whole split.
        size: side of the returned square images.
        classes: name of each label.
        cropped: whether the files have that size already and are not resized.
    """

    files: Sequence[tuple[str, int]]
    index: Sequence[int]
    size: int
    classes: Sequence[str]
    cropped: bool = False
    progress: Progress = field(default_factory=Progress)

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def digest(self) -> str:
        """Digest of the content of the files, their names, labels and index, and the size.

        Every file of the split is read once: the 6.4 GB of ImageNet's validation images take less than a minute from
        a local disk, the 140 GB of its training images about ten. It is remembered until a file changes.
        """
        files = [file for file, _ in self.files]
        root = os.path.commonpath(map(os.path.dirname, files)) if files else ""
        content = remembered(Path(root), files, self.progress).sha256
        return hashlib.sha256(f"{self.size} {self.cropped} {content} {self.identity}".encode()).hexdigest()

    @cached_property
    def identity(self) -> str:
        lines = [f"{at} {label}" for at, (_, label) in zip(self.index, self.files, strict=True)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def subset(self, places: Sequence[int]) -> FolderSplit:
        return replace(self, files=[self.files[at] for at in places], index=[self.index[at] for at in places])

    def batches(self, batch_size: int, device: torch.device) -> Iterator[Batch]:
        """Centre crops, the shorter side first resized to 256 / 224 of `size`; no resizing of `cropped` files."""
        from torchvision.transforms import v2

        larger = round(self.size * 256 / 224)
        crop = [] if self.cropped else [v2.Resize(larger, antialias=True), v2.CenterCrop(self.size)]
        return self._load(v2.Compose([*crop, v2.PILToTensor()]), batch_size, device)

    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Iterator[Batch]:
        """Random resized crops with random horizontal flips, shuffled."""
        from torchvision.transforms import v2

        crop = v2.RandomResizedCrop(self.size, antialias=True)
        view = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor()])
        return self._load(view, batch_size, device, seed)

    def _load(self, view: View, batch_size: int, device: torch.device, seed: int | None = None) -> Iterator[Batch]:
        """Batches in the order that `seed` draws, without a short last batch; in order without a seed."""
        batches, is_drawn, pin = math.ceil(len(self) / batch_size), seed is not None, device.type == "cuda"
        loader = torch.utils.data.DataLoader(
            _Files(replace(self, progress=Progress()), view, seed or 0),  # a progress may hold what no process can get
            batch_size,
            shuffle=is_drawn,
            num_workers=count_workers(batches) if batches > 1 else 0,
            pin_memory=pin,
            drop_last=is_drawn and batches > 1,
            generator=None if seed is None else torch.Generator().manual_seed(seed),
            collate_fn=_collated,
        )
        for found in loader:
            if isinstance(found, DataError):
                raise found
            index, images, labels = found
            yield Batch(index, images.to(device, non_blocking=pin), labels.to(device, non_blocking=pin))


def count_workers(batches: int) -> int:
    """Number of processes that load batches: one per core, shared among the processes that `torchrun` starts here.

    A worker decodes, crops and flips about 400 photographs of 500 x 375 a second; a fast device takes thousands.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(batches, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def labels_of(split: Split) -> list[int]:
    """The labels of the images of a split; images are read only for those of a plugin's own kind of split."""
    if isinstance(split, FolderSplit):
        return [label for _, label in split.files]
    parts = [split] if isinstance(split, TensorSplit) else split.batches(1000, torch.device("cpu"))
    return [label for part in parts for label in part.labels.tolist()]


Item = tuple[int, Tensor, int] | DataError
"""Index, image and label; or why the image cannot be read, because an error that a worker raises loses its message."""


@dataclass(frozen=True)
class _Files(torch.utils.data.Dataset[Item]):
    """The dataset of the worker processes; the random numbers of an image depend only on the seed and its index."""

    split: FolderSplit
    view: View
    seed: int

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, place: int) -> Item:
        (file, label), index = self.split.files[place], self.split.index[place]
        try:
            with torch.random.fork_rng(devices=[]), reading(f"the image {file}", DataError):
                torch.manual_seed(self.seed * 1_000_003 + index)
                image = self.view(_rgb(file))
        except DataError as error:
            return error
        if image.shape[1:] != (self.split.size, self.split.size):
            found = "x".join(map(str, image.shape[1:]))
            return DataError(f"{file} has another size", expected=f"{self.split.size}x{self.split.size}", got=found)
        return index, image, label


def _collated(items: list[Item]) -> list[Tensor] | DataError:
    """Index, images and labels of a batch; or the first error."""
    fault = next((item for item in items if isinstance(item, DataError)), None)
    return fault or torch.utils.data.default_collate(items)


def _rgb(file: str) -> Image:
    """An image in RGB as torchvision reads it: transparency and the rotation of EXIF are ignored.

    Grey images of 16 bits are scaled to 8; a `DataError` for those of 32 bits, whose range is not known.
    """
    from PIL import Image

    with open(file, "rb") as source, Image.open(source) as image:
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
            return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            hint = "Convert it to 8 or 16 bits."
            raise DataError(f"{file} has 32 bits a pixel, of no known range", expected="8 or 16", hint=hint)
        is_keyed = image.mode == "P" and "transparency" in image.info  # Pillow warns where it is converted at once
        return (image.convert("RGBA") if is_keyed else image).convert("RGB")
