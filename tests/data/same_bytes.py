"""Which corrupted images are the same bytes with other libraries and on other processors.

    python tests/data/same_bytes.py write here.npz     in each environment; SDNET_BENCH_DATA names CIFAR-10's folder
    python tests/data/same_bytes.py compare here.npz there.npz ...

`compare` prints, for each corruption, the share of values that differ from those of the first file, and by how many
grey levels at most.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdnet_bench.data import CORRUPTIONS, open_dataset
from sdnet_bench.data.corruptions import corrupt
from sdnet_bench.data.splits import limited

IMAGES, SEVERITIES = 60, (1, 3, 5)


def write(path: Path) -> None:
    """Writes all corruptions of some test images of CIFAR-10, `(severities, N, 3, H, W)` uint8 each."""
    import torch

    split = limited(open_dataset("cifar10", Path(os.environ["SDNET_BENCH_DATA"])).open("test"), IMAGES)
    (batch,) = split.batches(IMAGES, torch.device("cpu"))
    pairs = list(zip(batch.images.numpy(), batch.index.tolist(), strict=True))
    made = {
        name: [[corrupt(name, image, level=level, seed=0, index=at) for image, at in pairs] for level in levels]
        for name in CORRUPTIONS
        for family in ["cifar" if "cifar" in CORRUPTIONS[name].severities else "imagenet"]
        for levels in [[CORRUPTIONS[name].level(family, severity) for severity in SEVERITIES]]
    }
    np.savez_compressed(path, **{name: np.array(images) for name, images in made.items()})


def compare(paths: Sequence[Path]) -> list[str]:
    """The rows of the table of docs/reliability.md: corruptions that differ anywhere, and how many do not."""
    first, *others = [np.load(path) for path in paths]
    found = {name: [difference(first[name], other[name]) for other in others] for name in first.files}
    differing = {name: texts for name, texts in found.items() if any(text != "same" for text in texts)}
    rows = [f"| `{name}` | {' | '.join(texts)} |" for name, texts in differing.items()]
    left = f"the other {len(found) - len(differing)}" if differing else f"all {len(found)}"
    return [*rows, f"| {left} |{' same |' * len(others)}"]


def difference(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> str:
    """The share of values that differ, and the largest difference in grey levels."""
    levels = np.abs(ours.astype(int) - theirs)
    share = f"{(levels > 0).mean():.4%} by {levels.max()}"
    return share if levels.any() else "same"


if __name__ == "__main__":
    verb, *given = sys.argv[1:]
    if verb == "write":
        write(Path(given[0]))
    else:
        print("\n".join(compare([Path(each) for each in given])))  # noqa: T201
