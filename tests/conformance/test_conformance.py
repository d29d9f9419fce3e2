"""Each check of a contract: parts that keep it pass, and one that breaks it is told how."""

from __future__ import annotations

import copy
import itertools
import random
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.adaptations import ADAPTATIONS
from sdnet_bench.attacks import ATTACKS
from sdnet_bench.backbones import BACKBONES
from sdnet_bench.backbones.normalize import Normalize
from sdnet_bench.conformance import Finding, all_parts, check_part
from sdnet_bench.csc import CSCConv2d
from sdnet_bench.data import CORRUPTIONS, DATASETS, Corruption, Dataset, open_dataset
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.engine.robust import SUITES
from sdnet_bench.errors import DataError, UnknownNameError, UsageError
from sdnet_bench.registry import Part

EXAMPLE = Path(__file__).parents[1] / "example_plugin" / "sdnet_bench_example"
REGISTRIES = {
    "backbone": BACKBONES,
    "corruption": CORRUPTIONS,
    "attack": ATTACKS,
    "adaptation": ADAPTATIONS,
    "dataset": DATASETS,
}

Checking = Callable[[str, Any], Iterator[Finding]]
Judge = Callable[[str, Any], dict[str, Finding]]


@pytest.fixture
def checking(register_part: Any) -> Checking:
    """Registers a part as "candidate" and begins to check it: `checking(kind, part)` yields findings as they come."""

    def begin(kind: str, part: Any) -> Iterator[Finding]:
        register_part(REGISTRIES[kind], "candidate", part)
        return check_part("candidate")

    return begin


@pytest.fixture
def judge(checking: Checking) -> Judge:
    """All findings by check: `judge(kind, part)`."""
    return lambda kind, part: {found.check: found for found in checking(kind, part)}


def verdicts(found: dict[str, Finding]) -> set[str]:
    return {finding.verdict for finding in found.values()}


@pytest.mark.parametrize(
    ("kind", "name", "attribute"),
    [
        ("backbone", "tinycsc", "tinycsc"),
        ("corruption", "dead_columns", "dead_columns"),
        ("attack", "fgsm", "fgsm"),
        ("adaptation", "flip", "Flip"),
        ("dataset", "gratings", "gratings"),
    ],
)
def test_the_example_keeps_its_contract(kind: str, name: str, attribute: str, register_part: Any) -> None:
    part = runpy.run_path(str(EXAMPLE / f"{kind}.py"))[attribute]
    register_part(REGISTRIES[kind], name, part)
    found = list(check_part(name))
    assert {finding.kind for finding in found} == {kind}
    assert [finding for finding in found if finding.verdict != "pass"] == []


@pytest.mark.parametrize("name", ["gaussian", "fog", "noise", "digits"])
def test_our_own_parts_keep_it(name: str) -> None:
    assert [found for found in check_part(name) if found.verdict == "fail"] == []


# backbones


class Good(nn.Module):
    """A small network that does nothing wrong."""

    def __init__(self, num_classes: int, *, mean: Any, std: Any) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.conv, self.last = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, num_classes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.normalize(images))

    def head(self, images: Tensor) -> Tensor:
        return self.last(self.conv(images).relu().mean((2, 3)))  # type: ignore[no-any-return]


def altered(
    before: Callable[[Tensor], Tensor] = lambda images: images, after: Callable[[Tensor], Any] = lambda logits: logits
) -> type[Good]:
    """The good network, with something done to its images or to its logits."""

    class Altered(Good):
        def forward(self, images: Tensor) -> Any:
            return after(super().forward(before(images)))

    return Altered


LOUD = altered(lambda images: print("hello") or images)  # noqa: T201


