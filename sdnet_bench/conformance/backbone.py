"""The contract of a backbone: `build(num_classes, *, mean, std)` makes a network from pixels in [0, 1] to logits."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ..backbones import build
from ..zoo.weights import load_weights, read_weights, weight_files, write_weights
from .comparing import apart, fault_of
from .findings import Check

CLASSES = 7
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


@dataclass(frozen=True)
class BackboneSubject:
    """A backbone by name.

    Args:
        side: side of the square test images.
    """

    name: str
    side: int = 32

    def build(self, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD, seed: int = 0) -> nn.Module:
        """A network in eval mode, with equal weights for equal seeds if they come from torch's generator."""
        net: nn.Module = self.fresh(mean, std, seed).eval()
        return net

    def fresh(self, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD, seed: int = 0) -> Any:
        """The return value of the builder."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return build(self.name, num_classes=CLASSES, mean=mean, std=std)

    @property
    def images(self) -> Tensor:
        """`(4, 3, side, side)` in [0, 1]: a black, a white and two noise images."""
        shape = (2, 3, self.side, self.side)
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        return torch.cat([torch.zeros_like(noise[:1]), torch.ones_like(noise[:1]), noise])

    @property
    def labels(self) -> Tensor:
        return torch.arange(len(self.images)) % CLASSES


def _builds(subject: BackboneSubject) -> str | None:
    net = subject.fresh()
    if not isinstance(net, nn.Module):
        return type(net).__name__
    return None if any(each.requires_grad for each in net.parameters()) else "nothing to train"


@torch.no_grad()
def _logits(subject: BackboneSubject) -> str | None:
    return fault_of(subject.build()(subject.images), (len(subject.images), CLASSES))


@torch.no_grad()
def _normalizes(subject: BackboneSubject) -> str | None:
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    plain = subject.build((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return apart(subject.build()(subject.images), plain((subject.images - mean) / std))


@torch.no_grad()
def _repeats(subject: BackboneSubject) -> str | None:
    net, state = subject.build(), torch.get_rng_state()
    if not torch.equal(net(subject.images), net(subject.images)):
        return "other logits the second time"
    return None if torch.equal(state, torch.get_rng_state()) else "a forward that draws random numbers"


@torch.no_grad()
def _leaves_no_trace(subject: BackboneSubject) -> str | None:
    net = subject.build()
    before = copy.deepcopy(net.state_dict())
    net(subject.images)
    changed = [name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])]
    return f"another {changed[0]} after a forward" if changed else None


@torch.no_grad()
def _is_alone_in_a_batch(subject: BackboneSubject) -> str | None:
    net = subject.build()
    return apart(net(subject.images), torch.cat([net(image[None]) for image in subject.images]))


def _passes_gradients(subject: BackboneSubject) -> str | None:
    net, images = subject.build(), subject.images
    update_bn([images], net)  # without batch norm statistics a deep network has constant logits
    images.requires_grad_()
    loss = F.cross_entropy(net(images), subject.labels)
    return _fault_of_gradient(*torch.autograd.grad(loss, images, allow_unused=True))


def _trains(subject: BackboneSubject) -> str | None:
    net = subject.build().train()
    F.cross_entropy(net(subject.images), subject.labels).backward()  # type: ignore[no-untyped-call]
    gradients = [each.grad.flatten() for each in net.parameters() if each.grad is not None]
    return _fault_of_gradient(torch.cat(gradients) if gradients else None)


@torch.no_grad()
def _keeps_its_weights(subject: BackboneSubject) -> str | None:
    net, other = subject.build(), subject.build(seed=1)
    with tempfile.TemporaryDirectory() as folder:
        write_weights(Path(folder), net)
        load_weights(other, read_weights(weight_files(Path(folder))))
    same = torch.equal(net(subject.images), other(subject.images))
    return None if same else "other logits from the same weights: part of its state is in no parameter or buffer"


@torch.no_grad()
def _can_be_copied(subject: BackboneSubject) -> str | None:
    net = subject.build()
    return None if torch.equal(net(subject.images), copy.deepcopy(net)(subject.images)) else "other logits of the copy"


def _fault_of_gradient(gradient: Tensor | None) -> str | None:
    if gradient is None:
        return "none"
    if not gradient.isfinite().all():
        return "gradients that are not finite"
    return None if gradient.any() else "zeros alone"


BACKBONE_CHECKS = (
    Check("builds", "a torch.nn.Module with parameters to train", _builds, "stop"),
    Check("logits", "finite floating-point logits (N, classes) for pixels in [0, 1]", _logits, "stop"),
    Check("normalisation", "the images normalised with the given mean and std, in the network", _normalizes),
    Check("determinism", "in eval mode the same logits for the same images, without random numbers", _repeats),
    Check("state", "weights and buffers unchanged by a forward in eval mode", _leaves_no_trace),
    Check("batch", "the logits of an image independent of the rest of its batch in eval mode", _is_alone_in_a_batch),
    Check("input gradient", "in eval mode a finite gradient at the input, not all zero", _passes_gradients),
    Check("training", "in train mode finite gradients at the parameters, not all zero", _trains),
    Check("weights", "a safetensors file that holds all of the network's state", _keeps_its_weights),
    Check("copy", "the same network from copy.deepcopy", _can_be_copied),
)
