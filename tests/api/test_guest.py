"""A network in memory and images of one's own: measured, refused with one clear error, and left as they were."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torchvision.models import resnet18

import sdnet_bench
from sdnet_bench import Bench
from sdnet_bench.backbones import build
from sdnet_bench.csc import csc_layers, get_lambda
from sdnet_bench.data import open_dataset
from sdnet_bench.engine.evaluate import evaluate
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import BenchError, BenchWarning, DataError, UsageError

Pair = tuple[Tensor, Tensor]


class Small(nn.Module):
    """A linear network of the mean colours of four by four blocks."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.pool, self.norm, self.head = nn.AdaptiveAvgPool2d(4), nn.BatchNorm2d(3), nn.Linear(48, classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.norm(image)).flatten(1))
        return logits


@pytest.fixture
def net() -> Small:
    return Small().eval()


@pytest.fixture(scope="module")
def digits() -> Pair:
    """Forty digits as floats in [0, 1], and their labels."""
    split = open_dataset("digits", Path("data")).open("test")
    (batch,) = split.subset(range(40)).batches(40, torch.device("cpu"))
    return batch.images.float() / 255, batch.labels


def test_ten_lines_from_nothing_to_a_table(digits: Pair) -> None:
    net = resnet18(num_classes=10).eval()
    bench = sdnet_bench.Bench(net, data=TensorDataset(*digits), progress=False)
    clean, noisy = bench.evaluate(), bench.evaluate("gaussian")
    with torch.no_grad():
        right = net(digits[0]).argmax(1) == digits[1]
    assert clean.outcomes.tolist() == right.tolist()
    ours = bench.table(2).to_frame().query("model == 'network'")["ours"].tolist()
    assert ours == [pytest.approx(100 * record.accuracy) for record in noisy]
    assert "sdnet-bench evaluate network" not in str(bench.table(2))  # no command can name it


def test_a_data_set_by_name_is_that_of_commands(net: nn.Module, runtime: Runtime) -> None:
    found = Bench(net, data="digits", device="cpu", precision="float32", progress=False).evaluate()
    split = open_dataset("digits", Path("data")).open("test")
    assert found.outcomes.tolist() == evaluate(net, split, runtime)[None].correct.tolist()


class Pictures(Dataset[tuple[Any, int]]):
    """Pictures of any kind, with names of their classes."""

    classes = tuple("abcdefghij")

    def __init__(self, pair: Pair, kind: Callable[[Tensor], Any]) -> None:
        self.images, self.labels, self.kind = *pair, kind

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, at: int) -> tuple[Any, int]:
        return self.kind(self.images[at]), int(self.labels[at])


def as_array(image: Tensor) -> Any:
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", [lambda image: image, as_array, lambda image: Image.fromarray(as_array(image))])
def test_images_of_any_kind_are_the_same_images(net: nn.Module, digits: Pair, kind: Callable[[Tensor], Any]) -> None:
    bench = Bench(net, data=Pictures(digits, kind), progress=False)
    whole = Bench(net, data=((digits[0] * 255).round().byte().permute(0, 2, 3, 1).numpy(), digits[1].numpy()))
    assert bench.evaluate().record.cell.images == whole.evaluate().record.cell.images
    assert bench.evaluate().outcomes.tolist() == whole.evaluate().outcomes.tolist()
    assert bench.workbench.dataset.classes == tuple("abcdefghij")


