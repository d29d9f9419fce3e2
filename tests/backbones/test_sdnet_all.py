"""SDNets of CSC-layers throughout: with shortcuts a ResNet, without them a chain."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdnet_bench.backbones import build, count_parameters
from sdnet_bench.backbones.resnet import LINKS, BasicBlock, ResNet
from sdnet_bench.csc import CSCConv2d, csc_layers, get_lambda

Settle = Callable[[nn.Module, Tensor], nn.Module]

DEPTHS = pytest.mark.parametrize("depth", [18, 34])
STEMS = pytest.mark.parametrize("stem", ["cifar", "imagenet"])
SHORTCUTS = pytest.mark.parametrize("shortcut", [True, False])


def small(name: str = "sdnet18_all", **options: Any) -> ResNet:
    net = build(name, num_classes=10, **{"width": 4, **options})
    assert isinstance(net, ResNet)
    return net


def shapes(stages: Sequence[nn.Module], features: Tensor) -> list[torch.Size]:
    found = []
    for stage in stages:
        features = stage(features)
        found.append(features.shape)
    return found


@pytest.mark.parametrize(
    ("depth", "options", "parameters"),
    [
        (18, {"shortcut": True}, 11_173_962),
        (34, {"shortcut": True}, 21_282_122),
        (18, {"shortcut": False}, 11_000_138),
        (34, {"shortcut": False}, 21_108_298),
    ],
)
def test_the_number_of_parameters(depth: int, options: dict[str, bool], parameters: int) -> None:
    with torch.device("meta"):  # at this width values take long
        net = build(f"sdnet{depth}_all", num_classes=10, **options)
    assert count_parameters(net) == parameters


@DEPTHS
@pytest.mark.parametrize(("stem", "more"), [("cifar", 0), ("imagenet", 9 * 4 * 4)])
def test_a_chain_lacks_the_parameters_of_the_shortcuts(depth: int, stem: str, more: int) -> None:
    """On the ImageNet stem it has those of one more CSC-layer."""
    with torch.device("meta"):
        resnet, chain = small(f"resnet{depth}", stem=stem), small(f"sdnet{depth}_all", stem=stem)
    shortcuts = [block.shortcut for block in resnet.modules() if isinstance(block, BasicBlock)]
    assert count_parameters(chain) == count_parameters(resnet) - sum(map(count_parameters, shortcuts)) + more


@pytest.mark.parametrize(
    ("depth", "stem", "shortcut", "count"),
    [
        (18, "cifar", True, 17),
        (18, "cifar", False, 17),
        (34, "cifar", True, 33),
        (34, "cifar", False, 33),
        (18, "imagenet", True, 18),
        (18, "imagenet", False, 18),
    ],
)
def test_the_stem_and_both_layers_of_every_branch_are_csc_layers(
    depth: int, stem: str, shortcut: bool, count: int
) -> None:
    with torch.device("meta"):
        layers = csc_layers(small(f"sdnet{depth}_all", stem=stem, shortcut=shortcut))
    assert len(layers) == count
    assert {layer.kernel_size for layer in layers[1:]} == {3}


def test_with_shortcuts_only_the_3x3_convolutions_are_those_of_no_resnet() -> None:
    with torch.device("meta"):
        mine, resnet = small(shortcut=True), small("resnet18")
    parameters = {name.replace("dictionary", "weight"): value.shape for name, value in mine.named_parameters()}
    assert parameters == {name: value.shape for name, value in resnet.named_parameters()}
    ordinary = [layer for layer in mine.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size for layer in ordinary] == 3 * [(1, 1)]


@STEMS
@SHORTCUTS
def test_features_have_the_shapes_of_a_resnet(stem: str, shortcut: bool) -> None:
    images, found = torch.rand(2, 3, 33, 37), []
    for net in (small(stem=stem, shortcut=shortcut), small("resnet18", stem=stem)):
        found.append(shapes([net.stem, net.pool, *net.stages], images))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "rectified"),
    [
        ({}, False),
        ({"shortcut": True}, True),
        ({"stem_relu": True}, True),
        ({"shortcut": True, "stem_relu": False}, False),
    ],
)
def test_the_stem_has_a_relu_where_the_blocks_have(options: dict[str, bool], rectified: bool) -> None:
    with torch.device("meta"):
        assert isinstance(small(**options).relu, nn.ReLU) is rectified


@SHORTCUTS
@STEMS
def test_options_reach_every_csc_layer(stem: str, shortcut: bool) -> None:
    options: dict[str, Any] = {"steps": 3, "nonnegative": False, "gradient_checkpointing": True}
    net = small(stem=stem, shortcut=shortcut, lambda_=0.25, **options)
    assert get_lambda(net) == 0.25
    for layer in csc_layers(net):
        assert {name: getattr(layer, name) for name in options} == options


class TestPath:
    @DEPTHS
    @STEMS
    def test_a_chain_is_a_path_from_the_pixels_to_the_average(self, depth: int, stem: str) -> None:
        net, images = small(f"sdnet{depth}_all", stem=stem), torch.rand(2, 3, 33, 37)
        features = images
        for layer in net.train().path():
            features = layer(features)
        assert features.any()
        assert torch.equal(net(images), net.classifier(features.mean((2, 3))))

    def test_it_is_made_of_single_layers_in_the_order_of_the_image(self) -> None:
        net = small()
        path = net.path()
        assert path[:4] == [net.normalize, net.stem, net.bn, net.relu]
        assert [layer for layer in path if isinstance(layer, CSCConv2d)] == csc_layers(net)
        assert all(isinstance(layer, LINKS) for layer in path)

    @pytest.mark.parametrize(
        ("name", "options", "length"),
        [
            ("sdnet18_all", {"shortcut": True}, 5),
            ("sdnet18_all", {"shortcut": True, "stem": "imagenet"}, 5),
            ("sdnet18", {}, 5),
            ("sdnet18", {"stem": "imagenet"}, 4),
            ("resnet18", {}, 1),
        ],
    )
    def test_it_ends_before_a_block_a_max_pool_and_a_convolution(
        self, name: str, options: dict[str, Any], length: int
    ) -> None:
        with torch.device("meta"):
            net = small(name, **options)
        assert net.path() == [net.normalize, net.stem, net.bn, net.relu, net.pool][:length]


class TestGradientCheckpointing:
    @pytest.fixture(params=[True, False], ids=["shortcut", "chain"])
    def twins(self, request: pytest.FixtureRequest) -> tuple[ResNet, ResNet]:
        plain = small(shortcut=request.param, lambda_=0.02).double()
        lean = copy.deepcopy(plain)
        for layer in csc_layers(lean):
            layer.gradient_checkpointing = True
        return plain, lean

    @pytest.fixture
    def images(self) -> Tensor:
        return torch.rand(4, 3, 16, 16, dtype=torch.float64)

    def test_a_step_of_training_is_that_of_plain_autograd(self, twins: tuple[ResNet, ResNet], images: Tensor) -> None:
        for net in twins:
            net.train()(images).pow(3).sum().backward()
        plain, lean = ({name: value.grad for name, value in net.named_parameters()} for net in twins)
        assert all(value is not None and value.any() for value in plain.values())
        torch.testing.assert_close(lean, plain, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(twins[1].state_dict(), twins[0].state_dict(), rtol=1e-12, atol=1e-12)

    def test_gradients_by_the_image_in_eval_mode_are_those_of_plain_autograd(
        self, twins: tuple[ResNet, ResNet], images: Tensor, settle: Settle
    ) -> None:
        found = []
        for net in twins:
            settle(net, images)
            at = images.clone().requires_grad_()
            found += torch.autograd.grad(net(at).pow(3).sum(), at)
        assert found[0].flatten(1).any(1).all()
        torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
