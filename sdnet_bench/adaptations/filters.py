"""Input filters: simple changes of an image before any network.

Under noise they are the plainest adaptation. Under attack they serve as placebo defences: adversarial images made
without a filter fool the network less often behind it, as they do at another lambda, and the gain measures what any
mismatch between attack and classifier gains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UsageError
from .adaptation import ADAPTATIONS, Classifier

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
    return _one_by_one(images, _compressed)


def non_local_means(images: Tensor) -> Tensor:
    """Non-local means of OpenCV (Buades et al., 2005) with its defaults for colour images.

    Strength 10 of 255, patches of 7 x 7, windows of 21 x 21. A `UsageError` without OpenCV.
    """
    try:
        import cv2
    except ImportError:
        hint = 'Install it with `pip install "sdnet-bench[corruptions]"`.'
        raise UsageError("non-local means needs OpenCV", hint=hint) from None
    return _one_by_one(images, lambda image: np.asarray(cv2.fastNlMeansDenoisingColored(image, None, 10, 10, 7, 21)))


def _one_by_one(images: Tensor, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Tensor:
    """Changes images of 8 bits `(H, W, 3)` one by one."""
    raw = (images.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    back = torch.from_numpy(np.stack([change(image) for image in raw]))
    return back.permute(0, 3, 1, 2).to(images.device).float() / 255


def _compressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    with BytesIO() as file:
        Image.fromarray(image).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))


@dataclass(frozen=True)
class InputFilter:
    """An adaptation that filters each image before the network, and leaves the network alone."""

    transform: InputTransform
    is_per_image = True
    is_online = False

    @contextmanager
    def __call__(self, net: nn.Module, classify: Classifier) -> Iterator[Classifier]:
        """Adapts a network inside a block, which yields the adapted classifier."""
        yield lambda images: classify(self.transform(images))


FILTERS: dict[str, InputTransform] = {"median": median, "blur": blur, "jpeg": jpeg, "nlm": non_local_means}
"""The filters by the names of their adaptations."""
PLACEBOS: dict[str, InputTransform] = {"blur": blur, "median": median, "bit depth": bit_depth, "jpeg": jpeg}
"""The placebo defences of an audit, by their names in `Inference.defence`."""

for _name, _transform in FILTERS.items():
    ADAPTATIONS.register(_name)(partial(InputFilter, _transform))
