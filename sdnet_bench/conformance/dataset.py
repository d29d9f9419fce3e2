"""The contract of a data set: three disjoint, deterministic splits of uint8 images with labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from ..data import CORRUPTIONS, Batch, Dataset, Split, limited, open_dataset
from ..data.datasets import Which
from .findings import Check

CPU = torch.device("cpu")
SOME, MANY = 256, 5000
SHARED = 0.01
"""Largest share of test images that may occur among the training images; real data sets have a few duplicates."""
WHICH: tuple[Which, ...] = get_args(Which)


@dataclass(frozen=True)
class DatasetSubject:
    """A data set by name, and the folder of its files."""

    name: str
    data_dir: Path

    def open(self) -> Dataset:
        return open_dataset(self.name, self.data_dir)

    def split(self, which: Which, limit: int = SOME) -> Split:
        """Some images of a split, spread evenly over it."""
        return limited(self.open().open(which), limit)


def _opens(subject: DatasetSubject) -> str | None:
    dataset: object = subject.open()
    if not isinstance(dataset, Dataset):
        return type(dataset).__name__
    return None if dataset.name == subject.name else f"one that is called {dataset.name!r}"


def _has_three_splits(subject: DatasetSubject) -> str | None:
    empty = [which for which in WHICH if not len(subject.open().open(which))]
    return f"an empty {empty[0]} split" if empty else None


def _has_images(subject: DatasetSubject) -> str | None:
    for which in WHICH:
        images = _whole(subject.split(which)).images
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            return f"{images.dtype} {tuple(images.shape)} in {which}"
    return None


def _has_labels(subject: DatasetSubject) -> str | None:
    classes = subject.open().num_classes
    for which in WHICH:
        labels = _whole(subject.split(which, MANY)).labels
        if labels.dtype != torch.int64 or labels.ndim != 1:
            return f"{labels.dtype} {tuple(labels.shape)} in {which}"
        if labels.min() < 0 or labels.max() >= classes:
            return f"{int(labels.min())} to {int(labels.max())} in {which}, and {classes} classes"
    return None


def _has_its_family(subject: DatasetSubject) -> str | None:
    family = subject.open().family
    known = {family for corruption in CORRUPTIONS.ours.values() for family in corruption.severities}
    return None if family in known else f"{family!r}; known: {', '.join(sorted(known))}"


def _knows_its_pixels(subject: DatasetSubject) -> str | None:
    dataset, pixels = subject.open(), _whole(subject.split("train")).images / 255.0
    if len(dataset.mean) != 3 or len(dataset.std) != 3 or not all(math.isfinite(s) and s > 0 for s in dataset.std):
        return f"mean {dataset.mean}, std {dataset.std}"
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    off = (mean - torch.tensor(dataset.mean)).abs() > 0.1
    off |= (std / torch.tensor(dataset.std)).log().abs() > math.log(1.5)
    return f"mean {_shown(mean)}, std {_shown(std)} of {len(pixels)} training images" if off.any() else None


def _keeps_splits_apart(subject: DatasetSubject) -> str | None:
    dataset = subject.open()
    digests = {which: dataset.open(which).digest for which in WHICH}
    if len(set(digests.values())) < len(WHICH):
        return "two splits of the same content"
    known = {*_fingerprints(subject.split("train", MANY)), *_fingerprints(subject.split("validation", MANY))}
    test = _fingerprints(subject.split("test", MANY))
    shared = sum(print_ in known for print_ in test)
    return f"{shared} of {len(test)} test images among those of training" if shared > SHARED * len(test) else None


def _holds_validation_out(subject: DatasetSubject) -> str | None:
    train, validation = (_whole(subject.split(which, MANY)).index.tolist() for which in ("train", "validation"))
    shared = {*train} & {*validation}
    return f"index {min(shared)} in both" if shared else None


def _is_always_the_same(subject: DatasetSubject) -> str | None:
    for which in WHICH:
        one, other = subject.open().open(which), subject.open().open(which)
        if (one.digest, one.identity) != (other.digest, other.identity):
            return f"another digest of {which} the second time"
        if not _equal(_whole(limited(one, SOME), 7), _whole(limited(other, SOME), 64)):
            return f"other images of {which} in batches of another size"
    return None


def _takes_subsets(subject: DatasetSubject) -> str | None:
    for which in WHICH:
        split = subject.open().open(which)
        first = next(iter(split.batches(8, CPU)))
        places = [len(first.labels) - 1, 0]
        part = split.subset(places)
        if not _equal(_whole(part), Batch(first.index[places], first.images[places], first.labels[places])):
            return f"other images, labels or index in {which}"
        if part.digest == split.digest:
            return f"the digest of the whole {which} split"
    return None


def _augments_by_seed(subject: DatasetSubject) -> str | None:
    split = subject.open().open("train")
    once, again, other = (_joined([*islice(split.augmented(32, CPU, seed), 4)]) for seed in (0, 0, 1))
    if not _equal(once, again):
        return "other batches from the same seed"
    if torch.equal(once.index, other.index):
        return "the same order from another seed"
    same = once.images.dtype == torch.uint8 and once.images.shape[1:] == _whole(subject.split("train")).images.shape[1:]
    return None if same else f"{once.images.dtype} {tuple(once.images.shape)}"


def _shows_all_images(subject: DatasetSubject) -> str | None:
    split = subject.split("train")
    shown = _joined([*split.augmented(32, CPU, 0)]).index.tolist()
    complete = len(shown) == len(set(shown)) and {*shown} <= {*_whole(split).index.tolist()}
    if complete and len(split) - len(shown) < 32:
        return None
    return f"{len(set(shown))} different ones of {len(split)} in an epoch of {len(shown)}"


def _whole(split: Split, batch_size: int = 64) -> Batch:
    return _joined([*split.batches(batch_size, CPU)])


def _joined(batches: list[Batch]) -> Batch:
    index, images, labels = zip(*((each.index, each.images, each.labels) for each in batches), strict=True)
    return Batch(torch.cat(index), torch.cat(images), torch.cat(labels))


def _equal(one: Batch, other: Batch) -> bool:
    pairs = ((one.index, other.index), (one.images, other.images), (one.labels, other.labels))
    return all(torch.equal(*pair) for pair in pairs)


def _fingerprints(split: Split) -> list[bytes]:
    return [image.numpy().tobytes() for image in _whole(split).images]


def _shown(values: Tensor) -> str:
    return ", ".join(f"{value:.3f}" for value in values.tolist())


DATASET_CHECKS = (
    Check("opens", "a sdnet_bench.data.Dataset of that name", _opens, "stop"),
    Check("splits", "images in the splits train, validation and test", _has_three_splits, "stop"),
    Check("images", "uint8 images (N, 3, H, W)", _has_images, "stop"),
    Check("labels", "int64 labels (N,) from 0 to num_classes - 1", _has_labels),
    Check("family", "a family whose severities corruptions know", _has_its_family),
    Check("statistics", "mean and std of the pixels in [0, 1], per channel", _knows_its_pixels, "warn"),
    Check("apart", "no test image among those of training and validation", _keeps_splits_apart),
    Check("held out", "another index for every image of train and validation", _holds_validation_out),
    Check("determinism", "the same content each time it is opened, in batches of any size", _is_always_the_same),
    Check("subset", "the images at the given places, in that order, with their index", _takes_subsets),
    Check("augmented", "training images shuffled and augmented by the seed alone, of the old size", _augments_by_seed),
    Check("epoch", "every training image once in an epoch, but for a last short batch", _shows_all_images),
)
