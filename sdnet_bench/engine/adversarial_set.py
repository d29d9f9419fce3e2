"""Adversarial images on disk: uint8 files in the layout of the -C archives, inside the ball after rounding.

images.npy   (n, H, W, 3) uint8    labels.npy   (n,) int64    index.npy   (n,) int64: index in the split
attack.json  the setting, written last: a set without it is unfinished
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from ..attacks.threat import allows, distance, quantize
from ..data import Batch, Split
from ..data.splits import Augmentation, TensorSplit
from ..errors import DataError
from ..files import make_folder, reading, replacing
from ..records import AttackSetting, Threat
from .evaluate import BATCH_SIZE

ARRAYS = ("images", "labels", "index")
SEAL = "attack.json"


class AdversarialWriter:
    """Writes the adversarial images of a split as they are made; images that are not attacked stay clean.

    Images are rounded to uint8 inside the ball. A new image replaces an earlier one; an unfinished set is continued.
    """

    def __init__(self, folder: Path, split: Split, setting: AttackSetting) -> None:
        self.folder, self.setting = make_folder(folder), setting
        (folder / SEAL).unlink(missing_ok=True)
        self.is_new = not all((folder / f"{name}.npy").exists() for name in ARRAYS)
        """Whether the files of this set did not exist before."""
        if self.is_new:
            _copy(split, folder)
        self._images = open_memmap(folder / "images.npy", mode="r+")
        self._row = {int(index): row for row, index in enumerate(np.load(folder / "index.npy"))}

    def __call__(self, batch: Batch, adversarial: Tensor, wanted: Sequence[bool]) -> None:
        """Writes the `wanted` images of `adversarial`, `(N, 3, H, W)` in [0, 1]."""
        pixels = quantize(self.setting.threat, batch.images, adversarial).permute(0, 2, 3, 1).numpy()
        for index, image, is_wanted in zip(batch.index.tolist(), pixels, wanted, strict=True):
            if is_wanted:
                self._images[self._row[index]] = image
        self._images.flush()

    def seal(self) -> None:
        """Marks the set as finished."""
        with replacing(self.folder / SEAL) as path:
            path.write_text(self.setting.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _copy(split: Split, folder: Path) -> None:
    batches = list(split.batches(BATCH_SIZE, torch.device("cpu")))
    for name in ARRAYS:
        content = torch.cat([getattr(batch, name) for batch in batches])
        content = content.permute(0, 2, 3, 1) if name == "images" else content
        with replacing(folder / f"{name}.npy") as path, path.open("wb") as file:
            np.save(file, content.numpy())


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a finished adversarial set."""
    return (folder / SEAL).exists()


def open_adversarial(folder: Path, clean: Split) -> tuple[TensorSplit, AttackSetting]:
    """An adversarial set and its attack, checked against the clean images.

    Raises:
        DataError: the set is missing, unfinished or damaged, was made of other images, or has images outside the ball.
    """
    with reading(f"an adversarial set in {folder}", DataError, hint="Make one with `attack --save`."):
        setting = AttackSetting.model_validate_json((folder / SEAL).read_text(encoding="utf-8"))
        images, labels, index = (
            torch.from_numpy(np.load(folder / f"{name}.npy", allow_pickle=False)) for name in ARRAYS
        )
    _check_shapes(folder, images, labels, index)
    adversarial = TensorSplit(images.permute(0, 3, 1, 2).contiguous(), labels, index, Augmentation())
    _check_budget(folder, adversarial, clean, setting.threat)
    return adversarial, setting


def _check_shapes(folder: Path, images: Tensor, labels: Tensor, index: Tensor) -> None:
    found = f"{tuple(images.shape)} {images.dtype}, {tuple(labels.shape)}, {tuple(index.shape)}"
    is_right = images.dtype == torch.uint8 and images.ndim == 4 and images.shape[-1] == 3
    if not is_right or not labels.shape == index.shape == (len(images),):
        raise DataError(f"{folder} is damaged", expected="(n, H, W, 3) torch.uint8, (n,), (n,)", got=found)


def _check_budget(folder: Path, adversarial: TensorSplit, clean: Split, threat: Threat) -> None:
    if adversarial.identity != clean.identity:
        raise DataError(f"{folder} was made of other images", expected=f"those of this split, {len(clean):,}")
    cpu = torch.device("cpu")
    for ours, theirs in zip(adversarial.batches(BATCH_SIZE, cpu), clean.batches(BATCH_SIZE, cpu), strict=True):
        pair = theirs.images.cpu().double() / 255, ours.images.cpu().double() / 255
        if not bool(allows(threat, *pair).all()):
            furthest = float(distance(threat, *pair).max())
            raise DataError(f"{folder} leaves its budget", expected=f"{threat.norm} <= {threat.eps:g}", got=furthest)
