"""Random numbers for a batch of images, from one generator per image.

The random numbers of an image depend on the seed and the image, not on its batch, so batches may be regrouped between
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Place = Callable[..., Tensor]

DRAWS: dict[Any, tuple[Place, Callable[..., Tensor]]] = {
    torch.rand: (torch.empty, Tensor.uniform_),
    torch.randn: (torch.empty, Tensor.normal_),
    torch.rand_like: (torch.empty_like, Tensor.uniform_),
    torch.randn_like: (torch.empty_like, Tensor.normal_),
    Tensor.uniform_: (lambda tensor, *_, **__: tensor, Tensor.uniform_),
    Tensor.normal_: (lambda tensor, *_, **__: tensor, Tensor.normal_),
}
"""For each of torch's random functions: how to allocate its tensor, and how to fill a row of it."""


class ImageDraws(TorchFunctionMode):
    """A mode in which torch draws tensors `(N, C, H, W)` of a batch row by row from the generators of the images.

    There is one seed per image of the batch. Other random tensors come from torch's own generator.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.rows = torch.arange(len(seeds))
        """Indices into the batch of the images that the attack currently works on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in DRAWS or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        find_room, fill = DRAWS[func]
        room = find_room(*args, **kwargs)
        if room.ndim != 4 or len(room) != len(self.rows):
            return func(*args, **kwargs)
        is_method = func is fill  # uniform_(self, low, high): the tensor comes first
        limits, options = (args[1:], kwargs) if is_method else ((), {})
        rows = [
            fill(torch.empty(room.shape[1:]), *limits, generator=self._generators[row], **options)
            for row in self.rows.tolist()
        ]
        return room.copy_(torch.stack(rows))
