"""Examples: a few test images, corrupted and attacked, and what A z rebuilds of them at each lambda, in one small file.

They are made where network and data set are; the page of a report shows them from the file alone.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ..attacks.craft import AttackRun, craft
from ..config import Frozen
from ..csc import chain_to, rebuild, using_lambda
from ..data import SEVERITIES, Batch, stream_of
from ..errors import ModelError
from ..files import reading, replacing
from ..paper.robustness import THREATS
from ..records import NOISES, Threat
from ..records.sealed import Sealed
from ..studies.algorithm1 import full_grid
from ..studies.codes import chain_of, watching
from ..studies.protocols import attack_setting
from ..studies.workbench import Workbench

FILE = "examples.json"
REMEDY = "Remove it, or make it anew with `sdnet-bench visualize examples`."
PLACES = (0, 1, 2, 3)
"""The first test images: not chosen."""
SIDE = 48
"""Largest side of a picture; those of larger images are made smaller."""
COLUMNS = 32
"""Pictures in a row of the sprite."""
QUALITY = 50
"""Of the sprite as WebP."""


class Scene(Frozen):
    """The images under one condition, by image and lambda."""

    name: str
    """`clean`, `gaussian 3`, or `linf 8/255 transfer`: the condition as a word of the page."""
    inputs: tuple[tuple[int, ...], ...]
    """Pictures of the input of each image: one, or one for each lambda where the attack is made anew."""
    rebuilt: tuple[tuple[int, ...], ...]
    """Pictures of A z, with the mean and the contrast of the input."""
    predictions: tuple[tuple[int, ...], ...]
    """The most probable class."""
    confidences: tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...]
    """Its probability."""


class Examples(Sealed):
    """Test images under several conditions. Pictures are places in a sprite, counted row by row."""

    weights: str
    """sha256 of the model's weights."""
    dataset: str
    places: tuple[int, ...]
    """Places of the images in the test split."""
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    """Name of each class; empty where nobody names them."""
    lambdas: tuple[float, ...]
    side: tuple[int, int]
    """Height and width of a picture."""
    columns: int
    rows: int
    sprite: Annotated[str, Field(pattern="^[A-Za-z0-9+/]+=*$")]
    """All pictures, as WebP in base64."""
    scenes: tuple[Scene, ...]
    provenance: dict[str, Any]

    @classmethod
    def read(cls, folders: Sequence[Path], weights: str | None) -> Examples | None:
        """The examples of these weights in the last of the folders that has some; None where none has."""
        for path in reversed([folder / FILE for folder in folders]):
            if path.exists():
                with reading(path, ModelError, hint=REMEDY):
                    found = cls.model_validate_json(path.read_bytes())
                if found.weights == weights:
                    return found
        return None


def write_examples(examples: Examples, folder: Path) -> Path:
    """Writes `examples.json` into a folder. Returns its path."""
    with replacing(folder / FILE) as scratch:
        scratch.write_text(examples.model_dump_json() + "\n", encoding="utf-8")
    return folder / FILE


def find_examples(bench: Workbench, places: Sequence[int] = PLACES) -> Examples:
    """The first test images at every lambda of the paper: clean, noisy, and attacked by PGD under both threats.

    A `UsageError` for a network without a CSC-layer, or without a chain that begins with one.
    """
    (batch,) = bench.split("test").subset(places).batches(len(places), bench.runtime.device)
    lambdas, sprite = full_grid(bench, None), Sprite()
    scenes = []
    with bench.progress.task("examples", 1 + len(NOISES) * len(SEVERITIES) + 2 * len(THREATS), "scenes") as task:
        for name, inputs in _conditions(bench, batch, lambdas):
            scenes.append(_scene(bench, name, inputs, lambdas, sprite))
            task.advance(1)
    height, width = sprite.pictures[0].shape[-2:]
    return Examples(
        weights=bench.model.weights,
        dataset=bench.dataset.name,
        places=tuple(places),
        labels=tuple(batch.labels.tolist()),
        classes=bench.model.config.classes or bench.dataset.classes,
        lambdas=tuple(lambdas),
        side=(height, width),
        columns=COLUMNS,
        rows=math.ceil(len(sprite.pictures) / COLUMNS),
        sprite=sprite.webp(),
        scenes=tuple(scenes),
        provenance=bench.runtime.provenance() | {"seed": bench.seed},
    )


