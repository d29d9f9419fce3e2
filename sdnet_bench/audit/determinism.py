"""Whether the network is deterministic and has no state: C11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..csc import using_lambda
from ..data import Batch
from .scope import Scope
from .verdict import Check, CheckResult

BATCH = 32
CLOSE, FAR = 1e-4, 1e-2
"""Differences relative to the largest logit: above rounding errors of float32, and above those of TF32 on a GPU."""

STATE = Check(
    "C11",
    "State and determinism",
    "Fails where the same images do not get the same logits, bit for bit; where logits depend on the rest of the "
    f"batch by more than {FAR:g} of the largest; or where a forward changes weights, buffers or the random state. "
    f"Warns where it is more than {CLOSE:g}, or where the same attack does not make the same images, bit for bit.",
)


@dataclass(frozen=True)
class Behaviour:
    """Differences between repeated forward passes of a network."""

    same_logits: bool
    same_state: bool
    """Whether a forward pass leaves parameters and buffers unchanged."""
    same_generator: bool
    """Whether a forward pass leaves torch's random state unchanged."""
    batch_difference: float
    """Largest difference of logits in a batch and alone, relative to the largest logit."""
    same_attack: bool


def check_state(scope: Scope) -> CheckResult:
    """C11: measured without records, at the tuned lambda."""
    batch = next(iter(scope.split.batches(BATCH, scope.runtime.device)))
    with using_lambda(scope.bench.model.net, scope.tuned):
        return judge_state(observe(scope, batch))


def judge_state(found: Behaviour) -> CheckResult:
    """The result of C11 from the behaviour on a batch."""
    batch = f"logits depend on the rest of the batch (by {found.batch_difference:.1g} of the largest)"
    faults = {
        "the same images get other logits": not found.same_logits,
        "a forward changes weights or buffers": not found.same_state,
        "a forward draws random numbers": not found.same_generator,
        batch: not found.batch_difference <= FAR,  # NaN is far
    }
    weaknesses = {
        batch: not found.batch_difference <= CLOSE,
        "forwards repeat bit for bit, gradients do not: the same attack makes other images": not found.same_attack,
    }
    figures = {
        "same logits": found.same_logits,
        "same state": found.same_state,
        "same generator": found.same_generator,
        "batch difference": found.batch_difference,
        "same attack": found.same_attack,
    }
    if any(faults.values()):
        return STATE.answer("fail", _sentence(faults), figures)
    if any(weaknesses.values()):
        return STATE.answer("warn", _sentence(weaknesses), figures)
    return STATE.answer("pass", "Logits and attacks repeat bit for bit, and no forward leaves a trace.", figures)


def _sentence(findings: Mapping[str, bool]) -> str:
    says = "; ".join(finding for finding, there in findings.items() if there)
    return f"{says[0].upper()}{says[1:]}."


def observe(scope: Scope, batch: Batch) -> Behaviour:
    """Classifies a batch twice as a whole, and each image alone."""
    net, pixels = scope.bench.model.net.eval(), scope.runtime.to_pixels(batch.images)
    state, generators = _state(net), _generators(pixels.device)
    once = _logits(net, pixels)
    same_generator, same_state = _equal(generators, _generators(pixels.device)), _equal(state, _state(net))
    again, alone = _logits(net, pixels), torch.cat([_logits(net, image[None]) for image in pixels])
    return Behaviour(
        same_logits=torch.equal(once, again),
        same_state=same_state,
        same_generator=same_generator,
        batch_difference=float((once - alone).abs().max() / once.abs().max()),
        same_attack=torch.equal(scope.attacked(batch), scope.attacked(batch)),
    )


@torch.no_grad()
def _logits(net: nn.Module, pixels: Tensor) -> Tensor:
    return net(pixels)  # type: ignore[no-any-return]


def _generators(device: torch.device) -> list[Tensor]:
    """The states of torch's random generators."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _equal(before: list[Tensor], now: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(before, now, strict=True))


def _state(net: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in (*net.parameters(), *net.buffers())]
