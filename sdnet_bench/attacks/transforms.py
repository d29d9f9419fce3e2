"""Input transformations: simple changes of an image, made before it is classified. They are no defences.

Adversarial images that were made without them lose some of their strength, as they do at another lambda. What a
transformation gains against a transferred attack is what any mismatch gains.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

InputTransform = Callable[[Tensor], Tensor]
"""`(N, 3, H, W)` in [0, 1] to the same."""


def blur(images: Tensor) -> Tensor:
    """A Gaussian of one pixel, 5 x 5."""
    from torchvision.transforms.functional import gaussian_blur

    return gaussian_blur(images, kernel_size=[5, 5], sigma=[1.0, 1.0])  # type: ignore[no-any-return]


def median(images: Tensor) -> Tensor:
    """The median of 3 x 3 pixels in each channel."""
    count, channels, height, width = images.shape
    padded = F.pad(images, [1, 1, 1, 1], mode="reflect")
    windows = F.unfold(padded, 3).view(count, channels, 9, height, width)
    return windows.median(dim=2).values


def bit_depth(images: Tensor) -> Tensor:
    """Five bits for each channel (feature squeezing)."""
    return (images * 31).round() / 31


def jpeg(images: Tensor) -> Tensor:
    """JPEG at quality 75 and back."""
    raw = (images.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    back = torch.from_numpy(np.stack([_compressed(image) for image in raw]))
    return back.permute(0, 3, 1, 2).to(images.device).float() / 255


def _compressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    with BytesIO() as file:
        Image.fromarray(image).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))


INPUT_TRANSFORMS: dict[str, InputTransform] = {"blur": blur, "median": median, "bit depth": bit_depth, "jpeg": jpeg}
