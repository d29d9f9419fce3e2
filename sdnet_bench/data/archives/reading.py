"""Reads the images and labels of an archive from the disk, and checks them before use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...files import reading
from ..corruptions import SEVERITIES
from ..folders import FolderSplit, class_names, labelled, labels_of
from ..splits import Augmentation, Split, TensorSplit, limited
from .manifest import Manifest
from .table import LABELS, Archive, find_archive


def open_archive(name: str, corruption: str, severity: int, data_dir: Path, clean: Split | None = None) -> Split:
    """The images of one corruption and severity (1 to 5), each with its place in the clean test split as its index.

    Args:
        name: name of an archive, or of the data set that it belongs to.
        clean: the clean test split, whose classes and labels the images must have.

    Raises:
        UsageError: there is no such archive, corruption or severity.
        DataError: the images are missing or damaged, or are others than those of `clean`.
    """
    archive = find_archive(name)
    member = archive.member(corruption)
    if severity not in SEVERITIES:
        raise UsageError("severity out of range", expected="1 to 5", got=severity)
    if not archive.path(data_dir, member).exists():
        raise DataError(f"{archive.name} in {data_dir} has no {member}", hint=_ways(archive, corruption))
    split = (_open_folders if archive.layout == "folders" else _open_arrays)(archive, member, severity, data_dir)
    if clean:
        _require_same_labels(archive.folder(data_dir), split, limited(clean, len(split)))
    return split


def _open_folders(archive: Archive, member: str, severity: int, data_dir: Path) -> FolderSplit:
    classes, files = folder_files(archive, data_dir, member, severity)
    return FolderSplit(files, places(archive, data_dir), archive.side, classes, cropped=True)


def _open_arrays(archive: Archive, member: str, severity: int, data_dir: Path) -> TensorSplit:
    count = count_images(archive, data_dir)
    rows = slice((severity - 1) * count, severity * count)
    images = torch.from_numpy(array_rows(archive, data_dir, member)[rows]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(array_labels(archive, data_dir))[rows]
    return TensorSplit(images, labels, torch.tensor(places(archive, data_dir)), Augmentation())


def _require_same_labels(folder: Path, split: Split, clean: Split) -> None:
    """Raises a `DataError` where images of an archive have other labels than the clean ones, or other classes."""
    is_alike = labels_of(split) == labels_of(clean)
    if isinstance(split, FolderSplit) and isinstance(clean, FolderSplit):
        is_alike &= list(split.classes) == list(clean.classes)
    if not is_alike:
        hint = "Fetch or generate it again, or name the folder of its clean images with --data-dir."
        raise DataError(f"{folder} belongs to other images: its labels are not those of the test split", hint=hint)


def _ways(archive: Archive, corruption: str) -> str:
    words = f"{archive.name} --corruption {corruption}"
    fetch = f"Get it with `sdnet-bench data fetch {words}`"
    return f"{fetch}, or make it with `sdnet-bench data generate {words}`." if archive.dataset else f"{fetch}."


def count_images(archive: Archive, data_dir: Path) -> int:
    """The number of images of a severity: all, or as many as the manifest says."""
    manifest = Manifest.read(archive.folder(data_dir))
    return manifest.images if manifest else archive.images


def places(archive: Archive, data_dir: Path) -> Sequence[int]:
    """The place of each image of a severity in the clean test split: all places, or those of the manifest."""
    manifest = Manifest.read(archive.folder(data_dir))
    return manifest.places if manifest else range(archive.images)


def array_rows(archive: Archive, data_dir: Path, member: str) -> NDArray[np.uint8]:
    """The images of a member, `(5 n, side, side, 3)` uint8, memory-mapped; changes are not written to the disk."""
    path, count = archive.path(data_dir, member), len(SEVERITIES) * count_images(archive, data_dir)
    rows, shape = _mapped(path), (count, archive.side, archive.side, 3)
    if rows.dtype != np.uint8 or rows.shape != shape:
        raise _damaged(path, expected=f"uint8 {shape}", got=f"{rows.dtype} {rows.shape}")
    return rows


def array_labels(archive: Archive, data_dir: Path) -> NDArray[np.int64]:
    """`(5 n,)` int64: the labels of the clean images, repeated for the five severities."""
    path, images = archive.path(data_dir, LABELS), count_images(archive, data_dir)
    if not path.exists():
        hint = f"Get them with `sdnet-bench data fetch {archive.name}`."
        raise DataError(f"{archive.name} in {data_dir} has no labels", expected=path, hint=hint)
    labels = _mapped(path)
    if labels.dtype.kind not in "iu" or labels.shape != (5 * images,):
        raise _damaged(path, expected=f"integers {(5 * images,)}", got=f"{labels.dtype} {labels.shape}")
    if (labels.reshape(5, images) != labels[:images]).any():
        raise _damaged(path, expected="the same labels five times")
    if labels.min() < 0 or labels.max() >= archive.classes:
        raise _damaged(path, expected=f"labels 0 to {archive.classes - 1}", got=f"{labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def _mapped(path: Path) -> NDArray[Any]:
    with reading(path, DataError, _remedy(path)):
        return np.lib.format.open_memmap(path, mode="c")


def folder_files(
    archive: Archive, data_dir: Path, member: str, severity: int
) -> tuple[list[str], list[tuple[str, int]]]:
    """The class names, and (path, label) of the images of one severity, by class and name."""
    root, manifest = archive.path(data_dir, member) / str(severity), Manifest.read(archive.folder(data_dir))
    classes = class_names(root) if root.is_dir() else []
    expected = (manifest and manifest.classes) or archive.classes
    if len(classes) != expected:
        raise _damaged(root, expected=f"{expected} classes", got=len(classes))
    files, images = labelled(root, classes), count_images(archive, data_dir)
    if len(files) != images:
        raise _damaged(root, expected=f"{images} images", got=len(files))
    return classes, files


def _damaged(path: Path, *, expected: object = None, got: object = None) -> DataError:
    return DataError(f"{path} is damaged", expected=expected, got=got, hint=_remedy(path))


def _remedy(path: Path) -> str:
    return f"Remove {path} and fetch or generate it again."
