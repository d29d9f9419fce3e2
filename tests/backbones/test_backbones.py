"""The backbones: their sizes, their stems, and an independent ResNet to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
import torchvision
from found import there
from torch import Tensor, nn

from sdnet_bench.backbones import BACKBONES, build, count_parameters, defaults
from sdnet_bench.backbones.options import CSCOptions
from sdnet_bench.csc import CSCConv2d, csc_layers, get_lambda
from sdnet_bench.errors import UnknownNameError, UsageError

Settle = Callable[[nn.Module, Tensor], nn.Module]

RESNETS = ["resnet18", "sdnet18", "sdnet18_all"]
EVERY_FAMILY = pytest.mark.parametrize("name", [*RESNETS, "scn", "scn18"])


def small(name: str, **options: Any) -> nn.Module:
    few = {"width": 4, "steps": 5} if name.startswith("scn") else {"width": 4}
    return build(name, num_classes=10, **{**few, **options}).eval()


@pytest.mark.parametrize("name", ["sdnet18", "sdnet18_all"])
def test_what_an_sdnet_says_of_its_layers_is_what_they_do_by_default(name: str) -> None:
    said = {option: value for option, value in defaults(name).items() if option in asdict(CSCOptions())}
    layer = CSCConv2d(3, 4)
    assert said == asdict(CSCOptions())
    assert said == {option: pytest.approx(getattr(layer, option)) for option in said}


@pytest.mark.parametrize(
    ("depth", "num_classes", "options", "parameters"),
    [
        (18, 10, {}, 11_173_962),
        (34, 10, {}, 21_282_122),
        (18, 100, {}, 11_220_132),
        (34, 100, {}, 21_328_292),
        (18, 1000, {"stem": "imagenet"}, 11_689_512),
        (34, 1000, {"stem": "imagenet"}, 21_797_672),
    ],
)
@pytest.mark.parametrize("family", ["resnet", "sdnet"])
def test_an_sdnet_has_the_parameters_of_its_resnet(
    family: str, depth: int, num_classes: int, options: dict[str, str], parameters: int
) -> None:
    with torch.device("meta"):
        net = build(f"{family}{depth}", num_classes=num_classes, **options)
    assert count_parameters(net) == parameters


@pytest.mark.parametrize("depth", [18, 34])
def test_resnet_agrees_with_torchvision_at_equal_weights(depth: int) -> None:
    judge = getattr(torchvision.models, f"resnet{depth}")(num_classes=10).eval()
    net = build(f"resnet{depth}", num_classes=10, stem="imagenet", mean=(0, 0, 0), std=(1, 1, 1)).eval()
    names = [name for name in net.state_dict() if not name.startswith("normalize.")]
    net.load_state_dict(dict(zip(names, judge.state_dict().values(), strict=True)), strict=False)
    image = torch.rand(1, 3, 65, 70)
    torch.testing.assert_close(net(image), judge(image))


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("size", [(33, 37), (64, 48)])
def test_logits_have_one_entry_per_class(name: str, stem: str, size: tuple[int, int]) -> None:
    assert small(name, stem=stem)(torch.rand(2, 3, *size)).shape == (2, 10)


@EVERY_FAMILY
def test_eval_mode_is_deterministic_and_changes_no_state(name: str, settle: Settle) -> None:
    images = torch.rand(2, 3, 32, 32)
    net = settle(small(name), images)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert torch.equal(net(images), net(images))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@EVERY_FAMILY
def test_logits_do_not_depend_on_the_rest_of_the_batch(name: str, settle: Settle) -> None:
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    net = settle(small(name).double(), images)
    assert not torch.equal(net(images)[0], net(images)[1])
    torch.testing.assert_close(net(images[1:2]), net(images)[1:2])


@EVERY_FAMILY
def test_every_image_gets_a_gradient_in_eval_mode(name: str, settle: Settle) -> None:
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    settle(small(name), images)(images).square().sum().backward()
    assert there(images.grad).flatten(1).any(1).all()


@pytest.mark.parametrize("name", sorted(name for name in BACKBONES.ours if "34" not in name))
def test_the_seed_decides_the_weights(name: str) -> None:
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(small(name))
    first, again, other = ([*net.parameters()] for net in nets)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


@EVERY_FAMILY
def test_pixels_are_normalised_inside(name: str) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    inside, outside = small(name, mean=mean, std=std), small(name, mean=(0, 0, 0), std=(1, 1, 1))
    buffers = {key: value for key, value in inside.state_dict().items() if not key.startswith("normalize.")}
    outside.load_state_dict(buffers, strict=False)
    images = torch.rand(2, 3, 32, 32)
    normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(inside(images), outside(normalised))


def test_only_the_stem_distinguishes_an_sdnet_from_its_resnet() -> None:
    sdnet, resnet = set(small("sdnet18").state_dict()), set(small("resnet18").state_dict())
    assert resnet - sdnet == {"stem.weight"}
    assert sdnet - resnet == {"stem.dictionary", "stem.lambda_", "stem.step_size"}


@pytest.mark.parametrize(("stem", "kernel_size", "stride"), [("cifar", 3, 1), ("imagenet", 7, 2)])
def test_the_stem_has_the_geometry_of_its_data(stem: str, kernel_size: int, stride: int) -> None:
    (layer,) = csc_layers(small("sdnet18", stem=stem))
    assert (layer.kernel_size, layer.stride) == (kernel_size, stride)


@pytest.mark.parametrize(("width", "stem_width", "atoms"), [(4, None, 4), (8, None, 8), (4, 12, 12)])
def test_the_atoms_follow_the_width_unless_given(width: int, stem_width: int | None, atoms: int) -> None:
    net = small("sdnet18", width=width, stem_width=stem_width)
    assert csc_layers(net)[0].atoms == atoms
    assert net.get_submodule("classifier").in_features == 8 * width
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("options", [{}, {"steps": 5, "nonnegative": False, "lambda_": 0.3}])
def test_options_reach_the_csc_layer(options: dict[str, Any]) -> None:
    net = small("sdnet18", **options)
    (layer,) = csc_layers(net)
    found = {"steps": layer.steps, "nonnegative": layer.nonnegative, "lambda_": get_lambda(net)}
    assert found == {"steps": 2, "nonnegative": True, "lambda_": 0.1} | options


@pytest.mark.parametrize(
    ("name", "options", "rectified"),
    [
        ("resnet18", {}, True),
        ("resnet18", {"stem_relu": False}, False),
        ("sdnet18", {}, False),
        ("sdnet18", {"stem_relu": True}, True),
    ],
)
def test_a_relu_follows_the_stem_where_asked_for(name: str, options: dict[str, bool], rectified: bool) -> None:
    net = small(name, **options)
    seen: list[Tensor] = []
    net.get_submodule("pool").register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    net.train()(torch.rand(2, 3, 32, 32))
    assert bool((seen[0] >= 0).all()) is rectified


@pytest.mark.parametrize(("name", "nearest"), [("resnet19", "resnet"), ("sdnet_18", "sdnet18"), ("SDNet18", "sdnet18")])
def test_an_unknown_name_gets_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown backbone '{name}'. Did you mean '{nearest}"):
        build(name, num_classes=10)


@pytest.mark.parametrize("name", ["resnet18", "sdnet18"])
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"backbone '{name}': .*unexpected keyword argument 'depth'"):
        build(name, num_classes=10, depth=3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"stem": "mnist"}, "unknown stem, expected cifar or imagenet, got mnist"),
        ({"steps": 0}, "FISTA iterations out of range, expected 1 to 10,000, got 0"),
        ({"lambda_": -0.1}, "lambda out of range, expected a finite number >= 0, got -0.1"),
        ({"lambda_": float("nan")}, "lambda out of range"),
        ({"lambda_": "much"}, "backbone 'sdnet18': "),
        ({"width": "8"}, "backbone 'sdnet18': "),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build("sdnet18", num_classes=10, **options)


@pytest.mark.parametrize("width", [0, -8])
@pytest.mark.parametrize("name", ["resnet18", "sdnet18"])
def test_a_width_below_one_is_refused(name: str, width: int) -> None:
    with pytest.raises(UsageError):
        build(name, num_classes=10, width=width)
