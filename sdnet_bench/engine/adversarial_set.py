"""Adversarial images on disk: uint8 files in the layout of the -C archives, inside the ball after rounding.

images.npy   (n, H, W, 3) uint8    labels.npy   (n,) int64    index.npy   (n,) int64: index in the split
attack.json  the setting and the sha256 of images.npy, written last: a set without it is unfinished
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from ..attacks.threat import allows, distance, quantize
from ..data import Batch, Split
from ..data.splits import Augmentation, TensorSplit
from ..errors import DataError
from ..files import make_folder, reading, replacing
from ..records import AttackSetting, Threat
from .batches import BATCH_SIZE

ARRAYS = ("images", "labels", "index")
SEAL = "attack.json"
AGAIN = "Remove the folder, and make the set with `attack --save`."


class Seal(AttackSetting):
    """The content of `attack.json`."""

    images_sha256: str | None = None
    """Of images.npy; None in sets of earlier versions."""


class AdversarialWriter:
    """Writes the adversarial images of a split as they are made; images that are not attacked stay clean.

    Images are rounded to uint8 inside the ball. A new image replaces an earlier one; an unfinished set is continued.
    """

    def __init__(self, folder: Path, split: Split, setting: AttackSetting) -> None:
        self.folder, self.setting = make_folder(folder), setting
        (folder / SEAL).unlink(missing_ok=True)
        self.is_new = not _is_read(lambda: _load(folder, split))
        """Whether the set was begun anew, because it did not exist, or was damaged."""
        if self.is_new:
            _copy(split, folder)
        self._images = open_memmap(folder / "images.npy", mode="r+")
        self._row = {int(index): row for row, index in enumerate(_array(folder, "index"))}

    def __call__(self, batch: Batch, adversarial: Tensor, wanted: Sequence[bool]) -> None:
        """Writes the `wanted` images of `adversarial`, `(N, 3, H, W)` in [0, 1]."""
        pixels = quantize(self.setting.threat, batch.images, adversarial).permute(0, 2, 3, 1).numpy()
        for index, image, is_wanted in zip(batch.index.tolist(), pixels, wanted, strict=True):
            if is_wanted:
                self._images[self._row[index]] = image
        self._images.flush()

    def seal(self) -> None:
        """Marks the set as finished."""
        seal = Seal(**dict(self.setting), images_sha256=_images_sha256(self.folder))
        with replacing(self.folder / SEAL) as path:
            path.write_text(seal.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _copy(split: Split, folder: Path) -> None:
    batches = list(split.batches(BATCH_SIZE, torch.device("cpu")))
    for name in ARRAYS:
        content = torch.cat([getattr(batch, name) for batch in batches])
        content = content.permute(0, 2, 3, 1) if name == "images" else content
        with replacing(folder / f"{name}.npy") as path, path.open("wb") as file:
            np.save(file, content.numpy())


def _array(folder: Path, name: str) -> NDArray[np.generic]:
    """An array of a set, mapped copy-on-write; a ValueError where its header promises more than the file holds."""
    return open_memmap(folder / f"{name}.npy", mode="c")


def _is_read(read: Callable[[], object]) -> bool:
    """Whether something is read without an error."""
    try:
        with reading("a set", DataError):
            read()
    except DataError:
        return False
    return True


def _load(folder: Path, clean: Split) -> TensorSplit:
    """The images of a set; a `DataError` where they are not those of the clean split, by labels, index and size."""
    images, labels, index = (torch.from_numpy(_array(folder, name)) for name in ARRAYS)
    found = f"{tuple(images.shape)} {images.dtype}, {tuple(labels.shape)}, {tuple(index.shape)}"
    first = next(clean.subset([0]).batches(1, torch.device("cpu"))).images
    shape = (len(labels), *first.shape[2:], 3)
    if images.dtype != torch.uint8 or images.shape != shape or not labels.shape == index.shape == (len(images),):
        raise DataError(f"{folder} is damaged", expected=f"{shape} torch.uint8, (n,), (n,)", got=found, hint=AGAIN)
    adversarial = TensorSplit(images.permute(0, 3, 1, 2), labels, index, Augmentation())
    if adversarial.identity != clean.identity:
        expected = f"those of this split, {len(clean):,}"
        raise DataError(f"{folder} was made of other images", expected=expected, hint=AGAIN)
    return adversarial


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a finished adversarial set, with arrays of the sizes that their headers say."""
    return _is_read(lambda: [_seal(folder), *(_array(folder, name) for name in ARRAYS)])


def _seal(folder: Path) -> Seal:
    return Seal.model_validate_json((folder / SEAL).read_bytes())


def _images_sha256(folder: Path) -> str:
    with (folder / "images.npy").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_adversarial(folder: Path, clean: Split) -> tuple[TensorSplit, AttackSetting]:
    """An adversarial set and its attack, checked against the clean images.

    Raises:
        DataError: the set is missing, unfinished, damaged or changed, was made of other images, or has images outside
            the ball.
    """
    with reading(f"an adversarial set in {folder}", DataError, hint=AGAIN):
        seal, mapped = _seal(folder), _load(folder, clean)
        adversarial = replace(mapped, images=mapped.images.contiguous())
        _check_budget(folder, adversarial, clean, seal.threat)
        if seal.images_sha256 not in (None, got := _images_sha256(folder)):
            what = f"the images in {folder} were changed"
            raise DataError(what, expected=f"sha256 {seal.images_sha256}", got=got, hint=AGAIN)
    return adversarial, AttackSetting(**seal.model_dump(exclude={"images_sha256"}))


def _check_budget(folder: Path, adversarial: TensorSplit, clean: Split, threat: Threat) -> None:
    cpu = torch.device("cpu")
    for ours, theirs in zip(adversarial.batches(BATCH_SIZE, cpu), clean.batches(BATCH_SIZE, cpu), strict=True):
        pair = theirs.images.cpu().double() / 255, ours.images.cpu().double() / 255
        if not bool(allows(threat, *pair).all()):
            furthest = float(distance(threat, *pair).max())
            expected = f"{threat.norm} <= {threat.eps:g}"
            raise DataError(f"{folder} leaves its budget", expected=expected, got=furthest, hint=AGAIN)
