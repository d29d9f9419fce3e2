"""CSC-layers in other people's networks."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from sdnet_bench.backbones import build
from sdnet_bench.csc import CSCConv2d, csc_layers, get_lambda, replace_convs, residuals, set_lambda
from sdnet_bench.errors import UsageError


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 48)


def test_the_first_convolution_of_a_torchvision_network(images: Tensor) -> None:
    net = torchvision.models.resnet18(num_classes=5).eval()
    shape = net.conv1(images).shape
    assert replace_convs(net, lambda_=0.2) is net
    (layer,) = csc_layers(net)
    assert layer is net.conv1
    assert layer(images).shape == shape
    assert get_lambda(net) == 0.2
    before = net(images)
    set_lambda(net, 0.6)
    with residuals(net) as meter:
        assert not torch.equal(net(images), before)
    assert meter.per_image().shape == (2,)


def test_all_leaves_convolutions_of_size_one() -> None:
    net = replace_convs(build("resnet18", num_classes=5, width=4), "all")
    left = [each for each in net.modules() if isinstance(each, nn.Conv2d)]
    assert len(csc_layers(net)) == 17
    assert [conv.kernel_size for conv in left] == [(1, 1)] * 3


def test_a_function_chooses_by_name_and_shape() -> None:
    net = replace_convs(
        build("resnet18", num_classes=5, width=4), lambda name, conv: conv.stride == (2, 2) and "conv1" in name
    )
    assert [name for name, each in net.named_modules() if isinstance(each, CSCConv2d)] == [
        "stages.2.conv1",
        "stages.4.conv1",
        "stages.6.conv1",
    ]


def test_even_kernels_inside_a_network(images: Tensor) -> None:
    net = timm.create_model("test_convnext", num_classes=5).eval()
    replace_convs(net, lambda _, conv: conv.groups == 1 and max(conv.kernel_size) > 1)
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in csc_layers(net)} == {(4, 4, 0), (2, 2, 0)}
    assert net(images).shape == (2, 5)


def test_depthwise_convolutions_are_refused_by_their_name() -> None:
    net = torchvision.models.mobilenet_v3_small()
    with pytest.raises(UsageError, match=r"features\.1\.block\.0\.0 has no CSC-layer of its shape, .* groups=16"):
        replace_convs(net, "all")
    assert csc_layers(net) == []


def test_atoms_are_the_weights_at_unit_norm() -> None:
    conv = nn.Conv2d(3, 8, 5, stride=2, padding=2, dtype=torch.float64)
    layer = replace_convs(nn.Sequential(conv))[0]
    assert isinstance(layer, CSCConv2d)
    norms = conv.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(layer.dictionary, conv.weight / norms)
    assert layer.dictionary.dtype == layer.step_size.dtype == torch.float64


def test_a_resnet_becomes_the_sdnet(images: Tensor) -> None:
    resnet = replace_convs(build("resnet18", num_classes=5, width=4), steps=3).eval()
    sdnet = build("sdnet18", num_classes=5, width=4, steps=3, stem_relu=True).eval()
    sdnet.load_state_dict(resnet.state_dict())
    assert torch.equal(resnet(images), sdnet(images))


def test_modes_are_kept() -> None:
    net = replace_convs(nn.Sequential(nn.Conv2d(3, 4, 3, padding="same")).eval())
    assert not net[0].training


GEOMETRIES = [
    nn.Conv2d(3, 4, 4, stride=4),
    nn.Conv2d(3, 4, 16, stride=16),
    nn.Conv2d(3, 4, 4, padding=2),
    nn.Conv2d(3, 4, 3),
    nn.Conv2d(3, 4, 3, stride=2, padding="valid"),
    nn.Conv2d(3, 4, 5, padding="same"),
    nn.Conv2d(3, 4, 11, stride=4, padding=2),
]


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize("conv", GEOMETRIES, ids=repr)
def test_the_output_has_the_shape_of_the_convolution(conv: nn.Conv2d, size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size)
    net = nn.Sequential(conv)
    shape = net(image).shape
    assert replace_convs(net)(image).shape == shape


def test_what_a_layer_makes_of_padding_by_itself_stays_unsaid() -> None:
    layer = replace_convs(nn.Sequential(nn.Conv2d(3, 4, 5, padding=2)))[0]
    assert repr(layer) == repr(CSCConv2d(3, 4, 5))


class Standardised(nn.Conv2d):
    """One that does something to its weights, as those of weight-standardised networks."""


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(3, 4, 3, padding=2, dilation=2),
        nn.Conv2d(3, 4, 4, padding="same"),
        nn.Conv2d(3, 4, 4, padding=4),
        nn.Conv2d(3, 4, 4, padding=(1, 2)),
        nn.Conv2d(3, 4, (3, 5), padding=(1, 2)),
        Standardised(3, 4, 3, padding=1),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(3, 4, 3, padding=1, stride=(1, 2)),
    ],
    ids=repr,
)
def test_a_shape_that_no_layer_has_is_refused_and_nothing_is_changed(conv: nn.Conv2d) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), conv)
    with pytest.raises(UsageError, match=r"1 has no CSC-layer of its shape, expected an nn\.Conv2d with a square"):
        replace_convs(net, "all")
    assert csc_layers(net) == []


@pytest.mark.parametrize("net", [nn.Sequential(nn.Linear(2, 2)), nn.Conv2d(3, 4, 3, padding=1)], ids=["none", "itself"])
def test_without_a_convolution_inside_there_is_nothing_to_replace(net: nn.Module) -> None:
    with pytest.raises(UsageError, match="no convolution to replace"):
        replace_convs(net)


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="expected first, all or a function, got last"):
        replace_convs(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), "last")  # type: ignore[arg-type]
