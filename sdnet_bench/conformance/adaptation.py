"""The contract of an adaptation: logits that follow from the stream and the seed, and a network left unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn

from ..adaptations import ADAPTATIONS, Adaptation, Classifier
from ..csc import CSCConv2d
from ..errors import UsageError
from .comparing import apart, changed, fault_of, traces
from .findings import Check

BATCHES, SIZE, SIDE, CHANNELS, CLASSES = 2, 4, 16, 6, 5
FEATURES = (CHANNELS, SIDE // 2, SIDE // 2)


@dataclass(frozen=True)
class Target:
    """A kind of small network, by its first layer and its norm layer."""

    where: str
    first: Callable[[], nn.Module]
    norm: Callable[[], nn.Module]

    def build(self) -> nn.Module:
        """A network in eval mode with equal weights each time; one parameter is frozen, one has a gradient."""
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            net = _Net(self.first(), self.norm()).eval()
        net.last.bias.requires_grad_(False)
        net.last.weight.grad = torch.ones_like(net.last.weight)
        return net


@dataclass(frozen=True)
class AdaptationSubject:
    """An adaptation by name, with its default settings, and a stream of two batches of noise images."""

    name: str

    @property
    def made(self) -> Adaptation:
        """The adaptation, made anew."""
        return ADAPTATIONS[self.name]()

    @property
    def stream(self) -> list[Tensor]:
        """Batches of images `(4, 3, 16, 16)` in [0, 1]."""
        return [*torch.rand(BATCHES, SIZE, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))]

    @property
    def usable(self) -> list[Target]:
        """The targets with batch norm that the adaptation accepts, or else the one without."""
        return [target for target in BATCH_NORM if self.refusal(target) is None] or [LAYER_NORM]

    def refusal(self, target: Target) -> str | None:
        """The error message where the adaptation refuses the network; None otherwise."""
        try:
            self.answers(target.build(), self.stream)
        except UsageError as error:
            return str(error)
        return None

    def logits(self, target: Target, stream: Sequence[Tensor]) -> Tensor:
        """The logits `(N, classes)` of all images of a stream."""
        return torch.cat(self.answers(target.build(), stream))

    def answers(self, net: nn.Module, stream: Sequence[Tensor], classify: Classifier | None = None) -> list[Tensor]:
        """What the adapted classifier returns for each batch of a stream, with the seed of an evaluation."""
        with torch.no_grad(), torch.random.fork_rng([]):
            torch.manual_seed(0)
            found: list[Tensor] = []
            with self.made(net, classify or net) as adapted:
                found.extend(adapted(images) for images in stream)
            return found


class _Net(nn.Module):
    def __init__(self, first: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.dropout = first, norm, nn.Dropout(0.5)
        self.last = nn.Linear(CHANNELS * (SIDE // 4) ** 2, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.first(images)).relu()
        pooled = nn.functional.avg_pool2d(features, 2).flatten(1)
        logits: Tensor = self.last(self.dropout(pooled))
        return logits


def _trained_batch_norm() -> nn.BatchNorm2d:
    """Batch norm with statistics that are not those of the test images."""
    norm = nn.BatchNorm2d(CHANNELS)
    nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    return norm


PLAIN = Target("a plain network", partial(nn.Conv2d, 3, CHANNELS, 3, 2, 1), _trained_batch_norm)
CODING = Target("a network with a CSC-layer", partial(CSCConv2d, 3, CHANNELS, 3, 2), _trained_batch_norm)
BATCH_NORM = (PLAIN, CODING)
LAYER_NORM = Target(
    "a network with layer norm", partial(nn.Conv2d, 3, CHANNELS, 3, 2, 1), partial(nn.LayerNorm, FEATURES)
)


def _says_what_it_depends_on(subject: AdaptationSubject) -> str | None:
    made = subject.made
    told = {"is_per_image": made.is_per_image, "is_online": made.is_online}
    return next((f"{value!r} as {name}" for name, value in told.items() if not isinstance(value, bool)), None)


def _on_each(find: Callable[[AdaptationSubject, Target], str | None]) -> Callable[[AdaptationSubject], str | None]:
    """The first that is found on a usable target, and its name."""

    def found(subject: AdaptationSubject) -> str | None:
        each = ((find(subject, target), target.where) for target in subject.usable)
        return next((f"{fault}, of {where}" for fault, where in each if fault), None)

    return found


@_on_each
def _gives_logits(subject: AdaptationSubject, target: Target) -> str | None:
    faults = (fault_of(logits, (SIZE, CLASSES)) for logits in subject.answers(target.build(), subject.stream))
    return next(filter(None, faults), None)


@_on_each
def _repeats(subject: AdaptationSubject, target: Target) -> str | None:
    first, second = (subject.logits(target, subject.stream) for _ in range(2))
    return None if torch.equal(first, second) else "other logits the second time"


@_on_each
def _minds_each_image_alone(subject: AdaptationSubject, target: Target) -> str | None:
    """Nothing is found of an adaptation that says that it is none of one image."""
    if not subject.made.is_per_image:
        return None
    alone = torch.cat([subject.logits(target, [image[None]]) for image in torch.cat(subject.stream)])
    return apart(subject.logits(target, subject.stream), alone)


@_on_each
def _forgets_each_batch(subject: AdaptationSubject, target: Target) -> str | None:
    """Nothing is found of an adaptation that says that it is online."""
    last, after_another = subject.stream[-1:], subject.logits(target, subject.stream)[-SIZE:]
    is_as_told = subject.made.is_online or torch.equal(after_another, subject.logits(target, last))
    return None if is_as_told else "other logits after another batch"


@_on_each
def _classifies_as_told(subject: AdaptationSubject, target: Target) -> str | None:
    """The network is run as often as the classifier that the adaptation is given."""
    passes: list[Tensor] = []
    calls: list[Tensor] = []
    net = target.build()
    net.register_forward_pre_hook(lambda net, inputs: passes.append(inputs[0]))

    def classify(images: Tensor) -> Tensor:
        calls.append(images)
        logits: Tensor = net(images)
        return logits

    subject.answers(net, subject.stream, classify)
    is_as_told = len(passes) == len(calls) > 0
    return None if is_as_told else f"{len(passes)} forward passes in {len(calls)} calls"


@_on_each
def _leaves_no_trace(subject: AdaptationSubject, target: Target) -> str | None:
    before = traces(net := target.build())
    subject.answers(net, subject.stream)
    return changed(before, traces(net))


@_on_each
def _leaves_no_trace_of_a_fault(subject: AdaptationSubject, target: Target) -> str | None:
    before = traces(net := target.build())
    try:
        subject.answers(net, subject.stream, _failing(net))
        return "an exception that is suppressed"
    except Exception:
        return changed(before, traces(net))


def _failing(net: nn.Module) -> Classifier:
    """Classifies once, and raises at the second call, after the forward pass."""
    calls = count()

    def classify(images: Tensor) -> Tensor:
        logits: Tensor = net(images)
        if next(calls):
            raise RuntimeError("the classifier fails")
        return logits

    return classify


@_on_each
def _takes_one_image(subject: AdaptationSubject, target: Target) -> str | None:
    is_finite = subject.logits(target, [subject.stream[0][:1]]).isfinite().all()
    return None if is_finite else "logits that are not finite"


def _takes_codes(subject: AdaptationSubject) -> str | None:
    return subject.refusal(CODING)


def _minds_missing_batch_norm(subject: AdaptationSubject) -> str | None:
    subject.refusal(LAYER_NORM)
    return None


ADAPTATION_CHECKS = (
    Check("properties", "is_per_image and is_online, each True or False", _says_what_it_depends_on, "stop"),
    Check("logits", "finite logits (N, classes) of images (N, 3, H, W) in [0, 1]", _gives_logits, "stop"),
    Check("determinism", "the same logits, bit for bit, from the same stream and seed", _repeats),
    Check("company", "if is_per_image, logits of an image independent of all others", _minds_each_image_alone),
    Check("earlier batch", "unless is_online, logits of a batch independent of those before", _forgets_each_batch),
    Check("classifier", "the network run by the classifier that it is given alone", _classifies_as_told),
    Check("traces", "network and random states left as they were", _leaves_no_trace),
    Check("exception", "the same after an exception in the block", _leaves_no_trace_of_a_fault),
    Check("one image", "finite logits of a batch of one image", _takes_one_image, "warn"),
    Check("CSC-layer", "a network with a CSC-layer adapted too", _takes_codes, "warn"),
    Check("no batch norm", "one without batch norm adapted, or refused by a UsageError", _minds_missing_batch_norm),
)
