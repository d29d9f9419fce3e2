"""The classes of a model and of a data set: compared by name and order, before anything is measured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..data import Dataset, fixed_classes
from ..errors import ModelError
from ..progress import Progress
from .checkpoint import Model

WORDNET_ID = re.compile(r"n\d{8}")
MOST_SHOWN = 5
"""Largest number of names in a message."""


class Selected(nn.Module):
    """A network with the logits at `places` alone, in that order; `net` is the whole network."""

    places: Tensor

    def __init__(self, net: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.net(image)[:, self.places]
        return logits

    def path(self) -> list[nn.Module]:
        """The layers that the whole network begins with; empty where it does not say."""
        found: list[nn.Module] = getattr(self.net, "path", list)()
        return found


def whole(net: nn.Module) -> nn.Module:
    """The network with all of its logits."""
    return net.net if isinstance(net, Selected) else net


def class_names(config: ModelConfig) -> tuple[str, ...]:
    """The names of a model's classes in label order; empty where they are not known."""
    found = config.classes or fixed_classes(config.dataset)
    return found if len(found) == config.num_classes else ()


def of_classes(model: Model, dataset: Dataset, progress: Progress) -> Model:
    """The model with the logits of a data set's classes, in their order.

    Classes by WordNet id are found among those of the model by their ids. All others must be those of the model, in
    the same order; where one of both does not name them, their number is compared. A `ModelError` where they differ.
    """
    names, wanted, net = class_names(model.config), dataset.classes, whole(model.net)
    if is_same(model.config, dataset):
        if wanted and not names:
            progress.note(f"{model.name} does not name its {dataset.num_classes} classes: their order is not checked")
        return replace(model, net=net, selected=None)
    if not {*wanted} <= {*filter(WORDNET_ID.fullmatch, names)} or not wanted:
        raise ModelError(f"{model.name} knows other classes than {dataset.name}", **differences(model.config, dataset))
    places = [names.index(name) for name in wanted]
    digest = hashlib.sha256(" ".join(map(str, places)).encode()).hexdigest()[:16]
    progress.note(f"{model.name}: only the logits of {len(places)} of its {len(names)} classes, found by WordNet id")
    return replace(model, net=Selected(net, places), selected=f"{len(places)} of {len(names)}: {digest}")


def is_same(config: ModelConfig, dataset: Dataset) -> bool:
    """Whether a model's classes are those of a data set; where one of both does not name them, whether as many."""
    names, wanted = class_names(config), dataset.classes
    return names == wanted if names and wanted else config.num_classes == dataset.num_classes


def differences(config: ModelConfig, dataset: Dataset) -> dict[str, str]:
    """What an error says of classes that are not the same: their numbers, the first names that differ, and a way."""
    hint = "Name the folder of its own data with --data-dir, or train a model on these."
    return first_difference(class_names(config), config.num_classes, dataset) | {"hint": hint}


def first_difference(names: Sequence[str], count: int, dataset: Dataset) -> dict[str, str]:
    """The number of classes that is expected, that of a data set, and the names of both from where they differ."""
    wanted = dataset.classes
    first = next((at for at, (one, other) in enumerate(zip(names, wanted, strict=False)) if one != other), None)
    at = min(len(names), len(wanted)) if first is None else first
    return {"expected": _from(at, count, names), "got": _from(at, dataset.num_classes, wanted)}


def _from(first: int, count: int, names: Sequence[str]) -> str:
    shown = ", ".join(names[first : first + MOST_SHOWN]) + ", ..." * (len(names) > first + MOST_SHOWN)
    return f"{count} classes" + f" (from label {first}: {shown or 'none'})" * bool(names)
