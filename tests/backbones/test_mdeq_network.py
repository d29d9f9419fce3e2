"""MDEQ: its size, f and its parts, and the gradient of whole networks on contractions in double precision."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from found import there
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from sdnet_bench.backbones import build, convergence, count_parameters, equilibria
from sdnet_bench.backbones.mdeq import MDEQ
from sdnet_bench.backbones.mdeq.transform import Block, NormedConv, Transform, group_norm
from sdnet_bench.errors import UsageError

EVERY_MDEQ = pytest.mark.parametrize("name", ["mdeq", "mdeq_tiny"])
MODES = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
TIGHT = 1e-12
SMALL: dict[str, dict[str, Any]] = {"mdeq": {"width": 16, "branches": 3}, "mdeq_tiny": {"width": 16}}
ORACLE: dict[str, Any] = {"solver": "broyden", "max_iter": 60, "tol": TIGHT, "stop_mode": "rel"}


def small(name: str, **options: Any) -> MDEQ:
    net = build(name, num_classes=10, **{"width": 4, "warmup": 0, **options}).eval()
    assert isinstance(net, MDEQ)
    return net


def contraction(name: str = "mdeq_tiny") -> MDEQ:
    """In double precision, with an f that contracts, solved to the last digits.

    Group norms of a small scale and a random shift pass on what is constant, and little of what varies; batch norms
    have seen images, so that fresh weights pass something on at all.
    """
    net = small(name, **{**SMALL[name], "steps": 60, "backward_steps": 60, "dropout": 0.3}).double()
    for module in net.equilibrium.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.constant_(module.weight, 0.2)
            nn.init.normal_(module.bias)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    net.train()(pixels(8))
    net.equilibrium.solver.tolerance = net.equilibrium.adjoint.tolerance = TIGHT
    return net.eval()


def pixels(count: int = 2, size: int = 8) -> Tensor:
    return torch.rand(count, 3, size, size, dtype=torch.float64)


def unrolled(net: MDEQ, images: Tensor) -> Tensor:
    """Logits by plain iteration with its graph, from the network's own parts."""
    bound = net.equilibrium.transform.bind(net.injection(net.stem(net.normalize(images))))
    before = state = bound.start()
    for _ in range(110):
        before, state = state, bound(state)
    torch.testing.assert_close(state, before, atol=1e-10, rtol=0)  # it contracts
    return net.classifier(net.head(bound.split(state)))  # type: ignore[no-any-return]


def gradients(net: MDEQ, logits: Tensor, images: Tensor) -> Sequence[Tensor]:
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)
    return torch.autograd.grad((logits * weights).sum(), [images, *net.parameters()])


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [("mdeq", 10, 11_098_398), ("mdeq", 100, 11_249_688), ("mdeq_tiny", 10, 158_986)],
)
def test_the_parameters_are_those_of_the_paper(name: str, num_classes: int, parameters: int) -> None:
    assert count_parameters(build(name, num_classes=num_classes)) == parameters


def test_the_parts_of_the_large_network_have_their_published_sizes() -> None:
    net = build("mdeq", num_classes=10)
    parts = ("stem", "injection", "equilibrium", "head", "classifier")
    sizes = [count_parameters(net.get_submodule(part)) for part in parts]
    assert sizes == [10_208, 1_088, 8_716_192, 2_354_100, 16_810]


@EVERY_MDEQ
@pytest.mark.parametrize("size", [(32, 32), (33, 37), (16, 24)])
def test_logits_have_one_entry_per_class(name: str, size: tuple[int, int]) -> None:
    assert small(name, width=2, steps=2)(torch.rand(2, 3, *size)).shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(4, 33, 37), (8, 17, 19), (16, 9, 10), (32, 5, 5)]),
        ({"branches": 2}, [(4, 33, 37), (8, 17, 19)]),
        ({"branches": 2, "downsampling": 2}, [(4, 9, 10), (8, 5, 5)]),
    ],
)
def test_every_resolution_has_half_the_size_of_the_one_before(
    options: dict[str, int], expected: list[tuple[int, ...]]
) -> None:
    net = small("mdeq", steps=1, **options)
    seen: list[tuple[int, ...]] = []
    net.head.register_forward_pre_hook(lambda _head, inputs: seen.extend(tuple(x.shape[1:]) for x in inputs[0]))
    net(torch.rand(1, 3, 33, 37))
    assert seen == expected


@pytest.mark.parametrize(("options", "injects"), [({}, True), ({"branches": 2}, False)])
def test_two_resolutions_take_the_image_from_the_stem(options: dict[str, int], injects: bool) -> None:
    assert isinstance(small("mdeq", **options).injection, nn.Sequential) is injects


