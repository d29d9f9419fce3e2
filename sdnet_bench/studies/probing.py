"""What an attack has to follow: gradients, codes and logits of a network on clean images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.finite import finite, logits_of
from ..csc import csc_layers, using_lambda
from ..engine.batches import BATCH_SIZE
from ..records import Images
from ..zoo.checkpoint import Model
from .codes import watching
from .workbench import Workbench

SOME_ZERO = 1.0
"""Share (%) of images without a gradient from which on it is said. AutoAttack warns of a single image."""


@dataclass(frozen=True)
class Health:
    """Gradients, codes and logits of the network at one lambda, on clean images."""

    lambda_: float | None
    zero_gradients: float
    """Share (%) of images whose gradient of the cross-entropy is zero in every pixel."""
    zero_codes: float | None
    """Share (%) of zero entries in all sparse codes; None without CSC-layers."""
    logit_scale: float
    """Mean over images of the largest logit minus the mean logit."""
    probabilities: float = 0.0
    """Share (%) of images whose logits are probabilities: the network ends in a softmax."""


def probe(bench: Workbench, images: Images, lambda_: float | None = None) -> Health:
    """Measures gradients, codes and logits of clean images at one lambda; a `ModelError` where they are not finite."""
    net, runtime = bench.model.net.eval(), bench.runtime
    lost, scales, certain, codes = [], [], [], list[Tensor]()
    layers = dict(enumerate(csc_layers(net)))
    with using_lambda(net, lambda_), watching(layers, lambda _, code: codes.append((code == 0).float().mean())):
        for batch in bench.split_of(images).batches(BATCH_SIZE, runtime.device):
            gradient, logits = _gradient(bench.model, runtime.to_pixels(batch.images), batch.labels)
            lost.append(finite(gradient.abs().flatten(1).amax(1), f"{bench.model.name}: gradients") == 0)
            scales.append(logits.amax(1) - logits.mean(1))
            certain.append((logits.amin(1) >= 0) & ((logits.sum(1) - 1).abs() < 1e-3))
    no_gradient, scale, no_logits = (float(torch.cat(parts).float().mean()) for parts in (lost, scales, certain))
    zeros = 100 * float(torch.stack(codes).mean()) if codes else None
    return Health(lambda_, 100 * no_gradient, zeros, scale, 100 * no_logits)


def _gradient(model: Model, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of each image's cross-entropy, `(N, 3, H, W)`, and the logits."""
    pixels = pixels.requires_grad_(True)
    logits = logits_of(model.net, pixels)
    finite(logits[:, 0].detach(), f"{model.name}: logits")
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), pixels)
    return gradient, logits.detach()


def warn_of_masking(bench: Workbench, limit: int) -> None:
    """Notes the share of at most a batch of test images whose gradients no attack can follow, if it is large."""
    images = bench.images("test", min(limit, BATCH_SIZE))
    health, seen = probe(bench, images), len(bench.split_of(images))
    for share, what in (
        (health.zero_gradients, "have no gradient: attacks cannot see where to go"),
        (health.probabilities, "have probabilities for logits, which hide gradients: take the softmax off the network"),
    ):
        if share > SOME_ZERO:
            bench.progress.warn(f"{share:.1f} % of {seen} test images {what}, and robust accuracy is too high")
