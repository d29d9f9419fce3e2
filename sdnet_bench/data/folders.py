"""Splits of image folders: worker processes decode, resize and crop the files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import DataError
from .splits import Batch

if TYPE_CHECKING:
    from PIL.Image import Image

View = Callable[["Image"], Tensor]
"""Maps a PIL image to `(3, size, size)` uint8."""


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """A split of image files.

    Args:
        files: (path, label) of each image.
        index: index of each image in the whole split.
        size: side of the returned square images.
        cropped: whether the files have that size already and are not resized.
    """

    files: Sequence[tuple[str, int]]
    index: Sequence[int]
    size: int
    cropped: bool = False

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def digest(self) -> str:
        """Digest of names, file sizes and labels, because hashing the pixels would take too long."""
        lines = [f"{Path(file).name} {os.path.getsize(file)} {label}" for file, label in self.files]
        return hashlib.sha256("\n".join([str(self.size), *lines]).encode()).hexdigest()

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
        return self._load(_Files(self, v2.Compose([*crop, v2.PILToTensor()]), seed=0), batch_size, device)

    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Iterator[Batch]:
        """Random resized crops with random horizontal flips, shuffled."""
        from torchvision.transforms import v2

        crop = v2.RandomResizedCrop(self.size, antialias=True)
        view = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor()])
        return self._load(_Files(self, view, seed), batch_size, device, torch.Generator().manual_seed(seed))

    def _load(
        self, files: _Files, batch_size: int, device: torch.device, order: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Batches in the order that the generator `order` draws, without a short last batch; in order without it."""
        several, is_drawn = len(self) > batch_size, order is not None
        pin = device.type == "cuda"
        loader = torch.utils.data.DataLoader(
            files,
            batch_size,
            shuffle=is_drawn,
            num_workers=min(8, os.cpu_count() or 1) if several else 0,
            pin_memory=pin,
            drop_last=is_drawn and several,
            generator=order,
        )
        try:
            for index, images, labels in loader:
                yield Batch(index, images.to(device, non_blocking=pin), labels.to(device, non_blocking=pin))
        except DataError as error:  # without the traceback of the worker
            raise DataError(str(error).rsplit("DataError: ", 1)[-1]) from None


@dataclass(frozen=True)
class _Files(torch.utils.data.Dataset[tuple[int, Tensor, int]]):
    """The dataset of the worker processes; the random numbers of an image depend only on the seed and its index."""

    split: FolderSplit
    view: View
    seed: int

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, place: int) -> tuple[int, Tensor, int]:
        (file, label), index = self.split.files[place], self.split.index[place]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + index)
            image = self.view(_read(file))
        if image.shape[1:] != (self.split.size, self.split.size):
            found = "x".join(map(str, image.shape[1:]))
            raise DataError(f"{file} has another size", expected=f"{self.split.size}x{self.split.size}", got=found)
        return index, image, label


def _read(file: str) -> Image:
    from torchvision.datasets.folder import pil_loader

    try:
        image: Image = pil_loader(file)
        return image
    except OSError as error:
        raise DataError(f"cannot read the image {file}: {error}") from None
