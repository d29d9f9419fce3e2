"""Atoms of a network, images reconstructed from its codes, and the sparsity of its codes.

The paper's Figures 5, 4 and 6 (Appendices C, B and D.1). Layers are counted from 1, the stem.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backbones.normalize import Normalize
from ..csc import CSCConv2d, PatchCodingConv2d, carry, chain_to, rebuild, require_csc_layers, using_lambda
from ..engine.batches import BATCH_SIZE
from ..errors import ModelError, UsageError
from .workbench import Workbench

Floats = NDArray[np.float64]
ATOMS_AT_ONCE = 8
"""Number of atoms that are carried to the pixels at once, which bounds memory."""


@runtime_checkable
class Chained(Protocol):
    """A network that begins with a chain of layers."""

    def path(self) -> list[nn.Module]:
        """The layers of the chain in order, from the `Normalize` on."""


def chain_of(net: nn.Module) -> tuple[Normalize, list[nn.Module]]:
    """The normalisation of a network and the chain after it; a `UsageError` where there is no chain."""
    require_csc_layers(net)
    path = net.path() if isinstance(net, Chained) else []
    if not path or not isinstance(path[0], Normalize):
        hint = "Its backbone needs a method path(), as ResNet."
        raise UsageError("this network does not say which way its images take", hint=hint)
    return path[0], path[1:]


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms of one layer in the normalised units of the pixels."""

    layer: int
    total: int
    """Number of atoms of the layer."""
    patches: Floats
    """The first n atoms, `(n, 3, K, K)`."""


@torch.no_grad()
def find_atoms(bench: Workbench, layer: int = 1, *, most: int = 64) -> Atoms:
    """The atoms of a layer as patches of an image (Figure 5).

    The atoms of the stem are its dictionary. An atom of a deeper layer is a patch of that layer's input, which the
    chain of dictionaries, equation (14), maps to the pixels. A result larger than an image is cropped to its centre.
    The first `most` atoms are returned. A `UsageError` where the chain of the network has no layer of this number.
    """
    _, links = chain_of(bench.model.net)
    *before, last = chain_to(links, layer)
    assert isinstance(last, CSCConv2d)
    side = min(_pixels(bench, [0]).shape[-2:])
    parts = torch.split(last.dictionary[:most], ATOMS_AT_ONCE)
    patches = torch.cat([_middle(carry(before, part), side) for part in parts])
    return Atoms(layer, last.atoms, patches.cpu().double().numpy())


def _middle(patches: Tensor, side: int) -> Tensor:
    """The centre of `(n, M, K, K)`, cropped by equal margins to at most `side`."""
    margin = max(0, patches.shape[-1] - side + 1) // 2
    return patches[..., margin : patches.shape[-1] - margin, margin : patches.shape[-1] - margin]


class Reconstruction(NamedTuple):
    """Images reconstructed from the code of one layer."""

    layer: int
    pictures: Floats
    """The reconstruction x~ in pixels, `(n, 3, H, W)`, clipped to [0, 1]."""
    stretched: Floats
    """The part of x~ due to the code, `(n, 3, H, W)`, scaled to the mean and contrast of the image and clipped.

    Soft thresholds and few iterations reduce the contrast. After a few layers x~ shows little more than the constant
    part due to the batch norms."""
    errors: Floats
    """`(n,)`: relative errors |x~ - x| / |x| of the normalised images."""
    psnr: Floats
    """`(n,)`: PSNR of the clipped pictures, in dB."""
    correlations: Floats
    """`(n,)`: Pearson correlation of the part of x~ due to the code with x."""


@dataclass(frozen=True, eq=False)
class Features:
    """Images and their reconstructions from the codes of a chain."""

    places: tuple[int, ...]
    """Places of the images in the test split."""
    images: Floats
    """The images, `(n, 3, H, W)` in [0, 1]."""
    reconstructions: tuple[Reconstruction, ...]


@torch.no_grad()
def rebuild_inputs(
    bench: Workbench, places: Sequence[int], layers: Sequence[int] | None = None, *, lambda_: float | None = None
) -> Features:
    """Test images reconstructed from the codes of layers through the chain of dictionaries (Figure 4, equation 14).

    `places` are those in the test split. By default all layers of the chain are taken, at the lambda of training. A
    `UsageError` where there is no such image, or no chain from such a layer to the pixels.
    """
    net = bench.model.net.eval()
    _, links = chain_of(net)
    count = sum(isinstance(link, CSCConv2d) for link in links)
    ends = {number: chain_to(links, number)[-1] for number in layers or range(1, max(count, 1) + 1)}
    images, codes = _pixels(bench, places), dict[int, Tensor]()
    with using_lambda(net, lambda_), watching(ends, codes.__setitem__):
        net(images)
    normalize, exact = chain_of(copy.deepcopy(net).cpu().double())
    pixels = images.cpu().double()
    found = [
        _reconstruction(number, chain_to(exact, number), codes[number].cpu().double(), pixels, normalize)
        for number in ends
    ]
    return Features(tuple(places), pixels.numpy(), tuple(found))


def _reconstruction(
    layer: int, chain: Sequence[nn.Module], code: Tensor, pixels: Tensor, normalize: Normalize
) -> Reconstruction:
    """The reconstruction in float64: the part due to deep codes is below the rounding errors of float32."""
    image, size = normalize(pixels), (pixels.shape[-2], pixels.shape[-1])
    rebuilt = rebuild(chain, code, size)
    parts = (image, rebuilt - rebuild(chain, torch.zeros_like(code), size))
    contrast, added = (part - part.mean((1, 2, 3), keepdim=True) for part in parts)
    stretched = image.mean((1, 2, 3), keepdim=True) + _norms(contrast) * added / _norms(added)
    pictures = [(part * normalize.std + normalize.mean).clamp(0, 1) for part in (rebuilt, stretched)]
    errors = _norms(rebuilt - image) / _norms(image)
    psnr = -10 * (pictures[0] - pixels).square().mean((1, 2, 3)).log10()
    correlations = (contrast / _norms(contrast) * added / _norms(added)).sum((1, 2, 3))
    return Reconstruction(layer, *(part.numpy() for part in (*pictures, errors.flatten(), psnr, correlations)))