def _conditions(bench: Workbench, batch: Batch, lambdas: Sequence[float]) -> Iterator[tuple[str, list[Tensor]]]:
    """Conditions by name: the images `(N, 3, H, W)` in [0, 1], once or for each lambda."""
    to_pixels, family = bench.runtime.to_pixels, bench.dataset.family
    yield "clean", [to_pixels(batch.images)]
    for name in NOISES:
        for severity in SEVERITIES:
            noisy = stream_of(name, severity, family, bench.seed)(batch)
            yield f"{name} {severity}", [to_pixels(noisy)]
    for name, threat in THREATS.items():
        made = [_attacked(bench, batch, threat, lambda_) for lambda_ in lambdas]
        yield f"{name} transfer", [made[lambdas.index(bench.trained_lambda)]]
        yield f"{name} matched", made


def _attacked(bench: Workbench, batch: Batch, threat: Threat, lambda_: float) -> Tensor:
    """Adversarial images of the paper's PGD that looks at the network at a lambda."""
    setting = attack_setting(threat).model_copy(update={"crafted_at": lambda_})
    net, pixels = bench.model.net, bench.runtime.to_pixels(batch.images)
    with using_lambda(net, lambda_):
        return craft(net, pixels, batch.labels, AttackRun(setting), batch.index.tolist(), seed=bench.seed).first


class Sprite:
    """Collects pictures for a sprite."""

    def __init__(self) -> None:
        self.pictures: list[Tensor] = []

    def add(self, images: Tensor) -> list[int]:
        """Adds images `(N, 3, H, W)` in [0, 1], made smaller where they are larger than SIDE; returns their places."""
        scale = SIDE / max(images.shape[-2:])
        small = F.interpolate(images, scale_factor=scale, mode="area") if scale < 1 else images
        self.pictures += small.cpu()
        return list(range(len(self.pictures) - len(small), len(self.pictures)))

    def webp(self) -> str:
        """The sprite as WebP in base64."""
        from PIL import Image

        blank = torch.zeros_like(self.pictures[0])
        pictures = torch.stack([*self.pictures, *[blank] * (-len(self.pictures) % COLUMNS)])
        rows = pictures.view(-1, COLUMNS, *blank.shape)
        pixels = (255 * rows.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)).round().byte()
        file = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(file, "WEBP", quality=QUALITY, method=6)
        return base64.b64encode(file.getvalue()).decode()


@torch.no_grad()
def _scene(bench: Workbench, name: str, inputs: list[Tensor], lambdas: Sequence[float], sprite: Sprite) -> Scene:
    """A scene from inputs that are the same at every lambda, or from those of each."""
    seen = [_seen(bench, inputs[at % len(inputs)], lambda_) for at, lambda_ in enumerate(lambdas)]
    confidences, predictions = zip(*(logits.softmax(1).max(1) for _, logits in seen), strict=True)
    return Scene(
        name=name,
        inputs=_by_image([sprite.add(images) for images in inputs]),
        rebuilt=_by_image([sprite.add(pictures) for pictures, _ in seen]),
        predictions=_by_image([each.tolist() for each in predictions]),
        confidences=_by_image([[round(value, 3) for value in each.tolist()] for each in confidences]),
    )


def _by_image(by_lambda: Sequence[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(zip(*by_lambda, strict=True))


def _seen(bench: Workbench, images: Tensor, lambda_: float) -> tuple[Tensor, Tensor]:
    """What the stem rebuilds of images at a lambda, A z with their mean and contrast, and the logits of the network."""
    net, codes = bench.model.net, dict[int, Tensor]()
    normalize, links = chain_of(net)
    chain = chain_to(links, 1)
    with using_lambda(net, lambda_), watching({1: chain[-1]}, codes.__setitem__):
        logits = net(images).float()
    rebuilt = _stretched(rebuild(chain, codes[1], (images.shape[-2], images.shape[-1])), normalize(images))
    return (rebuilt * normalize.std + normalize.mean).clamp(0, 1), logits


def _stretched(rebuilt: Tensor, like: Tensor) -> Tensor:
    """Images with the mean and the contrast of others: thresholds and two iterations leave little contrast."""
    centred = rebuilt - rebuilt.mean((1, 2, 3), keepdim=True)
    spread = like.std((1, 2, 3), keepdim=True) / centred.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
    return like.mean((1, 2, 3), keepdim=True) + spread * centred