def test_normalisation_is_put_before_the_network(net: nn.Module, digits: Pair) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    found = Bench(net, data=digits, mean=mean, std=std, precision="float32", progress=False).evaluate()
    scaled = (digits[0] - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        assert found.outcomes.tolist() == (net(scaled).argmax(1) == digits[1]).tolist()


def test_rounding_to_levels_is_said(net: nn.Module, digits: Pair) -> None:
    with pytest.warns(BenchWarning, match=r"^test images are rounded to 256 levels, by up to 0\.50 of one$"):
        Bench(net, data=(digits[0] * 0.9, digits[1]))


def test_severities_and_a_device_of_other_libraries(net: nn.Module, digits: Pair) -> None:
    bench = Bench(net, data=digits, device=torch.device("cpu"), progress=False)
    found = bench.evaluate("shot", severity=np.arange(1, 4))
    assert [record.images.severity for record in found] == [1, 2, 3]
    assert list(bench.evaluate("shot", severity=np.int64(2))) == [found[1]]


def test_lambda_of_a_network_in_memory(digits: Pair) -> None:
    net = coded()
    bench = Bench(net, data=digits, train=digits, validation=digits, progress=False)
    swept = bench.sweep_lambda("gaussian", severity=1, lambdas=[0.1, 0.7])
    assert [record.inference.lambda_ for record in swept] == [0.1, 0.7]
    bench.fit_lambda("gaussian", lambdas=[0.1, 0.7])
    assert bench.evaluate("gaussian", severity=1, lambda_="adaptive").record.inference.rule
    assert {record.cell.protocol for record in bench.attack(steps=1, limit=8, lambdas=[0.1, 0.7])} == {
        "transfer",
        "matched",
        "ensemble",
    }
    assert get_lambda(net) == 0.1


def test_a_matched_attack_needs_no_validation_images(digits: Pair) -> None:
    bench = Bench(coded(), data=digits, progress=False)
    assert bench.attack(steps=1, limit=4, lambdas=[0.1], protocol="matched").record.cell.protocol == "matched"
    with pytest.raises(UsageError, match="no validation images"):
        bench.attack(steps=1, limit=4, lambdas=[0.1])


# Records


def test_two_networks_of_one_name_are_not_compared(net: nn.Module, digits: Pair) -> None:
    one, other, named = (Bench(net, digits, name=name, progress=False) for name in ("network", "network", "other"))
    with pytest.raises(UsageError, match="two networks of one name"):
        sdnet_bench.compare([one, other])
    assert repr(sdnet_bench.compare([one, named])) == "<Comparison of network, other>"
    assert repr(sdnet_bench.compare(named)) == "<Comparison of other>"


def test_records_are_kept_in_a_folder_and_found_again(net: nn.Module, digits: Pair, tmp_path: Path) -> None:
    first = Bench(net, data=digits, name="mine", runs_dir=tmp_path, progress=False)
    first.evaluate("shot", severity=2)
    again = Bench(net, data=digits, name="mine", runs_dir=tmp_path, progress=False)
    assert len(again.records) == 1
    assert again.evaluate("shot", severity=2)[0] == first.records[0]
    again.evaluate("gaussian")
    assert "mine" in str(sdnet_bench.compare([again]).table(2))


def test_a_table_has_no_records_of_other_images_in_the_folder(net: nn.Module, digits: Pair, tmp_path: Path) -> None:
    for part in (slice(0, 25), slice(25, 40)):
        data = (digits[0][part], digits[1][part])
        bench = Bench(net, data=data, name="mine", runs_dir=tmp_path, progress=False)
        bench.evaluate("gaussian")
        bench.evaluate("gaussian", limit=5)
        counts = bench.table(2).to_frame().query("model == 'mine'")["n"].tolist()
        assert counts == 5 * [part.stop - part.start]
    assert len(bench.records) == 20


def test_folders_are_those_of_the_environment(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDNET_BENCH_RUNS", str(runs))
    bench = Bench("sdnet18-tiny", progress=False)
    assert bench.folder == runs / "sdnet18-tiny"
    assert sdnet_bench.compare(["resnet18-tiny", bench]).results[0].name == "resnet18-tiny"


def test_without_a_folder_none_are_kept(
    net: nn.Module, digits: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bench = Bench(net, data=digits, name="mine", progress=False)
    bench.evaluate()
    folder = bench.folder
    assert folder.exists()
    del bench
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def change_a_weight(net: Small) -> None:
    net.head.bias.data[0] += 1


def change_a_statistic(net: Small) -> None:
    assert net.norm.running_mean is not None
    net.norm.running_mean += 1


def change_a_setting(net: Small) -> None:
    net.pool.output_size = (4, 4)  # type: ignore[assignment]


class Other(Small):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).abs()


@pytest.mark.parametrize(
    "change",
    [change_a_weight, change_a_statistic, change_a_setting, lambda net: setattr(net, "__class__", Other)],
)
def test_a_changed_network_is_another(
    net: Small, digits: Pair, tmp_path: Path, change: Callable[[Small], None]
) -> None:
    Bench(net, data=digits, name="mine", runs_dir=tmp_path, progress=False).evaluate()
    change(net)
    name = "other" if isinstance(net, Other) else "mine"
    bench = Bench(net, data=digits, name=name, runs_dir=tmp_path, progress=False)
    weights = {record.cell.weights for record in bench.records}
    bench.evaluate()
    assert bench.evaluate().record.cell.weights not in weights


def test_a_name_is_of_one_network(net: nn.Module, digits: Pair, tmp_path: Path) -> None:
    Bench(net, data=digits, name="mine", runs_dir=tmp_path, progress=False)
    with pytest.raises(UsageError, match="mine is of another network, Small"):
        Bench(Other().eval(), data=digits, name="mine", runs_dir=tmp_path, progress=False)


# What is refused


class Endless(IterableDataset[Pair]):
    def __iter__(self) -> Iterator[Pair]:
        yield torch.zeros(3, 8, 8), torch.tensor(0)


class Unequal(Pictures):
    def __getitem__(self, at: int) -> tuple[Any, int]:
        return self.images[at][:, at // 3 :], int(self.labels[at])


def coded() -> nn.Module:
    """A small SDNet."""
    return build("sdnet18", num_classes=10, mean=(0.3,) * 3, std=(0.4,) * 3, width=4).eval()


class Wrong(NamedTuple):
    error: type[BenchError]
    words: str
    ask: Callable[[Small, Tensor, Tensor], object]


WRONG = {
    "no images": Wrong(UsageError, "a network in memory, and no images", lambda net, x, y: Bench(net)),
    "training": Wrong(UsageError, "Small is in training mode", lambda net, x, y: Bench(net.train(), (x, y))),
    "a part": Wrong(UsageError, "norm is in training mode", lambda net, x, y: (net.norm.train(), Bench(net, (x, y)))),
    "probabilities": Wrong(
        UsageError,
        "Sequential gives probabilities, expected logits",
        lambda net, x, y: Bench(nn.Sequential(net, nn.Softmax(1)).eval(), (x, y)),
    ),
    "no logits": Wrong(
        UsageError, "Conv2d makes no logits", lambda net, x, y: Bench(nn.Conv2d(3, 3, 1).eval(), (x, y))
    ),
    "nan": Wrong(
        UsageError, "not finite", lambda net, x, y: (net.head.bias.data.fill_(float("nan")), Bench(net, (x, y)))
    ),
    "above one": Wrong(DataError, r"test images leave \[0, 1\], got 0 to 2", lambda net, x, y: Bench(net, (2 * x, y))),
    "below zero": Wrong(DataError, r"leave \[0, 1\], got -0.5", lambda net, x, y: Bench(net, (x - 0.5, y))),
    "no number": Wrong(DataError, "leave", lambda net, x, y: Bench(net, (x * float("nan"), y))),
    "integers": Wrong(DataError, "expected uint8, or floats", lambda net, x, y: Bench(net, (x.long(), y))),
    "grey": Wrong(DataError, "three channels", lambda net, x, y: Bench(net, TensorDataset(x[:, :1], y))),
    "empty": Wrong(DataError, r"\(N, 3, H, W\), got \(0, 3, ", lambda net, x, y: Bench(net, (x[:0], y[:0]))),
    "labels": Wrong(
        DataError, "expected 0 to 9, .* got 0 to 10", lambda net, x, y: Bench(net, (x, y + (y == 9).long()))
    ),
    "float labels": Wrong(DataError, "an integer for each of 40", lambda net, x, y: Bench(net, (x, y.float()))),
    "too few labels": Wrong(DataError, "an integer for each of 40", lambda net, x, y: Bench(net, (x, y[:3]))),
    "text labels": Wrong(DataError, r"got <U1 \(40,\)", lambda net, x, y: Bench(net, (x, [str(int(at)) for at in y]))),
    "no length": Wrong(UsageError, "test images have no length", lambda net, x, y: Bench(net, Endless())),
    "a loader": Wrong(
        UsageError,
        "no length and places, expected .* the .dataset of a loader, .* got DataLoader",
        lambda net, x, y: Bench(net, DataLoader(TensorDataset(x, y))),
    ),
    "a dict": Wrong(UsageError, "got dict", lambda net, x, y: Bench(net, {"images": x, "labels": y})),
    "dicts": Wrong(
        DataError,
        r"test item 0 is no \(image, label\), got dict",
        lambda net, x, y: Bench(net, [{"image": x[0], "label": 3} for _ in range(9)]),
    ),
    "levels": Wrong(DataError, r"got 0 to 255\. Divide them by 255\.", lambda net, x, y: Bench(net, (255 * x, y))),
    "a class": Wrong(
        UsageError, "no network, expected an nn.Module, .* got type", lambda net, x, y: Bench(Small, (x, y))
    ),
    "weights": Wrong(UsageError, "no network, .* OrderedDict", lambda net, x, y: Bench(net.state_dict(), (x, y))),
    "unequal": Wrong(DataError, "test images of unequal sizes", lambda net, x, y: Bench(net, Unequal((x, y), Tensor))),
    "names": Wrong(DataError, "expected 10 different names", lambda net, x, y: Bench(net, (x, y), classes=["a"])),
    "half": Wrong(UsageError, "half a normalisation", lambda net, x, y: Bench(net, (x, y), mean=(0.5,) * 3)),
    "idle": Wrong(UsageError, "classes= without data=", lambda net, x, y: Bench(net, "digits", classes=["a"])),
    "idle name": Wrong(UsageError, "name= without data=", lambda net, x, y: Bench("sdnet18-digits", name="mine")),
    "no corruption": Wrong(
        UsageError, "unknown corruption None", lambda net, x, y: Bench(coded(), (x, y)).sweep_lambda(None)
    ),
    "a fraction": Wrong(
        UsageError, "severity out of range, .* got 1.5", lambda net, x, y: Bench(net, (x, y)).evaluate("shot", 1.5)
    ),
    "no severities": Wrong(
        UsageError, r"severity out of range, .* got \[\]", lambda net, x, y: Bench(net, (x, y)).evaluate("shot", [])
    ),
    "no images of many": Wrong(
        UsageError, "limit out of range, .* got 0", lambda net, x, y: Bench(net, (x, y)).evaluate(limit=0)
    ),
    "no batch": Wrong(
        UsageError,
        "batch size out of range, .* got 0",
        lambda net, x, y: Bench(net, (x, y)).evaluate("shot", adapt="bn", batch_size=0),
    ),
    "lambda": Wrong(
        UsageError,
        "lambda is no number, .* got adaptiv",
        lambda net, x, y: Bench(net, (x, y)).evaluate(lambda_="adaptiv"),
    ),
    "a copy": Wrong(UsageError, "no files to copy", lambda net, x, y: Bench(net, (x, y)).export("copy")),
    "no training": Wrong(UsageError, "no train images", lambda net, x, y: Bench(coded(), (x, y)).fit_lambda()),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_before_anything_is_measured(net: Small, digits: Pair, case: str) -> None:
    error, words, ask = WRONG[case]
    with pytest.raises(error, match=words):
        ask(net, digits[0].clone(), digits[1].clone())


# A guest's manners


def state(net: nn.Module) -> list[Any]:
    """Everything about a network that a guest may not change."""
    tensors = [*net.named_parameters(), *net.named_buffers()]
    return [
        [module.training for module in net.modules()],
        [(name, tensor.data_ptr(), tensor.stride(), tensor.device, tensor.requires_grad) for name, tensor in tensors],
        [(name, tensor.detach().clone().numpy().tobytes()) for name, tensor in tensors],
        [weight.grad is None for weight in net.parameters()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()],
    ]


def world() -> list[Any]:
    """The global state that a guest may not change."""
    return [
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]
        random.getstate(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark),
        matplotlib.rcParams.copy(),
        warnings.filters[:],
        (logging.root.level, logging.root.handlers[:]),
        dict(os.environ),
    ]


def everything(bench: Bench) -> None:
    bench.evaluate("gaussian", severity=1, limit=8)
    bench.evaluate("gaussian", severity=1, adapt="tent", batch_size=4, limit=8)
    bench.sweep_lambda("gaussian", severity=1, lambdas=[0.7], limit=8)
    bench.attack(steps=1, protocol="matched", lambdas=[0.1], limit=4)
    bench.table(2)
    bench.figure(5)


@pytest.fixture
def sparse() -> nn.Module:
    net = coded()
    next(net.parameters()).requires_grad_(False)
    return net


def test_network_and_world_are_left_as_they_were(
    sparse: nn.Module, digits: Pair, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(sparse, data=digits, validation=digits, progress=False)  # the first imports what it needs
    everything(bench)
    before = state(sparse), world()
    everything(Bench(sparse, data=digits, validation=digits, seed=1))
    assert state(sparse) == before[0]
    assert world() == before[1]
    assert csc_layers(sparse)[0].lambda_ == pytest.approx(0.1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_also_after_an_exception_or_an_interrupt(
    sparse: nn.Module, digits: Pair, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(sparse, data=digits, validation=digits, progress=False)
    before, calls = (state(sparse), world()), iter(range(1000))

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        if next(calls) == 5:
            raise error

    bench.net.register_forward_hook(stop)
    with pytest.raises((error, BenchError)):
        everything(bench)
    assert (state(sparse), world()) == before
    assert csc_layers(bench.net)[0].lambda_ == pytest.approx(0.1)
    assert not bench.net.training


def test_a_warning_is_pythons_own(digits: Pair) -> None:
    class Certain(Small):
        def forward(self, image: Tensor) -> Tensor:
            return (1e6 * super().forward(image)).clamp(-1, 1)

    bench = Bench(Certain().eval(), data=digits, progress=False)
    with pytest.warns(BenchWarning, match="have no gradient: attacks cannot see where to go"):
        bench.attack(steps=1, limit=4)


def test_the_package_is_imported_without_torch() -> None:
    script = "import sdnet_bench, sys; print('torch' in sys.modules, 'Bench' in dir(sdnet_bench))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "False True\n"
