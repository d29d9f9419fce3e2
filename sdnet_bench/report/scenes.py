"""Makes examples: test images under several conditions, as a network sees them at each lambda."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.craft import AttackRun, craft
from ..csc import chain_to, rebuild, using_lambda
from ..data import SEVERITIES, Batch, stream_of
from ..paper.robustness import THREATS
from ..records import NOISES, Threat
from ..studies.algorithm1 import full_grid
from ..studies.codes import chain_of, watching
from ..studies.protocols import attack_setting
from ..studies.workbench import Workbench
from .examples import Examples, Scene

PLACES = (0, 1, 2, 3)
"""The first test images: not chosen."""
SIDE = 48
"""Largest side of a picture; those of larger images are made smaller."""
COLUMNS = 32
"""Pictures in a row of the sprite."""
QUALITY = 50
"""Of the sprite as WebP."""


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
