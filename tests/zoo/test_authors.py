"""Released checkpoints: the logits are those of the released network, written down here once more from its facts."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from bombs import Bomb
from torch import Tensor
from typer.testing import CliRunner

from sdnet_bench.cli.app import app
from sdnet_bench.config import Origin
from sdnet_bench.csc import csc_layers, get_lambda
from sdnet_bench.errors import ModelError, UnknownNameError, UsageError
from sdnet_bench.progress import Progress
from sdnet_bench.zoo.authors import BLOCKS, convert
from sdnet_bench.zoo.find import load_model
from sdnet_bench.zoo.weights import file_digest

State = dict[str, Tensor]
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LAMBDA = 0.1
WIDTH = 4

LEARNING = "learning"
"""In a state: batch norms take the statistics of the batch, and keep them."""


class Released(NamedTuple):
    """A released network: which, for how many classes, with which stem; of an SDNet-All, whether it has shortcuts."""

    name: str
    classes: int = 10
    kernel: int = 3
    shortcut: bool = False

    @property
    def is_all(self) -> bool:
        return self.name.endswith("_all")

    @property
    def is_chain(self) -> bool:
        return self.is_all and not self.shortcut

    @property
    def stem(self) -> str:
        return "layer0.0" if self.name.startswith("resnet") else "layer0.0.dn"

    def blocks(self) -> Iterator[tuple[str, int, int, int]]:
        """(name, channels in, channels out, stride)"""
        channels = WIDTH
        for stage, count in enumerate((2, 2, 2, 2) if "18" in self.name else (3, 4, 6, 3)):
            for place in range(count):
                name = f"layer{stage + 1}.{'layers.' * self.is_all}{place}"
                yield name, channels, WIDTH << stage, 2 if stage and not place else 1
                channels = WIDTH << stage

    def state(self) -> State:
        """Random weights, atoms of any length, and the statistics of a batch of images."""
        tensors = dict(self._convolution(self.stem, 3, WIDTH, self.kernel)) | dict(self._norm("layer0.1", WIDTH))
        if self.is_all and self.kernel == 7:
            tensors |= dict(self._convolution("layer0.2.dn", WIDTH, WIDTH, 3))
        for name, before, after, stride in self.blocks():
            for number, channels in ((1, before), (2, after)):
                layer = f"{name}.conv{number}{'.dn' * self.is_all}"
                tensors |= dict(self._convolution(layer, channels, after, 3))
                tensors |= dict(self._norm(f"{name}.bn{number}", after))
            if not self.is_chain and (stride > 1 or before != after):
                tensors |= dict(self._convolution(f"{name}.shortcut.0", before, after, 1))
                tensors |= dict(self._norm(f"{name}.shortcut.1", after))
        tensors["linear.weight"] = torch.randn(self.classes, WIDTH << 3)
        tensors["linear.bias"] = torch.randn(self.classes)
        self.logits(tensors | {LEARNING: torch.ones(())}, torch.rand(8, 3, 32, 32))
        return tensors

    @staticmethod
    def _convolution(name: str, before: int, after: int, kernel: int) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", torch.randn(after, before, kernel, kernel) / math.sqrt(before * kernel**2)
        if name.endswith(".dn"):
            yield f"{name}.step_size", torch.rand(()) / 10 + 0.1

    @staticmethod
    def _norm(name: str, channels: int) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", torch.rand(channels) + 0.5
        yield f"{name}.bias", torch.randn(channels) / 10
        yield f"{name}.running_mean", torch.zeros(channels)
        yield f"{name}.running_var", torch.ones(channels)
        yield f"{name}.num_batches_tracked", torch.tensor(17)

    def logits(self, state: State, images: Tensor) -> Tensor:
        """What the released code computes in eval mode, layer by layer."""
        mean, std = (torch.tensor(values).to(images)[:, None, None] for values in (IMAGENET, CIFAR)[self.kernel == 3])
        out = self._layer(state, self.stem, (images - mean) / std, 1 if self.kernel == 3 else 2)
        out = norm(state, "layer0.1", out)
        out = F.relu(out) if self.name.startswith("resnet") else out
        if self.kernel == 7:
            out = self._layer(state, "layer0.2.dn", out, 2) if self.is_all else F.max_pool2d(out, 3, 2, 1)
        for name, before, after, stride in self.blocks():
            out = (self._link if self.is_chain else self._residual)(state, name, out, stride, before != after)
        return F.linear(out.mean((2, 3)), state["linear.weight"], state["linear.bias"])

    def _link(self, state: State, name: str, x: Tensor, stride: int, _changes: bool) -> Tensor:
        out = norm(state, f"{name}.bn1", self._layer(state, f"{name}.conv1.dn", x, stride))
        return norm(state, f"{name}.bn2", self._layer(state, f"{name}.conv2.dn", out, 1))

    def _residual(self, state: State, name: str, x: Tensor, stride: int, changes: bool) -> Tensor:
        code = ".dn" * self.is_all
        out = norm(state, f"{name}.bn1", self._layer(state, f"{name}.conv1{code}", x, stride))
        out = out if self.is_all else F.relu(out)
        out = norm(state, f"{name}.bn2", self._layer(state, f"{name}.conv2{code}", out, 1))
        if changes or stride > 1:
            x = norm(state, f"{name}.shortcut.1", F.conv2d(x, state[f"{name}.shortcut.0.weight"], stride=stride))
        return F.relu(out + x)

    @staticmethod
    def _layer(state: State, name: str, x: Tensor, stride: int) -> Tensor:
        """A convolution, or two steps of FISTA with the atoms at unit norm and codes that are not negative."""
        weight = state[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        if not name.endswith(".dn"):
            return F.conv2d(x, weight, stride=stride, padding=padding)
        atoms = weight.float()  # as on the release's device, whatever the precision of the rest
        weight = (atoms / atoms.flatten(1).norm(dim=1)[:, None, None, None]).to(x)
        step = state[f"{name}.step_size"]
        threshold = float(torch.tensor(LAMBDA) * step)
        code = F.relu(F.softshrink(step * F.conv2d(x, weight, stride=stride, padding=padding), threshold))
        shown = F.conv_transpose2d(code, weight, stride=stride, padding=padding, output_padding=stride - 1)
        code = code + step * F.conv2d(x - shown, weight, stride=stride, padding=padding)
        return F.relu(F.softshrink(code, threshold))


def norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, training=LEARNING in state, momentum=1)


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model_best.pth.tar"


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "converted"


NETWORKS = [Released(name) for name in BLOCKS]
NETWORKS += [Released("sdnet18", 100), Released("sdnet18", 1000, 7), Released("resnet34", 1000, 7)]
NETWORKS += [Released("sdnet18_all", *what) for what in ((100, 3, True), (1000, 7, False), (1000, 7, True))]


@pytest.mark.parametrize("released", NETWORKS, ids=str)
def test_the_logits_are_those_of_the_released_network(released: Released, file: Path, runs_dir: Path) -> None:
    state, images = released.state(), torch.rand(3, 3, *[32 if released.kernel == 3 else 64] * 2)
    folder = convert(save(state, file), released.name, runs_dir, Progress())
    net = load_model(folder).net
    exact = {name: tensor.double() for name, tensor in state.items()}
    with torch.no_grad():
        expected = released.logits(exact, images.double())
        single, double = net(images), net.double()(images.double())
    spread = expected.std(0).mean()
    assert spread > 1e-3 * expected.abs().mean()
    assert (single - expected).abs().max() < 1e-3 * spread
    assert (double - expected).abs().max() < 1e-6 * spread


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("is_nested", [False, True])
def test_every_form_of_the_file_makes_the_same_model(prefix: str, is_nested: bool, file: Path, runs_dir: Path) -> None:
    state = Released("sdnet18").state()
    plain = convert(save(state, file), "sdnet18", runs_dir, Progress(), name="plain")
    named = {prefix + name: tensor for name, tensor in state.items()}
    others = {"epoch": 220, "perf": torch.tensor(95.3), "optimizer": {"state": {0: torch.ones(3)}, "param_groups": []}}
    save({**others, "state_dict": named} if is_nested else named, file)
    folder = convert(file, "sdnet18", runs_dir, Progress(), name="other")
    assert load_model(folder).weights == load_model(plain).weights


def test_a_converted_model_says_where_it_is_from(file: Path, runs_dir: Path) -> None:
    save(Released("sdnet18", 100).state(), file)
    folder = convert(file, "sdnet18", runs_dir, Progress())
    assert folder == runs_dir / "sdnet18-cifar100-released"
    assert Origin.read(folder) == Origin(source="model_best.pth.tar", revision=file_digest(file))
    model = load_model("sdnet18-cifar100-released", runs_dir=runs_dir)
    assert (model.config.dataset, model.config.num_classes, model.trained_lambda) == ("cifar100", 100, 0.1)


def test_atoms_rest_at_unit_norm_and_step_sizes_are_those_of_the_file(file: Path, runs_dir: Path) -> None:
    state = Released("sdnet18_all").state()
    net = load_model(convert(save(state, file), "sdnet18_all", runs_dir, Progress())).net
    layers = csc_layers(net)
    steps = [tensor for name, tensor in state.items() if name.endswith("step_size")]
    assert torch.equal(torch.stack([layer.step_size for layer in layers]), torch.stack(steps))
    for layer in layers:
        torch.testing.assert_close(layer.dictionary.flatten(1).norm(dim=1), torch.ones(layer.atoms))
    assert get_lambda(net) == LAMBDA


def test_what_is_not_in_the_file_is_told(file: Path, runs_dir: Path, told: Progress) -> None:
    convert(save(Released("sdnet18").state(), file), "sdnet18", runs_dir, told)
    assert told.notes == [
        "cifar10: pixels are normalised as the release's loader does",
        "lambda 0.1, which is not in the file: the release trains with 0.1",
    ]


def test_the_command_makes_a_run_with_a_card(file: Path, runs_dir: Path) -> None:
    save(Released("sdnet18").state(), file)
    words = ["models", "convert", str(file), "--as", "sdnet18", "--name", "theirs", "--runs-dir", str(runs_dir)]
    done = CliRunner().invoke(app, words)
    assert (done.exception, done.stdout) == (None, f"{runs_dir / 'theirs'}\n")
    text = (runs_dir / "theirs" / "README.md").read_text(encoding="utf-8")
    assert f"it comes from `model_best.pth.tar`, revision `{file_digest(file)}`." in text


def assert_refused(file: Path, runs_dir: Path, complaint: str, backbone: str = "sdnet18", dataset: str = "") -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        convert(file, backbone, runs_dir, Progress(), dataset=dataset or None)
    assert "\n" not in str(caught.value)
    assert not runs_dir.exists()


@pytest.mark.parametrize("name", ["layer2.0.shortcut.1.running_var", "layer0.0.dn.step_size", "layer4.1.bn2.bias"])
def test_a_missing_tensor_is_named(name: str, file: Path, runs_dir: Path) -> None:
    state = Released("sdnet18").state()
    del state[name]
    assert_refused(save(state, file), runs_dir, rf"is no released sdnet18: it lacks {name}$")


def test_a_tensor_without_a_place_is_named(file: Path, runs_dir: Path) -> None:
    state = Released("sdnet18").state() | {"layer0.0.running_c_loss": torch.ones(())}
    assert_refused(save(state, file), runs_dir, r"is no released sdnet18: it has layer0\.0\.running_c_loss as well$")


def test_a_tensor_of_another_shape_is_named(file: Path, runs_dir: Path) -> None:
    state = Released("sdnet18").state() | {"layer1.0.conv1.weight": torch.ones(4, 4, 1, 1)}
    expected = r"layer1\.0\.conv1\.weight is of another shape, expected \(4, 4, 3, 3\), got \(4, 4, 1, 1\)"
    assert_refused(save(state, file), runs_dir, expected)


@pytest.mark.parametrize(
    ("held", "claimed", "complaint"),
    [
        (
            "resnet18",
            "sdnet18",
            r"expected layer0\.0\.dn\.weight and linear\.bias in it, got layer0\.0\.weight, layer0",
        ),
        ("sdnet18", "resnet18", r"expected layer0\.0\.weight and linear\.bias in it"),
        ("sdnet18", "sdnet34", r"it lacks layer1\.2\.bn1\.bias, "),
        ("sdnet34", "sdnet18", r"it has layer1\.2\.bn1\.bias, .*\.\.\. as well"),
        ("sdnet18", "sdnet18_all", r"it lacks layer1\.layers\.0\.bn1\.bias, .*got layer1\.0\.bn1\.bias, "),
    ],
)
def test_another_architecture_is_refused(held: str, claimed: str, complaint: str, file: Path, runs_dir: Path) -> None:
    save(Released(held).state(), file)
    assert_refused(file, runs_dir, f"is no released {claimed}.*{complaint}", claimed)


@pytest.mark.parametrize(
    ("released", "dataset", "complaint"),
    [
        (Released("sdnet18"), "cifar100", "expected cifar100's 100 classes behind a 3x3 stem, got 10 classes"),
        (Released("sdnet18", 10, 7), "", "got 10 classes behind a 7x7 stem"),
        (Released("sdnet18", 200), "", "expected cifar10's 10 classes .* or imagenet's 1000 classes behind a 7x7 stem"),
    ],
)
def test_classes_and_stem_are_those_of_the_data_set(
    released: Released, dataset: str, complaint: str, file: Path, runs_dir: Path
) -> None:
    save(released.state(), file)
    assert_refused(file, runs_dir, f"is of other images, .*{complaint}", dataset=dataset)


def test_what_was_not_released_is_answered_with_the_nearest_name(file: Path, runs_dir: Path) -> None:
    save(Released("sdnet18").state(), file)
    with pytest.raises(UnknownNameError, match=r"unknown released network 'sdnet81'\. Did you mean 'sdnet18'"):
        convert(file, "sdnet81", runs_dir, Progress())
    with pytest.raises(UnknownNameError, match=r"unknown data set of the release 'cifar11'\. Did you mean 'cifar10"):
        convert(file, "sdnet18", runs_dir, Progress(), dataset="cifar11")


def test_a_run_of_that_name_stays(file: Path, runs_dir: Path) -> None:
    save(Released("sdnet18").state(), file)
    before = load_model(convert(file, "sdnet18", runs_dir, Progress())).weights
    save(Released("sdnet18").state(), file)
    with pytest.raises(UsageError, match=r"is there already\. Choose another name with --name"):
        convert(file, "sdnet18", runs_dir, Progress())
    assert load_model("sdnet18-cifar10-released", runs_dir=runs_dir).weights == before


def test_code_in_a_checkpoint_is_refused_and_not_run(file: Path, runs_dir: Path, tmp_path: Path) -> None:
    complaint = "is damaged, or more than tensors and plain values, expected a checkpoint$"
    bomb = Bomb(tmp_path / "exploded")
    assert_refused(save(Released("sdnet18").state() | {"bomb": bomb}, file), runs_dir, complaint)
    file.write_bytes(pickle.dumps(bomb))
    assert_refused(file, runs_dir, complaint)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("keep", [0, 7, 5000, -1])
def test_a_truncated_file_is_one_line(keep: int, file: Path, runs_dir: Path) -> None:
    save(Released("sdnet18").state(), file)
    file.write_bytes(file.read_bytes()[:keep])
    assert_refused(file, runs_dir, "is damaged, or more than tensors and plain values")


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {}}, {"state_dict": {"linear.bias": 3}}, {"epoch": 5}])
def test_a_file_without_tensors_by_name_is_one_line(content: object, file: Path, runs_dir: Path) -> None:
    assert_refused(save(content, file), runs_dir, "holds no state dict, expected tensors by name")


def test_a_missing_file_is_one_line(file: Path, runs_dir: Path) -> None:
    assert_refused(file, runs_dir, r"there is no file .*model_best\.pth\.tar, expected a checkpoint")
    file.mkdir()
    assert_refused(file, runs_dir, "there is no file")