@pytest.mark.parametrize(
    ("channels", "groups", "expected"), [(160, 8, 8), (24, 8, 8), (24, 4, 4), (12, 8, 6), (2, 8, 2), (7, 4, 1)]
)
def test_groups_divide_the_channels(channels: int, groups: int, expected: int) -> None:
    assert group_norm(channels, groups).num_groups == expected


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"steps": 0}, "expected steps >= 1, got 0"),
        ({"backward_steps": 0}, "expected steps >= 1, got 0"),
        ({"dropout": 1.0}, r"dropout out of range, expected a share in \[0, 1\), got 1.0"),
        ({"branches": 0}, r"expected width >= 1 and branches >= 1, got \[\]"),
        ({"width": 0}, "a network needs channels"),
        ({"downsampling": 3}, "expected 0, 1 or 2, got 3"),
        ({"gradient": "exact"}, "expected implicit or phantom, got exact"),
        ({"depth": 3}, "unexpected keyword argument 'depth'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build("mdeq", num_classes=10, **options)


def test_fresh_weights_are_small_but_for_those_that_are_normalised() -> None:
    net = build("mdeq", num_classes=10, width=16)
    plain = [module.weight.detach() for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert float(torch.cat([weight.flatten() for weight in plain]).std()) == pytest.approx(0.01, rel=0.02)
    torch.manual_seed(5)
    normed = NormedConv(8, 40, 3)
    torch.manual_seed(5)
    torch.testing.assert_close(normed.direction, nn.Conv2d(8, 40, 3).weight)
    torch.testing.assert_close(normed.scale.flatten(), normed.direction.flatten(1).norm(dim=1))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_weight_normalisation_is_that_of_torch(kernel_size: int) -> None:
    ours, x = NormedConv(3, 5, kernel_size).double(), torch.randn(2, 3, 6, 7, dtype=torch.float64)
    theirs = weight_norm(nn.Conv2d(3, 5, kernel_size, padding=kernel_size // 2, bias=False).double())
    scale, direction = theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1
    with torch.no_grad():
        ours.scale.mul_(torch.rand_like(ours.scale))
        scale.copy_(ours.scale)
        direction.copy_(ours.direction)
    out, expected = ours.bind()(x), theirs(x)
    torch.testing.assert_close(out, expected)
    slopes = torch.autograd.grad(out.square().sum(), [ours.scale, ours.direction])
    torch.testing.assert_close(slopes, torch.autograd.grad(expected.square().sum(), [scale, direction]))


def test_f_is_as_the_paper_writes_it() -> None:
    """Two resolutions, step by step, with the weights laid out by hand."""
    transform = Transform((4, 6), dropout=0.3).double().eval()
    injection = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    bound = transform.bind(injection)
    state = torch.randn_like(bound.start())
    hidden = []
    for block, z, u in zip(transform.blocks, bound.split(state), (injection, 0), strict=True):
        h = block.norm1(block.widen.bind()(z)).relu()
        h = block.norm2(block.narrow.bind()(h) + u)
        hidden.append(block.norm3((h + z).relu()))
    up, down = transform.exits[0].paths[1], transform.exits[1].paths[0]
    fine = hidden[0] + up(hidden[1]).repeat_interleave(2, 2).repeat_interleave(2, 3)
    mixed = [fine, hidden[1] + down(hidden[0])]
    expected = [leave.norm(leave.conv.bind()(s.relu())) for leave, s in zip(transform.exits, mixed, strict=True)]
    torch.testing.assert_close(bound.split(bound(state)), expected)


def test_f_stays_as_it_was_bound() -> None:
    transform = Transform((4, 8), dropout=0.5).train()
    bound = transform.bind(torch.rand(2, 4, 8, 8))
    state = torch.rand_like(bound.start())
    before = bound(state)
    with torch.no_grad():
        for block in transform.blocks:
            block.widen.scale.mul_(2)
    assert torch.equal(bound(state), before)
    assert not torch.allclose(transform.bind(torch.rand(2, 4, 8, 8))(state), before)


def test_dropout_takes_whole_channels_of_single_samples() -> None:
    block = Block(64, 0.25).double()
    block.norm2 = block.norm3 = nn.Identity()
    state = torch.rand(32, 64, 4, 4, dtype=torch.float64)

    @torch.no_grad()
    def residual() -> Tensor:
        return block.bind(torch.full_like(state, 100))(state) - state - 100

    whole, dropped, other = block.eval() and residual(), block.train() and residual(), residual()
    mask = (dropped * whole).sum((2, 3), keepdim=True) / whole.square().sum((2, 3), keepdim=True)
    torch.testing.assert_close(dropped, mask * whole)
    assert mask.round(decimals=6).unique().tolist() == pytest.approx([0, 1 / 0.75], abs=1e-6)
    assert mask.mean().item() == pytest.approx(1, abs=0.05)
    assert not torch.equal(dropped, other)


@EVERY_MDEQ
@MODES
def test_the_output_is_an_equilibrium_under_one_dropout_mask(name: str, training: bool) -> None:
    net = contraction(name).train(training)
    found: list[Tensor] = []
    net.equilibrium.solver.register_forward_hook(lambda _solver, _inputs, solution: found.append(solution.state))
    features = net.equilibrium(torch.randn(2, 16, 8, 8, dtype=torch.float64))
    flat = torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in features], 1)
    torch.testing.assert_close(flat, found[0], atol=1e-10, rtol=1e-10)
    assert flat.square().mean() > 0.1


@EVERY_MDEQ
@MODES
def test_the_implicit_gradient_is_that_of_many_plain_iterations(name: str, training: bool) -> None:
    net, images = contraction(name).train(training), pixels().requires_grad_()
    torch.manual_seed(1)
    with convergence(net) as meter:
        logits = net(images)
        found = gradients(net, logits, images)
    torch.manual_seed(1)  # the same dropout masks
    expected_logits = unrolled(net, images)
    expected = gradients(net, expected_logits, images)
    assert (there(meter.forward).residual < TIGHT).all()
    torch.testing.assert_close(logits, expected_logits, atol=1e-9, rtol=1e-9)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8 * float(theirs.abs().max()) + 1e-12, rtol=1e-8)


@EVERY_MDEQ
def test_the_gradient_of_an_image_agrees_with_finite_differences_in_eval_mode(name: str) -> None:
    net, images = contraction(name), pixels()
    weights = torch.randn(2, 10, dtype=torch.float64)
    images.requires_grad_()
    (gradient,) = torch.autograd.grad((net(images) * weights).sum(), images)
    assert gradient.flatten(1).any(1).all()
    for _ in range(3):
        direction = 1e-7 * torch.randn_like(images)
        with torch.no_grad():
            rise = ((net(images + direction) - net(images - direction)) * weights).sum()
        torch.testing.assert_close(rise, 2 * (gradient * direction).sum(), rtol=1e-3, atol=0)


def test_an_independent_library_finds_the_same_equilibrium_and_gradient() -> None:
    torchdeq = pytest.importorskip("torchdeq")
    settings = {f"{way}_{key}": value for way in "fb" for key, value in ORACLE.items()}
    oracle = torchdeq.get_deq(ift=True, **settings).train()
    net, images = contraction(), pixels().requires_grad_()
    bound = net.equilibrium.transform.bind(net.injection(net.stem(net.normalize(images))))
    states, _ = oracle(bound, bound.start())
    expected_logits = net.classifier(net.head(bound.split(states[-1])))
    expected, logits = gradients(net, expected_logits, images), net(images)
    torch.testing.assert_close(logits, expected_logits, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(gradients(net, logits, images)[0], expected[0], atol=1e-10, rtol=1e-7)


@EVERY_MDEQ
def test_logits_do_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    net = contraction(name)
    net.equilibrium.solver.tolerance = 1e-3
    images = pixels(3)
    images[0] = 0.5
    with convergence(net) as meter, torch.no_grad():
        together, alone = net(images), torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-10)
    assert not there(meter.forward).missed.any()


def test_a_copy_and_a_saved_network_are_the_same(tmp_path: Path) -> None:
    net, images = contraction(), pixels()
    net.equilibrium.after_step()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    loaded = small("mdeq_tiny", width=16, steps=60).double()
    loaded.load_state_dict(load_file(tmp_path / "net.safetensors"))
    loaded.equilibrium.solver.tolerance = TIGHT
    expected = net(images)
    assert torch.equal(loaded(images), expected)
    assert torch.equal(copy.deepcopy(net)(images), expected)


def test_the_memory_layout_does_not_matter() -> None:
    net, images = contraction(), pixels()
    expected = net(images)
    turned = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    again = turned(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(again, expected, atol=1e-9, rtol=1e-9)


@EVERY_MDEQ
def test_equilibria_are_solved_in_full_precision_under_autocast(name: str) -> None:
    net, images = contraction(name).float(), pixels().float().requires_grad_()
    net.equilibrium.solver.tolerance = net.equilibrium.adjoint.tolerance = 1e-4  # out of reach of bfloat16
    with torch.autocast("cpu", torch.bfloat16), convergence(net) as meter:
        logits = net(images)
        (gradient,) = torch.autograd.grad(logits.float().square().sum(), images)
    assert there(meter.forward).residual.dtype == torch.float32
    assert (torch.stack([there(meter.forward).residual, there(meter.backward).residual]) < 1e-4).all()
    assert gradient.flatten(1).any(1).all()


@EVERY_MDEQ
def test_untrained_networks_give_a_gradient_in_eval_mode_and_say_how_far_they_got(name: str) -> None:
    net, images = small(name), torch.rand(2, 3, 32, 32, requires_grad=True)
    with convergence(net) as meter:
        net(images).square().sum().backward()
    assert len(equilibria(net)) == 1
    assert there(images.grad).flatten(1).any(1).all()
    assert there(meter.forward).residual.isfinite().all()
