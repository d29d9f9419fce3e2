"""Networks and images in memory, checked before anything is measured: a guest's network is copied, never changed."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import Normalize
from ..config import CONFIG, Backbone, ModelConfig
from ..csc import csc_layers, get_lambda
from ..data import Augmentation, Dataset, Split, TensorSplit, fixed_classes, open_dataset
from ..data.datasets import RGB, Which
from ..errors import DataError, UsageError, reason
from ..files import make_folder, replacing
from ..progress import Progress
from ..zoo.checkpoint import Model
from ..zoo.initial import try_forward

OWN = "own-data"
"""Name of a data set in memory."""
PROBED = 8
"""Number of images that a network is tried on."""
ROUNDING = 0.1
"""Largest change of a pixel that is not said, in levels of 1/255: a float32 rounds by less."""

KNOWN = ("builtins", "torch", "torchvision", "timm", "sdnet_bench")
"""Packages whose classes their names identify."""

Source = Any
"""A torch data set of (image, label), or images and labels as a pair of tensors or arrays."""


@dataclass(frozen=True)
class OwnData:
    """Images in memory, for test, training and validation."""

    test: Source
    train: Source = None
    validation: Source = None
    classes: Sequence[str] | None = None
    family: str = "imagenet"

    def dataset(self, net: nn.Module, progress: Progress) -> Dataset:
        """The data set for a network, which says how many classes there are.

        A `DataError` where images or labels are impossible; a `UsageError` as of `check_network`.
        """
        test = self.read("test", progress)
        num_classes = check_network(net, test)

        @cache
        def open_split(which: Which) -> Split:
            return _checked(test if which == "test" else self.read(which, progress), which, num_classes)

        open_split("test")
        names = self.classes if self.classes is not None else getattr(self.test, "classes", ())
        known = tuple(map(str, names)) if self.classes is not None or len(names) == num_classes else ()
        return Dataset(OWN, num_classes, (0.0,) * 3, (1.0,) * 3, self.family, open_split, known)

    def read(self, which: Which, progress: Progress) -> TensorSplit:
        """All images of a split; a `UsageError` where there are none."""
        source: Source = getattr(self, which)
        if source is None:
            raise UsageError(f"no {which} images", expected=f"{which}=... beside the test images")
        return read_images(source, which, progress)


def images_of(
    data: Source | str | None, train: Source, validation: Source, classes: Sequence[str] | None, family: str
) -> OwnData | str | None:
    """Images in memory, the name of a data set, or None; a `UsageError` for parts of what is not in memory."""
    if data is not None and not isinstance(data, str):
        return OwnData(data, train, validation, classes, family)
    if train is not None or validation is not None or classes is not None:
        raise UsageError("train=, validation= or classes= without data=", expected="test images in memory beside them")
    return data


def read_images(source: Source, which: str, progress: Progress) -> TensorSplit:
    """All images of a source, as uint8; floats in [0, 1] are rounded to the 256 levels, which is said.

    A `DataError` for images of unequal sizes or outside [0, 1], a `UsageError` for a source without a length or places.
    """
    pair = isinstance(source, tuple | list) and len(source) == 2 and not isinstance(source[0], tuple)
    if not pair and (isinstance(source, Mapping) or not (isinstance(source, Sized) and hasattr(source, "__getitem__"))):
        expected = "a data set with len() and [], such as the .dataset of a loader, or (images, labels)"
        raise UsageError(f"the {which} images have no length and places", expected=expected, got=type(source).__name__)
    is_stacked = pair and isinstance(source[0], Tensor | np.ndarray)
    images, labels = source if is_stacked else _listed(list(zip(*source, strict=True)) if pair else source, which)
    pixels = _levels(_as_batch(images, which), which, progress)
    numbers = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if numbers.dtype.kind not in "biu" or numbers.shape != (len(pixels),):
        expected, got = f"an integer for each of {len(pixels):,} images", f"{numbers.dtype} {numbers.shape}"
        raise DataError(f"labels of the {which} images", expected=expected, got=got)
    return TensorSplit(pixels, torch.as_tensor(numbers.astype(np.int64)), torch.arange(len(pixels)), Augmentation())


def _listed(source: Source, which: str) -> tuple[Tensor, list[int]]:
    """Images `(N, 3, H, W)` and labels of a data set that is asked for one after the other."""
    images, labels = [], []
    for place in range(len(source)):
        item = source[place]
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise DataError(f"{which} item {place} is no (image, label)", got=type(item).__name__)
        image, label, *_ = item
        images.append(_as_image(image, which, place))
        if images[-1].shape != images[0].shape:
            first, other = (tuple(each.shape) for each in (images[0], images[-1]))
            raise DataError(f"{which} images of unequal sizes", expected=str(first), got=other)
        labels.append(int(label))
    return torch.stack(images) if images else torch.empty(0, 3, 1, 1), labels


def _as_image(image: Any, which: str, place: int) -> Tensor:
    """An image as a tensor `(3, H, W)`: a tensor of that shape, or a picture or array `(H, W, 3)`."""
    is_tensor = isinstance(image, Tensor)
    picture = image.convert("RGB") if hasattr(image, "convert") else image
    pixels = torch.as_tensor(picture if is_tensor else np.array(picture))
    if not is_tensor and pixels.ndim == 3 and pixels.shape[-1] == 3:
        pixels = pixels.permute(2, 0, 1)
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        what = f"{which} image {place} has no three channels"
        raise DataError(what, expected="a tensor (3, H, W), or a picture", got=tuple(pixels.shape))
    return pixels


def _as_batch(images: Any, which: str) -> Tensor:
    batch = torch.as_tensor(images)
    if batch.ndim == 4 and batch.shape[1] != 3 and batch.shape[3] == 3:
        batch = batch.permute(0, 3, 1, 2)
    if batch.ndim != 4 or batch.shape[1] != 3 or not batch.numel():
        raise DataError(f"the {which} images", expected="shape (N, 3, H, W)", got=tuple(batch.shape))
    return batch.detach().cpu()


def _levels(images: Tensor, which: str, progress: Progress) -> Tensor:
    """Images as uint8; a warning where floats between the levels are rounded."""
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point():
        raise DataError(f"the {which} images", expected="uint8, or floats in [0, 1]", got=images.dtype)
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also where one is not a number
        hint = "Leave the normalisation to the network, or give mean= and std=."
        if low >= 0 and 2 < high <= 255:
            hint = "Divide them by 255."
        raise DataError(f"the {which} images leave [0, 1]", got=f"{low:.4g} to {high:.4g}", hint=hint)
    scaled = images.float() * 255
    levels = scaled.round()
    change = float((scaled - levels).abs().max())
    if change > ROUNDING:
        progress.warn(f"{which} images are rounded to 256 levels, by up to {change:.2f} of one")
    return levels.to(torch.uint8).contiguous()


def _checked(split: TensorSplit, which: str, num_classes: int) -> TensorSplit:
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes:
        expected = f"0 to {num_classes - 1}, the classes of the network"
        raise DataError(f"labels of the {which} images", expected=expected, got=f"{low} to {high}")
    return split


def check_network(net: nn.Module, split: Split) -> int:
    """The number of classes of a network; a `UsageError` where it is in training mode or makes no logits."""
    name = type(net).__name__
    busy = next((path or name for path, module in net.named_modules() if module.training), None)
    if busy is not None:
        raise UsageError(f"{busy} is in training mode", expected="net.eval()")
    batch = next(split.batches(PROBED, torch.device("cpu")))
    with torch.no_grad():
        logits = try_forward(net, name, batch)
    if not logits.isfinite().all():
        raise UsageError(f"{name} makes logits that are not finite")
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        raise UsageError(f"{name} gives probabilities", expected="logits", hint="Take the softmax off the network.")
    return logits.shape[1]


def copied(net: nn.Module, mean: RGB | None = None, std: RGB | None = None) -> nn.Module:
    """A copy on the CPU, which its owner's network knows nothing of; behind a normalisation where one is given."""
    if (mean is None) != (std is None):
        raise UsageError("half a normalisation", expected="both mean= and std=, or none")
    try:
        copy_ = copy.deepcopy(net).cpu()
    except Exception as error:  # tensors of others may forbid it
        raise UsageError(f"{type(net).__name__} cannot be copied: {reason(error)}") from None
    return copy_ if mean is None or std is None else Normalized(mean, std, copy_)


