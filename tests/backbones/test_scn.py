"""SCN and SCN-18: their sizes, their chain of layers, and what makes them backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.backbones import HasAfterStep, build, count_parameters
from sdnet_bench.backbones.resnet import ResNet
from sdnet_bench.config import Backbone, Recipe
from sdnet_bench.csc import PatchCodingConv2d, csc_layers
from sdnet_bench.data import open_dataset
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.engine.train import train
from sdnet_bench.errors import UsageError
from sdnet_bench.progress import Progress

BOTH = pytest.mark.parametrize("name", ["scn", "scn18"])


def small(name: str, **options: Any) -> nn.Module:
    return build(name, num_classes=10, **{"width": 4, "steps": 5, **options}).eval()


def coding_layers(net: nn.Module) -> list[PatchCodingConv2d]:
    return [module for module in net.modules() if isinstance(module, PatchCodingConv2d)]


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [("scn", 10, 694_216), ("scn", 100, 717_346), ("scn18", 10, 11_173_963), ("scn18", 100, 11_220_133)],
)
def test_the_networks_have_their_published_sizes(name: str, num_classes: int, parameters: int) -> None:
    assert count_parameters(build(name, num_classes=num_classes)) == parameters


def test_scn_is_a_chain_of_fourteen_layers() -> None:
    shapes: list[tuple[int, ...]] = []
    net = build("scn", num_classes=10, steps=1).eval()
    for layer in coding_layers(net):
        layer.register_forward_hook(lambda _module, _inputs, code: shapes.append(tuple(code.shape[1:])))
    with torch.no_grad():
        net(torch.rand(1, 3, 32, 32))
    first = [(16, 32, 32), (64, 32, 32)] * 3
    second, third = [(32, 16, 16), (128, 16, 16)] * 2, [(64, 8, 8), (256, 8, 8)] * 2
    assert shapes == first + second + third


def test_every_layer_of_scn_has_fewer_atoms_than_a_patch_has_entries() -> None:
    for layer in coding_layers(build("scn", num_classes=10)):
        assert layer.dictionary.shape[0] < layer.dictionary[0].numel()


def test_batch_norm_stands_before_every_layer_of_scn_and_after_the_last() -> None:
    kinds = [type(module) for module in small("scn").get_submodule("layers")]
    assert kinds == [nn.BatchNorm2d, PatchCodingConv2d] * 14 + [nn.BatchNorm2d]
    norms = [module for module in small("scn").modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.affine, norm.eps, norm.momentum) for norm in norms} == {(False, 1e-4, 0.1)}


def test_the_classifier_of_scn_starts_small() -> None:
    net = build("scn", num_classes=100)
    assert net.get_parameter("classifier.weight").std().item() == pytest.approx(1 / 256, rel=0.02)
    assert not net.get_parameter("classifier.bias").any()


def test_only_the_stem_distinguishes_scn18_from_its_resnet() -> None:
    scn18, resnet = small("scn18"), build("resnet18", num_classes=10, width=4)
    assert isinstance(scn18, ResNet)
    assert set(resnet.state_dict()) - set(scn18.state_dict()) == {"stem.weight"}
    assert set(scn18.state_dict()) - set(resnet.state_dict()) == {"stem.dictionary", "stem.lambda_"}
    assert [layer.lambda_.item() for layer in coding_layers(scn18)] == [pytest.approx(0.1)]


@pytest.mark.parametrize(
    ("name", "settings"), [("scn", (50, "implicit", 30, 0.0)), ("scn18", (50, "unrolled", 30, 1e-2))]
)
def test_layers_are_solved_as_their_network_needs(name: str, settings: tuple[object, ...]) -> None:
    layers = coding_layers(build(name, num_classes=10, width=2))
    assert {(one.steps, one.gradient, one.backward_steps, one.relative_ridge) for one in layers} == {settings}


@BOTH
@pytest.mark.parametrize(
    ("option", "value"),
    [("steps", 3), ("gradient", "implicit"), ("gradient", "unrolled"), ("backward_steps", 4), ("relative_ridge", 0.5)],
)
def test_options_reach_every_layer(name: str, option: str, value: object) -> None:
    assert {getattr(layer, option) for layer in coding_layers(small(name, **{option: value}))} == {value}


def test_a_patch_coding_layer_is_no_csc_layer() -> None:
    assert csc_layers(small("scn18")) == []


@BOTH
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("size", [(32, 32), (33, 37)])
def test_any_width_and_size_gives_logits(name: str, width: int, size: tuple[int, int]) -> None:
    assert small(name, width=width, steps=2)(torch.rand(2, 3, *size)).shape == (2, 10)


@BOTH
@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
def test_gradients_of_the_pixels_in_eval_mode_are_those_of_finite_differences(name: str, gradient: str) -> None:
    options = {"gradient": gradient, "steps": 400, "backward_steps": 60, "relative_ridge": 0.0}
    net = small(name, **options).double()
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    direction = torch.randn_like(image)

    def loss(image: Tensor) -> Tensor:
        return net(image).square().sum()  # type: ignore[no-any-return]

    (slope,) = torch.autograd.grad(loss(image.requires_grad_()), image)
    with torch.no_grad():
        difference = (loss(image + 1e-6 * direction) - loss(image - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close((slope * direction).sum(), difference, rtol=1e-3, atol=0)


@BOTH
def test_autocast_stays_close_to_full_precision(name: str) -> None:
    net, images = small(name), torch.rand(4, 3, 16, 16)
    exact = net(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(images)
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"depth": 3}, "backbone '{}': .*unexpected keyword argument 'depth'"),
        ({"steps": 0}, "FISTA iterations out of range, expected 1 to 10,000, got 0"),
        ({"gradient": "exact"}, "expected implicit or unrolled, got exact"),
        ({"width": 0}, "expected width >= 1, got 0"),
    ],
)
@BOTH
def test_a_wrong_option_is_refused(name: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint.format(name)):
        small(name, **options)


class Watched(PatchCodingConv2d):
    """Counts the steps that it follows, after it has made lambda illegal."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.followed = 0

    def after_step(self) -> None:
        with torch.no_grad():
            self.lambda_.sub_(10)
        super().after_step()
        self.followed += 1


@BOTH
def test_training_calls_the_layers_after_every_step(
    monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path, runtime: Runtime
) -> None:
    for place in ("sdnet_bench.backbones.scn", "sdnet_bench.csc"):
        monkeypatch.setattr(f"{place}.PatchCodingConv2d", Watched)
    options = {"width": 2, "steps": 2, "backward_steps": 2}
    recipe = Recipe(
        name="tiny", dataset="digits", backbone=Backbone(name=name, options=options), epochs=1, batch_size=4, limit=8
    )
    net = build(name, num_classes=10, **options)
    train(recipe, net, open_dataset("digits", tmp_path), tmp_path, runtime, Progress(), resume=False)
    layers = [module for module in net.modules() if isinstance(module, Watched)]
    assert all(isinstance(layer, HasAfterStep) for layer in layers)
    assert {(layer.followed, layer.lambda_.item()) for layer in layers} == {(2, 0.0)}