class Raw(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(images)


class Counting(Good):
    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(images)


class Frozen(Good):
    def head(self, images: Tensor) -> Tensor:
        return super().head(images).detach() + images.mean()


class Secretive(Good):
    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(num_classes, **options)
        self.secret = torch.randn(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.secret


class Locked(Good):
    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(num_classes, **options)
        self.lock = threading.Lock()


BROKEN_BACKBONES: list[tuple[Callable[..., Any], str, str]] = [
    (lambda num_classes, *, mean, std: 3, "builds", "got int"),
    (lambda num_classes, *, mean, std: Normalize(mean, std), "builds", "got nothing to train"),
    (lambda num_classes, *, mean, std: 1 / 0, "builds", "got the error: backbone 'candidate': division by zero"),
    (altered(after=lambda logits: logits[:, :3]), "logits", "got torch.float32 (4, 3)"),
    (altered(after=lambda logits: logits.argmax(1)), "logits", "got torch.int64 (4,)"),
    (altered(after=lambda logits: {"logits": logits}), "logits", "got dict"),
    (altered(torch.log), "logits", "got logits that are not finite"),
    (altered(lambda images: sys.exit(3)), "logits", "got an exit with status 3"),
    (Raw, "normalisation", "got logits that differ by"),
    (
        altered(lambda images: images + 0.1 * torch.rand_like(images)),
        "determinism",
        "got other logits the second time",
    ),
    (altered(lambda images: images + 0 * torch.rand(1)), "determinism", "got a forward that draws random numbers"),
    (Counting, "state", "got another seen after a forward"),
    (altered(lambda images: images - images.mean(0)), "batch", "got logits that differ by"),
    (altered(lambda images: (255 * images).round() / 255), "input gradient", "got zeros alone"),
    (Frozen, "training", "does not require grad"),
    (Secretive, "weights", "got other logits from the same weights"),
    (Locked, "copy", "got TypeError: cannot pickle"),
    (LOUD, "prints nothing", r"got 'hello\nhello"),
]


def test_nothing_more_is_asked_of_a_backbone_that_does_not_build(judge: Judge) -> None:
    found = judge("backbone", lambda num_classes, *, mean, std: 3)
    assert {check: finding.verdict for check, finding in found.items()} == {"builds": "fail", "prints nothing": "pass"}


def test_what_a_part_prints_does_not_reach_the_terminal(judge: Judge, capsys: pytest.CaptureFixture[str]) -> None:
    judge("backbone", LOUD)
    assert capsys.readouterr().out == ""


# corruptions

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5)


def darker(pixels: Any, level: float, generator: np.random.Generator) -> Any:
    return pixels * (1 - level)


def corruption(apply: Callable[..., Any] = darker, levels: tuple[float, ...] = LEVELS, **rest: Any) -> Corruption:
    return Corruption("candidate", apply, {"cifar": levels}, **rest)


def in_place(pixels: Any, level: float, generator: np.random.Generator) -> Any:
    pixels *= 1 - level
    return pixels


BROKEN_CORRUPTIONS: list[tuple[Any, str, str, str]] = [
    (corruption(levels=LEVELS[:3]), "severities", "fail", "got 3 for cifar"),
    (corruption(levels=(*LEVELS[:4], float("nan"))), "severities", "fail", "got the level nan"),
    (Corruption("candidate", darker, {}), "severities", "fail", "got none"),
    (corruption(lambda pixels, *_: pixels[:, 1:]), "shape", "fail", "got (3, 31, 32) for (3, 32, 32) at severity 1"),
    (corruption(lambda pixels, *_: pixels / 0.0), "shape", "fail", "got "),
    (corruption(lambda pixels, level, _: pixels + level * random.random()), "determinism", "fail", "second time"),
    (
        corruption(lambda pixels, level, _: pixels * (1 - level) + 0 * np.random.random()),
        "generators",
        "fail",
        "got another state of numpy's",
    ),
    (corruption(in_place), "input", "fail", "got another input after severity 1 of cifar"),
    (corruption(lambda pixels, *_: pixels), "change", "warn", "got the clean images at severity 1 of cifar"),
    (corruption(levels=LEVELS[::-1]), "order", "warn", "levels of 255 for cifar"),
]


# attacks


def ascend(victim: nn.Module, images: Tensor, labels: Tensor, setting: Any, restart: int) -> Tensor:
    images = images.clone().requires_grad_()
    loss = nn.functional.cross_entropy(victim(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    length = gradient.abs().flatten(1).amax(1) if setting.norm == "linf" else gradient.flatten(1).norm(dim=1)
    return (images + 0.9 * setting.eps * gradient / length.view(-1, 1, 1, 1)).clamp(0, 1)


def changed(change: Callable[[Any, Tensor, Any], Any]) -> Callable[..., Any]:
    """The good attack, and something else done to victim, adversarial images and setting."""

    def attack(victim: Any, images: Tensor, labels: Tensor, setting: Any, restart: int) -> Any:
        return change(victim, ascend(victim, images, labels, setting, restart), setting)

    return attack


def refuse_l2(victim: Any, images: Tensor, setting: Any) -> Tensor:
    if setting.norm == "l2":
        raise UsageError("works under linf alone")
    return images


def hook(victim: Any, images: Tensor, setting: Any) -> Tensor:
    victim.net.register_forward_hook(lambda *_: None)
    return images


def reseed(victim: Any, images: Tensor, setting: Any) -> Tensor:
    np.random.seed(restless.randrange(2**32))
    return images


def train(victim: Any, images: Tensor, setting: Any) -> Tensor:
    with torch.no_grad():
        victim.net.last.bias += 1e-8 + victim.net.last.bias * 1e-6
    return images


restless = random.Random()


BROKEN_ATTACKS: list[tuple[Any, str, str, str]] = [
    (changed(lambda victim, images, setting: 1 - images), "budget", "fail", "got the error: attack 'candidate' left"),
    (changed(lambda victim, images, setting: sys.exit(0)), "budget", "fail", "got an exit with status 0"),
    (changed(refuse_l2), "norms", "warn", "got works under linf alone"),
    (
        changed(lambda victim, images, setting: (images - 1e-3 * setting.eps * restless.random()).clamp(0, 1)),
        "determinism",
        "fail",
        "that differ the second time, under linf on a plain network",
    ),
    (
        changed(lambda victim, images, setting: (images - 1e-3 * setting.eps * images.mean()).clamp(0, 1)),
        "batch",
        "fail",
        "got 4 of 4 that differ, under linf on a plain network",
    ),
    (changed(hook), "traces", "fail", "got other hooks afterwards"),
    (changed(reseed), "traces", "fail", "got other numpy random state afterwards"),
    (changed(train), "traces", "fail", "got other weights afterwards"),
    (lambda victim, images, labels, setting, restart: images, "strength", "warn", "got 0 against "),
]


def test_no_attack_has_the_name_of_a_suite() -> None:
    assert {*ATTACKS.reserved} == {*SUITES}


# adaptations

Adapt = Callable[[nn.Module, Callable[[Tensor], Tensor]], Any]


@contextmanager
def brighten(net: nn.Module, classify: Callable[[Tensor], Tensor]) -> Iterator[Callable[[Tensor], Tensor]]:
    """Brightens each image by itself, and leaves the network alone."""
    yield lambda images: classify((1.5 * images).clamp(max=1))


def adaptation(adapt: Adapt = brighten, *, is_per_image: Any = False, is_online: Any = False) -> Callable[[], Any]:
    """A maker of an adaptation."""

    class Made:
        def __call__(self, net: nn.Module, classify: Callable[[Tensor], Tensor]) -> Any:
            return adapt(net, classify)

    Made.is_per_image, Made.is_online = is_per_image, is_online  # type: ignore[attr-defined]
    return Made


def yielding(answer: Callable[[nn.Module, Any, Tensor], Any], **properties: Any) -> Callable[[], Any]:
    """An adaptation whose classifier gives `answer(net, classify, images)`."""

    @contextmanager
    def adapt(net: nn.Module, classify: Callable[[Tensor], Tensor]) -> Iterator[Any]:
        yield lambda images: answer(net, classify, images)

    return adaptation(adapt, **properties)


def leaving(change: Callable[[Any], object], *, only_after_a_fault: bool = False) -> Callable[[], Any]:
    """An adaptation that changes the network, and does not change it back."""

    @contextmanager
    def adapt(net: nn.Module, classify: Callable[[Tensor], Tensor]) -> Iterator[Any]:
        before = {name: value.clone() for name, value in net.state_dict().items()}
        change(net)
        yield classify
        if only_after_a_fault:
            net.load_state_dict(before)

    return adaptation(adapt)


@contextmanager
def suppressing(net: nn.Module, classify: Callable[[Tensor], Tensor]) -> Iterator[Any]:
    with suppress(RuntimeError):
        yield classify


@contextmanager
def counting_batches(net: nn.Module, classify: Callable[[Tensor], Tensor]) -> Iterator[Any]:
    """The n-th batch gets logits that are n times as large."""
    numbers = itertools.count(1)
    yield lambda images: next(numbers) * classify(images)


def refusing(kind: type[nn.Module], error: type[Exception] = UsageError) -> Callable[[], Any]:
    """An adaptation that cannot do with layers of a kind."""

    @contextmanager
    def adapt(net: nn.Module, classify: Callable[[Tensor], Tensor]) -> Iterator[Any]:
        if any(isinstance(module, kind) for module in net.modules()):
            raise error(f"no {kind.__name__}, please")
        yield classify

    return adaptation(adapt)


def forget_training(net: Any) -> None:
    norm_of(net).running_mean = norm_of(net).running_var = None


def norm_of(net: Any) -> Any:
    """The batch norm of a network; its layer norm where there is none."""
    return next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d | nn.LayerNorm))


BROKEN_ADAPTATIONS: list[tuple[Any, str, str, str]] = [
    (lambda: 3, "properties", "fail", "got AttributeError: 'int' object has no attribute 'is_per_image'"),
    (adaptation(is_online="no"), "properties", "fail", "got 'no' as is_online"),
    (adaptation(lambda net, classify: classify), "logits", "fail", "does not support the context manager protocol"),
    (yielding(lambda net, classify, images: classify(images).argmax(1)), "logits", "fail", "got torch.int64 (4,)"),
    (yielding(lambda net, classify, images: classify(images)[:2]), "logits", "fail", "got torch.float32 (2, 5)"),
    (yielding(lambda net, classify, images: classify(images) / 0), "logits", "fail", "got logits that are not finite"),
    (yielding(lambda net, classify, images: None), "logits", "fail", "got NoneType"),
    (refusing(nn.Module), "logits", "fail", "got the error: no Module, please"),
    (
        yielding(lambda net, classify, images: classify(images) * (1 + restless.random())),
        "determinism",
        "fail",
        "got other logits the second time, of a plain network",
    ),
    (
        yielding(lambda net, classify, images: classify(images - images.mean(0)), is_per_image=True),
        "company",
        "fail",
        "of the largest, of a plain network",
    ),
    (adaptation(counting_batches, is_per_image=True, is_online=True), "company", "fail", "got logits that differ by"),
    (adaptation(counting_batches), "earlier batch", "fail", "got other logits after another batch, of a plain network"),
    (
        yielding(lambda net, classify, images: classify(images + torch.rand(1))),
        "earlier batch",
        "fail",
        "got other logits after another batch, of a plain network",
    ),
    (
        yielding(lambda net, classify, images: net(images)),
        "classifier",
        "fail",
        "got 2 forward passes in 0 calls, of a plain network",
    ),
    (
        yielding(lambda net, classify, images: torch.zeros(len(images), 5)),
        "classifier",
        "fail",
        "got 0 forward passes in 0 calls",
    ),
    (leaving(lambda net: norm_of(net).weight.data.mul_(1 + 1e-6)), "traces", "fail", "got other weights afterwards"),
    (leaving(forget_training), "traces", "fail", "got other weights afterwards"),
    (leaving(lambda net: setattr(norm_of(net), "eps", 1e-4)), "traces", "fail", "got other attributes afterwards"),
    (leaving(lambda net: net.dropout.train()), "traces", "fail", "got other modes afterwards"),
    (leaving(lambda net: net.requires_grad_(True)), "traces", "fail", "got other requires_grad afterwards"),
    (leaving(lambda net: net.zero_grad()), "traces", "fail", "got other gradients afterwards"),
    (leaving(lambda net: net.last.weight.grad.zero_()), "traces", "fail", "got other gradients afterwards"),
    (
        leaving(lambda net: net.register_full_backward_hook(lambda *_: None)),
        "traces",
        "fail",
        "got other hooks afterwards",
    ),
    (
        leaving(lambda net: setattr(net, "norm", copy.deepcopy(net.norm))),
        "traces",
        "fail",
        "got other modules afterwards",
    ),
    (
        leaving(lambda net: setattr(net.last, "bias", nn.Parameter(net.last.bias.detach(), requires_grad=False))),
        "traces",
        "fail",
        "got other parameters afterwards",
    ),
    (leaving(lambda net: np.random.rand()), "traces", "fail", "got other numpy random state afterwards"),
    (leaving(lambda net: random.random()), "traces", "fail", "got other python random state afterwards"),
    (
        leaving(lambda net: norm_of(net).weight.data.mul_(2), only_after_a_fault=True),
        "exception",
        "fail",
        "got other weights afterwards, of a plain network",
    ),
    (adaptation(suppressing), "exception", "fail", "got an exception that is suppressed, of a plain network"),
    (
        yielding(lambda net, classify, images: classify(images) / (len(images) - 1)),
        "one image",
        "warn",
        "got logits that are not finite, of a plain network",
    ),
    (refusing(CSCConv2d), "CSC-layer", "warn", "got no CSCConv2d, please"),
    (refusing(nn.LayerNorm, TypeError), "no batch norm", "fail", "got TypeError: no LayerNorm, please"),
]


@pytest.mark.parametrize("kind", [CSCConv2d, nn.LayerNorm, nn.BatchNorm2d])
def test_an_adaptation_may_refuse_some_networks(judge: Judge, kind: type[nn.Module]) -> None:
    found = judge("adaptation", refusing(kind))
    warned = {check for check, finding in found.items() if finding.verdict != "pass"}
    assert warned == (set() if kind is nn.LayerNorm else {"CSC-layer"})


def test_restoring_after_the_block_alone_is_told_from_never_restoring(judge: Judge) -> None:
    found = judge("adaptation", leaving(lambda net: norm_of(net).weight.data.mul_(2), only_after_a_fault=True))
    assert {check for check, finding in found.items() if finding.verdict == "fail"} == {"exception"}


def test_an_adaptation_that_is_online_may_count_batches_and_draw(judge: Judge) -> None:
    drawing = yielding(lambda net, classify, images: classify(images + torch.rand(1)), is_online=True)
    for part in (adaptation(counting_batches, is_online=True), drawing):
        assert verdicts(judge("adaptation", part)) == {"pass"}


@pytest.mark.parametrize("name", sorted(ADAPTATIONS.ours))
def test_our_own_adaptations_pass(name: str) -> None:
    assert [found for found in check_part(name) if found.verdict != "pass"] == []


# data sets


class Renumbered(TensorSplit):
    def subset(self, places: Any) -> TensorSplit:
        found = super().subset(places)
        return replace(found, index=torch.arange(len(found)))


class Orderly(TensorSplit):
    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Any:
        return super().augmented(batch_size, device, 0)


class Forgetful(TensorSplit):
    def subset(self, places: Any) -> TensorSplit:
        return of(Forgetful)("", super().subset(places))

    def augmented(self, batch_size: int, device: torch.device, seed: int) -> Any:
        return list(super().augmented(batch_size, device, seed))[:-1]


def opener(
    split: Callable[[str, TensorSplit], Any] = lambda which, split: split, **changes: Any
) -> Callable[..., Dataset]:
    """Digits, with something changed in the data set or in its splits."""
    known = open_dataset("digits", Path())
    facts = {"name": "candidate", "open": lambda which: split(which, known.open(which))} | changes  # type: ignore[arg-type]
    return lambda data_dir, progress: replace(known, **facts)


def missing(data_dir: Path, progress: Any) -> Dataset:
    raise DataError(f"no images in {data_dir}")


def noisy(which: str, split: TensorSplit) -> TensorSplit:
    return replace(split, images=torch.randint(256, split.images.shape, dtype=torch.uint8))


def of(kind: type[TensorSplit]) -> Callable[[str, TensorSplit], TensorSplit]:
    return lambda which, split: kind(split.images, split.labels, split.index, split.augmentation)


def some_training_images(instead_of: str) -> Callable[[str, TensorSplit], Any]:
    def split_of(which: str, split: TensorSplit) -> Any:
        return open_dataset("digits", Path()).open("train").subset(range(100)) if which == instead_of else split

    return split_of


def empty(which: str, split: TensorSplit) -> TensorSplit:
    return replace(split, images=split.images[:0], labels=split.labels[:0], index=split.index[:0])


BROKEN_DATASETS: list[tuple[Any, str, str, str]] = [
    (lambda data_dir, progress: None, "opens", "fail", "got NoneType"),
    (opener(name="digits"), "opens", "fail", "got one that is called 'digits'"),
    (missing, "opens", "fail", "got the error: no images in data"),
    (opener(empty), "splits", "fail", "got an empty train split"),
    (
        opener(lambda which, split: replace(split, images=split.images.float())),
        "images",
        "fail",
        "got torch.float32 (256, 3, 32, 32) in train",
    ),
    (opener(num_classes=9, classes=()), "labels", "fail", "got 0 to 9 in train, and 9 classes"),
    (
        opener(lambda which, split: replace(split, labels=split.labels.int())),
        "labels",
        "fail",
        "got torch.int32 (1237,) in train",
    ),
    (opener(family="mnist"), "family", "fail", "got 'mnist'; known: cifar, imagenet"),
    (opener(mean=(0.5, 0.5, 0.5)), "statistics", "warn", "got mean 0.3"),
    (opener(std=(0.0, 0.5, 0.5)), "statistics", "warn", "std (0.0, 0.5, 0.5)"),
    (opener(lambda which, split: open_dataset("digits", Path()).open("test")), "apart", "fail", "got two splits"),
    (opener(some_training_images("test")), "apart", "fail", "got 100 of 100 test images among"),
    (opener(some_training_images("validation")), "held out", "fail", "in both"),
    (opener(noisy), "determinism", "fail", "got another digest of train the second time"),
    (opener(of(Renumbered)), "subset", "fail", "got other images, labels or index in train"),
    (opener(of(Orderly)), "augmented", "fail", "got the same order from another seed"),
    (opener(of(Forgetful)), "epoch", "fail", "got 224 different ones of 256 in an epoch of 224"),
]


# all kinds


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("backbone", Good),
        ("corruption", corruption()),
        ("attack", ascend),
        ("adaptation", adaptation(is_per_image=True)),
        ("dataset", opener()),
    ],
)
def test_a_good_part_passes(judge: Judge, kind: str, part: Any) -> None:
    assert verdicts(judge(kind, part)) == {"pass"}