class Normalized(nn.Module):
    """A network behind the normalisation that it was trained with."""

    def __init__(self, mean: RGB, std: RGB, net: nn.Module) -> None:
        super().__init__()
        self.normalize, self.net = Normalize(mean, std), net
        self.train(net.training)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.net(self.normalize(image))
        return logits


def open_guest(
    net: nn.Module, images: OwnData | str, folder: Path, data_dir: Path, progress: Progress
) -> tuple[Model, Dataset]:
    """The model of a network in memory, with the name of its folder, and its data set.

    A `DataError` where images or labels are impossible; a `UsageError` as of `check_network`.
    """
    if isinstance(images, OwnData):
        dataset = images.dataset(net, progress)
        return guest_model(net, dataset.num_classes, folder, dataset), dataset
    dataset = open_dataset(images, data_dir, progress)
    return guest_model(net, check_network(net, dataset.open("test")), folder, dataset), dataset


def guest_model(net: nn.Module, num_classes: int, folder: Path, dataset: Dataset) -> Model:
    """The model of a network in memory; its folder holds the configuration, and records, but no weights."""
    inner = net.net if isinstance(net, Normalized) else net
    coding = csc_layers(net)
    lambda_ = get_lambda(net) if coding else None
    solving = {"lambda_": lambda_, "steps": coding[0].steps} if coding else {}
    options = {"csc_stem": solving} if len(coding) == 1 else solving
    config = ModelConfig(
        backbone=Backbone(name=type(inner).__name__, options=options),
        num_classes=num_classes,
        dataset=dataset.name,
        classes=() if dataset.classes == fixed_classes(dataset.name) else dataset.classes,
        weights_sha256=fingerprint(net),
    )
    if (folder / CONFIG).exists() and (theirs := ModelConfig.read(folder)).backbone.name != config.backbone.name:
        raise UsageError(f"{folder} is of another network, {theirs.backbone.name}", hint="Give this one another name.")
    make_folder(folder)
    with replacing(folder / CONFIG) as path:
        path.write_text(config.to_json(), encoding="utf-8")
    return Model(folder.name, folder, config, net, str(config.weights_sha256), lambda_)


def fingerprint(net: nn.Module) -> str:
    """sha256 of a network: of the classes of its modules, their code and settings, and of all tensors."""
    digest = hashlib.sha256()
    for path, module in net.named_modules():
        settings = sorted((key, value) for key, value in vars(module).items() if _is_setting(key, value))
        digest.update(repr((path, module.extra_repr(), settings, *_code(type(module)))).encode())
    for path, tensor in (*net.named_parameters(), *net.named_buffers()):
        raw = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(repr((path, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(raw.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_setting(name: str, value: object) -> bool:
    values = value if isinstance(value, tuple | list) else [value]
    is_plain = all(isinstance(each, bool | int | float | str | None) for each in values)
    return is_plain and not name.startswith("_") and name != "training"


def _code(kind: type[nn.Module]) -> Iterator[str]:
    """The name of a class, and the source of its methods where no library has it."""
    yield f"{kind.__module__}.{kind.__qualname__}"
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] not in KNOWN:
            yield from (_source(part) for part in vars(each).values() if isinstance(part, FunctionType))


def _source(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except OSError:  # typed into an interpreter
        return function.__code__.co_code.hex()
