"""Reads the images and labels of an archive from the disk, and checks them before use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ..corruptions import SEVERITIES
from ..folders import FolderSplit
from ..splits import Augmentation, Split, TensorSplit
from .manifest import Manifest
from .table import LABELS, Archive, find_archive


def open_archive(name: str, corruption: str, severity: int, data_dir: Path) -> Split:
    """The images of one corruption and severity (1 to 5), each with its place in the clean test split as its index.

    `name` is that of an archive, or of the data set that it belongs to.

    Raises:
        UsageError: there is no such archive, corruption or severity.
        DataError: the images are missing or damaged.
    """
    archive = find_archive(name)
    member = archive.member(corruption)
    if severity not in SEVERITIES:
        raise UsageError("severity out of range", expected="1 to 5", got=severity)
    if not archive.path(data_dir, member).exists():
        raise DataError(f"{archive.name} in {data_dir} has no {member}", hint=_ways(archive, corruption))
    index = places(archive, data_dir)
    if archive.layout == "folders":
        return FolderSplit(folder_files(archive, data_dir, member, severity), index, archive.side, cropped=True)
    rows = slice((severity - 1) * len(index), severity * len(index))
    images = torch.from_numpy(array_rows(archive, data_dir, member)[rows]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(array_labels(archive, data_dir))[rows]
    return TensorSplit(images, labels, torch.tensor(index), Augmentation())


def _ways(archive: Archive, corruption: str) -> str:
    words = f"{archive.name} --corruption {corruption}"
    fetch = f"Get it with `sdnet-bench data fetch {words}`"
    return f"{fetch}, or make it with `sdnet-bench data generate {words}`." if archive.dataset else f"{fetch}."


def places(archive: Archive, data_dir: Path) -> Sequence[int]:
    """The place of each image of a severity in the clean test split: all places, or those of the manifest."""
    manifest = Manifest.read(archive.folder(data_dir))
    return manifest.places if manifest else range(archive.images)


def array_rows(archive: Archive, data_dir: Path, member: str) -> NDArray[np.uint8]:
    """The images of a member, `(5 n, side, side, 3)` uint8, memory-mapped; changes are not written to the disk."""
    path, count = archive.path(data_dir, member), len(SEVERITIES) * len(places(archive, data_dir))
    rows, shape = _mapped(path), (count, archive.side, archive.side, 3)
    if rows.dtype != np.uint8 or rows.shape != shape:
        raise _damaged(path, expected=f"uint8 {shape}", got=f"{rows.dtype} {rows.shape}")
    return rows


def array_labels(archive: Archive, data_dir: Path) -> NDArray[np.int64]:
    """`(5 n,)` int64: the labels of the clean images, repeated for the five severities."""
    path, images = archive.path(data_dir, LABELS), len(places(archive, data_dir))
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
    try:
        return np.lib.format.open_memmap(path, mode="c")
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, got=str(error).rstrip(".")) from None


def folder_files(archive: Archive, data_dir: Path, member: str, severity: int) -> list[tuple[str, int]]:
    """(path, label) of the images of one severity, sorted by class and name."""
    root, images = archive.path(data_dir, member) / str(severity), len(places(archive, data_dir))
    classes = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if len(classes) != archive.classes:
        raise _damaged(root, expected=f"{archive.classes} classes", got=len(classes))
    files = [(str(path), label) for label, folder in enumerate(classes) for path in sorted(folder.glob("[!.]*"))]
    if len(files) != images:
        raise _damaged(root, expected=f"{images} images", got=len(files))
    return files


def _damaged(path: Path, *, expected: object = None, got: object = None) -> DataError:
    hint = f"Remove {path} and fetch or generate it again."
    return DataError(f"{path} is damaged", expected=expected, got=got, hint=hint)
