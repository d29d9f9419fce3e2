"""Splits of a data set as sources of batches of images `(N, 3, H, W)` uint8 on the device.

`TensorSplit` holds a small data set as tensors, which are augmented on the device in whole batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import check_size


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images of a split."""

    index: Tensor
    """`(N,)` int64: index of each image in the whole split of the data set."""
    images: Tensor
    """`(N, 3, H, W)` uint8."""
    labels: Tensor
    """`(N,)` int64."""

    def parts(self, size: int) -> Iterator[Batch]:
        """Batches of at most so many of the images, in order."""
        return map(Batch, *(torch.split(each, size) for each in (self.index, self.images, self.labels)))


class Split(Protocol):
    """The interface of a split that training and evaluation use."""

    @property
    def digest(self) -> str:
        """Digest of images, labels and index."""

    @property
    def identity(self) -> str:
        """Digest of index and labels only, which identifies the images independently of their pixels."""

    def __len__(self) -> int: ...

    def subset(self, places: Sequence[int]) -> Split:
        """The images at the given places of this split, in that order. They keep their index."""

    def batches(self, batch_size: int, device: torch.device) -> Iterator[Batch]:
        """Batches of all images in order, unchanged."""

    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Iterator[Batch]:
        """One epoch: every image once, shuffled and augmented as `seed` says; a last short batch is dropped."""


def limited(split: Split, limit: int | None) -> Split:
    """`limit` images spread evenly over the split; all images for None or a larger limit, a `UsageError` for 0."""
    if limit is not None:
        check_size("limit", limit)
    if limit is None or limit >= len(split):
        return split
    return split.subset([place * len(split) // limit for place in range(limit)])


@dataclass(frozen=True)
class Augmentation:
    """Zero-padding by `pad` pixels, a random crop of the old size, and a random horizontal flip."""

    pad: int = 4
    flip: bool = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augments images `(N, 3, H, W)`, each with its own crop and flip, without a loop over images."""
        count, channels, height, width = images.shape
        device = images.device
        rows, columns = self._source(count, height, generator), self._source(count, width, generator)
        if self.flip:
            flipped = torch.randint(2, (count, 1), generator=generator, device=device) == 1
            columns = torch.where(flipped, columns.flip(1), columns)
        image = torch.arange(count, device=device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
        padded = F.pad(images, [self.pad] * 4)
        return padded[image, channel, rows.view(-1, 1, height, 1), columns.view(-1, 1, 1, width)]

    def _source(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """`(count, side)`: indices of the rows (or columns) of the padded images in each crop."""
        device = generator.device
        start = torch.randint(2 * self.pad + 1, (count, 1), generator=generator, device=device)
        return start + torch.arange(side, device=device)


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """A split that fits into memory."""

    images: Tensor
    """`(n, 3, H, W)` uint8."""
    labels: Tensor
    """`(n,)` int64."""
    index: Tensor
    """`(n,)` int64: index of each image in the whole split of the data set."""
    augmentation: Augmentation
    """Of the images of `augmented`."""

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        content = hashlib.sha256(self.images.numpy().tobytes())
        content.update(self.labels.numpy().tobytes() + self.index.numpy().tobytes())
        return content.hexdigest()

    @cached_property
    def identity(self) -> str:
        return hashlib.sha256(self.labels.numpy().tobytes() + self.index.numpy().tobytes()).hexdigest()

    def subset(self, places: Sequence[int]) -> TensorSplit:
        at = torch.as_tensor(places, dtype=torch.int64)
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
        """The whole split on the device, moved there at the first call."""
        if device not in self._kept:
            self._kept[device] = Batch(self.index.to(device), self.images.to(device), self.labels.to(device))
        return self._kept[device]

    @cached_property
    def _kept(self) -> dict[torch.device, Batch]:
        return {}