def _norms(images: Tensor) -> Tensor:
    """l2 norm of each image, `(n, 1, 1, 1)`, positive."""
    norms: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return norms.clamp_min(torch.finfo(images.dtype).tiny)


def _pixels(bench: Workbench, places: Sequence[int]) -> Tensor:
    """The test images at `places`, `(n, 3, H, W)` in [0, 1]."""
    split = bench.split("test")
    for place in places:
        if not 0 <= place < len(split):
            raise UsageError("no such test image", expected=f"places from 0 to {len(split) - 1}", got=place)
    (batch,) = split.subset(places).batches(len(places), bench.runtime.device)
    return bench.runtime.to_pixels(batch.images)


@dataclass(frozen=True, eq=False)
class Sparsity:
    """Histograms of the codes of all layers."""

    images: int
    """Number of test images."""
    lambda_: float | None
    """The trade-off; None where each layer has its own, learned one."""
    layers: Mapping[int, Histogram]
    layer: int = 1
    """Number of the layer that is drawn."""


def coding_layers(net: nn.Module) -> list[nn.Module]:
    """The layers whose output is a sparse code, in the order of the modules; a `UsageError` where there are none."""
    found: list[nn.Module] = [each for each in net.modules() if isinstance(each, CSCConv2d | PatchCodingConv2d)]
    return found or [*require_csc_layers(net)]


@torch.no_grad()
def measure_sparsity(
    bench: Workbench, layer: int = 1, *, limit: int | None = None, lambda_: float | None = None
) -> Sparsity:
    """Histograms of the codes of all layers over the test images, in float32 (Figure 6).

    `layer` is the one that is drawn, else a `UsageError`; `limit` images are spread evenly over the split. Lambda is by
    default that of training.
    """
    net, split = bench.model.net.eval(), bench.split("test", limit)
    layers = dict(enumerate(coding_layers(net), start=1))
    if layer not in layers:
        raise UsageError("no such layer", expected=f"a layer from 1 to {len(layers)}", got=layer)
    found = {number: Histogram() for number in layers}

    def count(number: int, code: Tensor) -> None:
        found[number] += Histogram.of(code)

    with using_lambda(net, lambda_), watching(layers, count), bench.progress.task("codes", len(split)) as task:
        for batch in split.batches(BATCH_SIZE, bench.runtime.device):
            net(bench.runtime.to_pixels(batch.images))
            task.advance(len(batch.labels))
    return Sparsity(len(split), bench.model.trained_lambda if lambda_ is None else lambda_, found, layer)


@contextmanager
def watching(layers: Mapping[int, nn.Module], see: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Calls `see` with number and output of each layer in every forward pass of a block."""
    with ExitStack() as hooks:
        for number, layer in layers.items():
            hook = layer.register_forward_hook(lambda _layer, _inputs, code, number=number: see(number, code))
            hooks.callback(hook.remove)
        yield


HALF = 128
"""Number of bins on each side of zero."""
LEAST = -100
"""Exponent of an empty histogram, below that of any other."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of exact zeros, and of other values in bins of equal width on both sides of zero.

    The width is the smallest power of 2 with which the bins contain the largest value, so bins are exact and wider
    bins are sums of narrower ones. At least half of the bins on the side of the largest value are below it.
    """

    exponent: int = LEAST
    """Bins are 2**exponent wide."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))
    """`(2 HALF,)`: counts of the bins from -HALF 2**exponent on. A bin includes its lower end, not its upper one."""
    zeros: int = 0
    """Number of exact zeros, which are in no bin."""

    @classmethod
    def of(cls, values: Tensor) -> Histogram:
        """Counts a tensor of any shape; a `ModelError` where values are not finite."""
        peak = float(values.abs().max())
        if not math.isfinite(peak):
            raise ModelError("the codes of this network are not finite")
        others = values[values != 0]
        exponent = max(math.frexp(peak / HALF)[1], LEAST) if peak else LEAST
        bins = (others * 2.0**-exponent).floor().long() + HALF
        counts = torch.bincount(bins, minlength=2 * HALF).cpu().numpy()
        return cls(exponent, counts, values.numel() - others.numel())

    def __add__(self, other: Histogram) -> Histogram:
        exponent = max(self.exponent, other.exponent)
        counts = self._widened(exponent) + other._widened(exponent)
        return Histogram(exponent, counts, self.zeros + other.zeros)

    def _widened(self, exponent: int) -> NDArray[np.int64]:
        """The counts in the wider bins of another exponent."""
        bins = (np.arange(-HALF, HALF) >> min(exponent - self.exponent, HALF.bit_length())) + HALF
        return np.bincount(bins, weights=self.counts, minlength=2 * HALF).astype(np.int64)

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum()) + self.zeros

    @property
    def share_of_zeros(self) -> float:
        return self.zeros / self.total

    def bins(self) -> list[tuple[float, float, int]]:
        """(low, high, count) of each bin, from the first to the last that is not empty."""
        width, used = 2.0**self.exponent, self.counts.nonzero()[0].tolist()
        return [
            ((at - HALF) * width, (at - HALF + 1) * width, int(self.counts[at]))
            for at in (range(used[0], used[-1] + 1) if used else ())
        ]
