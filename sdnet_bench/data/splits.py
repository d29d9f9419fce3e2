"""A split of a data set as a source of batches: images of `(N, 3, H, W)` uint8 on the device.

Small sets are held as tensors and cropped and flipped on the device in whole batches; image folders are
decoded by worker processes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Some images of a split."""

    index: Tensor
    """`(N,)` int64: where each image stands in the whole split of the data set."""
    images: Tensor
    """`(N, 3, H, W)` uint8."""
    labels: Tensor
    """`(N,)` int64."""


class Split(Protocol):
    """What training and evaluation need of a data set."""

    @property
    def digest(self) -> str:
        """Of the content: images, labels and which of them are taken."""

    def __len__(self) -> int: ...

    def subset(self, places: Sequence[int]) -> Split:
        """The images at the given places of this split, in that order. They keep their index."""

    def batches(self, batch_size: int, device: torch.device) -> Iterator[Batch]:
        """Every image once, in order, unchanged."""

    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Iterator[Batch]:
        """One epoch: every image once, shuffled and augmented as `seed` says; a last short batch is dropped."""


def limited(split: Split, limit: int | None) -> Split:
    """`limit` images spread evenly over the split; all where None or more than there are."""
    if limit is None or limit >= len(split):
        return split
    return split.subset([place * len(split) // limit for place in range(limit)])


@dataclass(frozen=True)
class Augmentation:
    """Zero-padding by `pad` pixels and a random crop of the old size, then a horizontal flip or none."""

    pad: int = 4
    flip: bool = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """`(N, 3, H, W)` to the same, each image cropped and flipped on its own, without a loop over images."""
        count, channels, height, width = images.shape
        device = images.device
        rows = self._source(count, height, generator)
        columns = self._source(count, width, generator)
        if self.flip:
            flipped = torch.randint(2, (count, 1), generator=generator, device=device) == 1
            columns = torch.where(flipped, columns.flip(1), columns)
        image = torch.arange(count, device=device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
        padded = F.pad(images, [self.pad] * 4)
        return padded[image, channel, rows.view(-1, 1, height, 1), columns.view(-1, 1, 1, width)]

    def _source(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """`(count, side)`: which rows, or columns, of the padded images each crop takes."""
        device = generator.device
        start = torch.randint(2 * self.pad + 1, (count, 1), generator=generator, device=device)
        return start + torch.arange(side, device=device)


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """A split that fits into memory. `index` says where each image stands in the whole split."""

    images: Tensor
    labels: Tensor
    index: Tensor
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        content = hashlib.sha256(self.images.numpy().tobytes())
        content.update(self.labels.numpy().tobytes() + self.index.numpy().tobytes())
        return content.hexdigest()

    def subset(self, places: Sequence[int]) -> TensorSplit:
        at = torch.as_tensor(places)
        return TensorSplit(self.images[at], self.labels[at], self.index[at], self.augmentation)

    def batches(self, batch_size: int, device: torch.device) -> Iterator[Batch]:
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield Batch(self.index[part], self.images[part].to(device), self.labels[part].to(device))

    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Iterator[Batch]:
        generator = torch.Generator(device).manual_seed(seed)
        resident = self._resident(device)
        order = torch.randperm(len(self), generator=generator, device=device)
        for start in range(0, max(1, len(self) - batch_size + 1), batch_size):
            at = order[start : start + batch_size]
            images = self.augmentation(resident.images[at], generator)
            yield Batch(resident.index[at], images, resident.labels[at])

    def _resident(self, device: torch.device) -> Batch:
        """The whole split on the device: moved there at the first call, and kept."""
        if device not in self._kept:
            self._kept[device] = Batch(self.index.to(device), self.images.to(device), self.labels.to(device))
        return self._kept[device]

    @cached_property
    def _kept(self) -> dict[torch.device, Batch]:
        return {}


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """A split of image files, decoded by worker processes: `ImageFolder`'s list of (path, class)."""

    files: Sequence[tuple[str, int]]
    index: Sequence[int]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def digest(self) -> str:
        """Of names, sizes and classes: hashing a hundred gigabytes of pixels would take an hour."""
        lines = [f"{Path(file).name} {os.path.getsize(file)} {label}" for file, label in self.files]
        return hashlib.sha256("\n".join([str(self.size), *lines]).encode()).hexdigest()

    def subset(self, places: Sequence[int]) -> FolderSplit:
        return FolderSplit([self.files[at] for at in places], [self.index[at] for at in places], self.size)

    def batches(self, batch_size: int, device: torch.device) -> Iterator[Batch]:
        return self._load(self._evaluation_view(), batch_size, device)

    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        options = {"shuffle": True, "generator": generator, "drop_last": len(self) > batch_size}
        return self._load(self._training_view(), batch_size, device, **options)

    def _evaluation_view(self) -> Callable[[Any], Tensor]:
        """Resize the shorter side by 256 / 224, crop the centre."""
        from torchvision.transforms import v2

        larger = round(self.size * 256 / 224)
        return v2.Compose([v2.Resize(larger, antialias=True), v2.CenterCrop(self.size), v2.PILToTensor()])  # type: ignore[no-any-return]

    def _training_view(self) -> Callable[[Any], Tensor]:
        from torchvision.transforms import v2

        return v2.Compose(  # type: ignore[no-any-return]
            [v2.RandomResizedCrop(self.size, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        )

    def _load(
        self, view: Callable[[Any], Tensor], batch_size: int, device: torch.device, **options: Any
    ) -> Iterator[Batch]:
        loader = torch.utils.data.DataLoader(
            _Files(self.files, self.index, view),
            batch_size,
            num_workers=min(8, os.cpu_count() or 1) if len(self) > batch_size else 0,
            pin_memory=device.type == "cuda",
            **options,
        )
        for index, images, labels in loader:
            yield Batch(index, images.to(device, non_blocking=True), labels.to(device, non_blocking=True))


@dataclass(frozen=True)
class _Files(torch.utils.data.Dataset[tuple[int, Tensor, int]]):
    files: Sequence[tuple[str, int]]
    index: Sequence[int]
    view: Callable[[Any], Tensor]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[int, Tensor, int]:
        from torchvision.datasets.folder import pil_loader

        file, label = self.files[place]
        return self.index[place], self.view(pil_loader(file)), label