@pytest.mark.parametrize(
    ("kind", "part", "check", "verdict", "got"),
    [
        *(("backbone", part, check, "fail", got) for part, check, got in BROKEN_BACKBONES),
        *(("corruption", *case) for case in BROKEN_CORRUPTIONS),
        *(("attack", *case) for case in BROKEN_ATTACKS),
        *(("adaptation", *case) for case in BROKEN_ADAPTATIONS),
        *(("dataset", *case) for case in BROKEN_DATASETS),
    ],
)
def test_a_part_that_breaks_its_contract_is_told_how(
    checking: Checking, kind: str, part: Any, check: str, verdict: str, got: str
) -> None:
    with np.errstate(all="ignore"):
        found = next(found for found in checking(kind, part) if found.check == check)
    assert found.verdict == verdict
    assert got in found.says
    assert found.says.startswith("expected ")


def test_findings_come_as_they_are_made(register_part: Any) -> None:
    asked: list[str] = []
    watched = changed(lambda victim, images, setting: asked.append(setting.norm) or images)
    register_part(ATTACKS, "candidate", watched)
    findings = check_part("candidate")
    assert not asked
    assert next(findings).check == "budget"
    assert {*asked} == {"linf", "l2"}


def test_an_unknown_name_gets_the_nearest_of_any_kind() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown part 'gausian'\. Did you mean 'gaussian'"):
        check_part("gausian")


def test_a_name_of_two_kinds_is_checked_as_both(register_part: Any) -> None:
    register_part(DATASETS, "candidate", opener())
    register_part(CORRUPTIONS, "candidate", corruption())
    assert {found.kind for found in check_part("candidate")} == {"dataset", "corruption"}


def test_a_plugin_that_is_left_out_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    rejected = Part("digits", "dataset", "more-digits", "2.0", "the name is taken by sdnet-bench")
    monkeypatch.setattr(DATASETS, "_rejected", [rejected])
    first, *rest = check_part("digits")
    assert (first.check, first.verdict) == ("loads", "fail")
    assert first.says.endswith("got more-digits's: the name is taken by sdnet-bench")
    assert {found.verdict for found in rest} == {"pass"}


def test_the_list_of_parts_holds_all_of_ours() -> None:
    listed = {(part.kind, part.name) for part in all_parts() if part.distribution == "sdnet-bench"}
    assert listed == {(kind, name) for kind, registry in REGISTRIES.items() for name in registry.ours}
    assert len(listed) > 35
