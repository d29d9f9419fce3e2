"""Input transformations: simple changes of an image before it is classified. They serve as placebo defences.

Adversarial images made without a transformation fool the network less often behind it, as they do at another lambda.
The gain measures what any mismatch between attack and classifier gains.
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
"""Maps images `(N, 3, H, W)` in [0, 1] to images of the same shape and range."""


def blur(images: Tensor) -> Tensor:
    """Gaussian blur of standard deviation 1 pixel, kernel 5 x 5."""
    from torchvision.transforms.functional import gaussian_blur

    return gaussian_blur(images, kernel_size=[5, 5], sigma=[1.0, 1.0])  # type: ignore[no-any-return]


def median(images: Tensor) -> Tensor:
    """Median filter of 3 x 3 pixels in each channel."""
    count, channels, height, width = images.shape
    padded = F.pad(images, [1, 1, 1, 1], mode="reflect")
    windows = F.unfold(padded, 3).view(count, channels, 9, height, width)
    return windows.median(dim=2).values


def bit_depth(images: Tensor) -> Tensor:
    """Rounding to five bits per channel (feature squeezing, Xu et al., 2018)."""
    return (images * 31).round() / 31


def jpeg(images: Tensor) -> Tensor:
    """JPEG compression at quality 75."""
    raw = (images.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    back = torch.from_numpy(np.stack([_compressed(image) for image in raw]))
    return back.permute(0, 3, 1, 2).to(images.device).float() / 255


def _compressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    with BytesIO() as file:
        Image.fromarray(image).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))


INPUT_TRANSFORMS: dict[str, InputTransform] = {"blur": blur, "median": median, "bit depth": bit_depth, "jpeg": jpeg}
