"""Lambda, residuals and the projection of a whole network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from sdnet_bench.csc import (
    CSCConv2d,
    DictionaryProjection,
    csc_layers,
    feeding_lambda,
    get_lambda,
    residuals,
    set_lambda,
    shared_correlations,
    tuning,
    using_lambda,
    using_steps,
)
from sdnet_bench.csc.spectrum import MARGIN, power_iteration
from sdnet_bench.errors import ModelError, UsageError

Block = Callable[[nn.Module], AbstractContextManager[Any]]


@pytest.fixture
def net() -> nn.Sequential:
    """Two CSC-layers, the second at stride 2."""
    return nn.Sequential(CSCConv2d(3, 6), nn.BatchNorm2d(6), CSCConv2d(6, 4, stride=2, nonnegative=False))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 8, 8)


def lambdas_of(net: nn.Module) -> list[float]:
    return [round(float(layer.lambda_), 7) for layer in csc_layers(net)]


def train(net: nn.Module, optimizer: SGD, projection: DictionaryProjection, images: Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()
        projection()


def test_layers_are_listed_in_their_order(net: nn.Sequential) -> None:
    assert csc_layers(net) == [net[0], net[2]]


@pytest.mark.parametrize("value", [0, 0.1, 1.5, torch.tensor(0.3), torch.tensor(0.3, dtype=torch.float64)])
def test_lambda_reads_back_as_it_was_set(net: nn.Sequential, value: float | Tensor) -> None:
    set_lambda(net, value)
    assert get_lambda(net) == pytest.approx(float(value), abs=1e-7)


@pytest.mark.parametrize("value", [0.7, 4.1, 123.4, 2e-8])
def test_lambda_is_set_in_every_layer_and_read_without_the_noise_of_single_precision(
    net: nn.Sequential, value: float
) -> None:
    set_lambda(net, value)
    assert [float(layer.lambda_) for layer in csc_layers(net)] == pytest.approx([value, value], rel=1e-7, abs=0)
    assert get_lambda(net) == value


@pytest.mark.parametrize(
    "value", [-0.1, float("nan"), float("inf"), torch.tensor([0.1, -0.1]), torch.tensor(float("nan"))]
)
def test_lambdas_that_are_not_finite_and_positive_are_refused(net: nn.Sequential, value: float | Tensor) -> None:
    with pytest.raises(UsageError, match="lambda out of range, expected finite numbers >= 0"):
        set_lambda(net, value)
    assert get_lambda(net) == 0.1


def test_lambdas_of_images_that_are_not_finite_are_counted(net: nn.Sequential) -> None:
    with pytest.raises(ModelError, match="lambdas of 2 of 3 images are not finite"):
        set_lambda(net, torch.tensor([float("inf"), 0.1, float("nan")]))


def test_a_lambda_below_zero_that_came_with_the_weights_is_refused(net: nn.Sequential) -> None:
    for layer in csc_layers(net):
        layer.lambda_.fill_(-0.1)
    with pytest.raises(UsageError, match=r"lambda out of range, expected a finite number >= 0, got -0\.1"):
        get_lambda(net)


def test_a_matrix_of_lambdas_is_refused(net: nn.Sequential) -> None:
    with pytest.raises(UsageError, match="one or one per image"):
        set_lambda(net, torch.full((2, 2), 0.1))


@pytest.mark.parametrize(
    "act",
    [
        get_lambda,
        lambda net: set_lambda(net, 0.1),
        lambda net: residuals(net).__enter__(),
        lambda net: feeding_lambda(net, torch.ones(1)).__enter__(),
        lambda net: tuning(net, "stem").__enter__(),
        lambda net: using_steps(net, 4).__enter__(),
    ],
)
def test_a_network_without_csc_layers_has_no_lambda_to_act_on(act: Callable[[nn.Module], object]) -> None:
    with pytest.raises(UsageError, match="no CSC-layer"):
        act(nn.Conv2d(3, 6, 3))


@pytest.mark.parametrize(
    "block", [lambda net: using_lambda(net, None), lambda net: using_steps(net, None), shared_correlations]
)
def test_a_block_that_borrows_nothing_changes_nothing_and_needs_no_csc_layer(net: nn.Sequential, block: Block) -> None:
    with block(nn.Conv2d(3, 6, 3)), block(net):
        assert (get_lambda(net), net[0].steps) == (0.1, 2)


@pytest.mark.parametrize("value", [0.3, torch.tensor([0.1, 0.2])])
def test_layers_that_differ_share_no_lambda(net: nn.Sequential, value: float | Tensor) -> None:
    set_lambda(net[0], value)
    with pytest.raises(UsageError, match="do not share one lambda"):
        get_lambda(net)


def test_lambdas_per_image_are_no_shared_lambda(net: nn.Sequential) -> None:
    set_lambda(net, torch.tensor([0.1, 0.2]))
    with pytest.raises(UsageError, match="one per image"):
        get_lambda(net)


def test_the_layers_do_not_share_the_memory_of_a_lambda_nor_that_of_the_caller(net: nn.Sequential) -> None:
    mine = torch.tensor([0.1, 0.2])
    set_lambda(net, mine)
    set_lambda(net[0], torch.tensor([0.7, 0.8]))
    assert mine.tolist() == net[2].lambda_.tolist() == pytest.approx([0.1, 0.2])


def test_a_new_value_of_lambda_stays_in_its_buffer(net: nn.Sequential) -> None:
    before = [layer.lambda_ for layer in csc_layers(net)]
    set_lambda(net, 0.7)
    assert all(layer.lambda_ is buffer for layer, buffer in zip(csc_layers(net), before, strict=True))


@pytest.mark.parametrize("value", [0.5, torch.tensor([0.5, 0.6])])
def test_a_borrowed_lambda_is_given_back(net: nn.Sequential, value: float | Tensor) -> None:
    with using_lambda(net, value):
        assert net[0].lambda_.tolist() == pytest.approx(torch.as_tensor(value).tolist())
    assert get_lambda(net) == 0.1


@pytest.mark.parametrize(
    "block",
    [
        lambda net: using_lambda(net, 0.5),
        lambda net: tuning(net, "stem"),
        lambda net: using_steps(net, 5),
        shared_correlations,
        residuals,
    ],
)
def test_a_block_leaves_nothing_behind_after_an_exception(net: nn.Sequential, block: Block) -> None:
    set_lambda(net[2], torch.tensor([0.3, 0.4]))
    before = [(layer.lambda_.tolist(), layer.steps, {*vars(layer)}) for layer in csc_layers(net)]
    with pytest.raises(ZeroDivisionError), block(net):
        raise ZeroDivisionError
    assert [(layer.lambda_.tolist(), layer.steps, {*vars(layer)}) for layer in csc_layers(net)] == before
    assert not any(layer._forward_hooks for layer in csc_layers(net))
    set_lambda(net, 0.7)
    assert lambdas_of(net) == [0.7, 0.7]


@pytest.mark.parametrize("count", [1, 4])
def test_fed_lambdas_are_those_of_the_images(net: nn.Sequential, images: Tensor, count: int) -> None:
    lambdas = torch.tensor([0.0, 0.1, 0.4, 1.5])[:count]
    images = images[:count]
    with using_lambda(net.eval(), lambdas):
        expected = net(images)
    with feeding_lambda(net, lambdas):
        assert all(layer.lambda_ is lambdas for layer in csc_layers(net))
        assert torch.equal(net(images), expected)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_gradients_flow_through_fed_lambdas(nonnegative: bool) -> None:
    """Those of finite differences, in double precision; `set_lambda` would cut them off."""
    layer = CSCConv2d(2, 3, steps=3, nonnegative=nonnegative).double()
    images, lambdas = torch.randn(2, 2, 5, 5, dtype=torch.float64), torch.tensor([0.1, 0.3], dtype=torch.float64)

    def energy(at: Tensor) -> Tensor:
        with feeding_lambda(layer, at):
            return layer(images).square().sum((1, 2, 3))  # type: ignore[no-any-return]

    assert energy(lambdas).gt(0).all()
    assert torch.autograd.gradcheck(energy, lambdas.requires_grad_())


def test_fed_lambdas_make_room_for_the_buffers_that_were_there(net: nn.Sequential) -> None:
    set_lambda(net[2], torch.tensor([0.3, 0.4]))
    before = [layer.lambda_ for layer in csc_layers(net)]
    with pytest.raises(ZeroDivisionError), feeding_lambda(net, torch.tensor([0.5])):
        raise ZeroDivisionError
    assert all(layer.lambda_ is old for layer, old in zip(csc_layers(net), before, strict=True))
    assert "0.lambda_" in net.state_dict()


def test_the_stem_can_be_tuned_alone(net: nn.Sequential) -> None:
    with tuning(net, "stem"):
        set_lambda(net, 0.5)
        assert get_lambda(net) == 0.5
    assert lambdas_of(net) == [0.5, 0.1]


def test_a_lambda_borrowed_for_the_stem_is_given_back_to_it(net: nn.Sequential) -> None:
    set_lambda(net[2], 0.3)
    with tuning(net, "stem"), using_lambda(net, 0.5):
        assert lambdas_of(net) == [0.5, 0.3]
    assert lambdas_of(net) == [0.1, 0.3]


def test_lambdas_can_be_fed_to_the_stem_alone(net: nn.Sequential, images: Tensor) -> None:
    lambdas = torch.tensor([0.0, 0.1, 0.4, 1.5])
    with tuning(net.eval(), "stem"), feeding_lambda(net, lambdas):
        assert net[0].lambda_ is lambdas
        fed = net(images)
    set_lambda(net[0], lambdas)
    assert lambdas_of(net[2]) == [0.1]
    assert torch.equal(net(images), fed)


def test_all_layers_are_tuned_where_nothing_else_is_said(net: nn.Sequential) -> None:
    with tuning(net, "all"):
        set_lambda(net, 0.5)
    assert lambdas_of(net) == [0.5, 0.5]


def test_blocks_of_tuning_nest(net: nn.Sequential) -> None:
    with tuning(net, "stem"):
        with tuning(net, "stem"):
            pass
        set_lambda(net, 0.5)
    assert lambdas_of(net) == [0.5, 0.1]


def test_residuals_are_those_of_all_layers_whichever_is_tuned(net: nn.Sequential, images: Tensor) -> None:
    with residuals(net) as expected:
        net(images)
    with tuning(net, "stem"), residuals(net) as found:
        net(images)
    assert torch.equal(found.per_image(), expected.per_image())


@pytest.fixture
def correlated(monkeypatch: pytest.MonkeyPatch) -> list[CSCConv2d]:
    """The layers whose A* x was computed, one entry for each time."""
    layers, correlate = [], CSCConv2d.correlate

    def counted(layer: CSCConv2d, image: Tensor) -> Tensor:
        layers.append(layer)
        return correlate(layer, image)

    monkeypatch.setattr(CSCConv2d, "correlate", counted)
    return layers


@torch.no_grad()
def swept(net: nn.Module, images: Tensor, lambdas: Iterable[float] = (0.1, 0.4, 0.0, 1.5)) -> list[Tensor]:
    """Codes under each lambda."""
    codes = []
    for lambda_ in lambdas:
        with using_lambda(net, lambda_):
            codes.append(net(images))
    return codes


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_shared_correlation_changes_no_bit(net: nn.Sequential, images: Tensor, steps: int) -> None:
    with using_steps(net.eval(), steps):
        expected = swept(net, images)
        with shared_correlations(net):
            assert [("correlate" in vars(layer)) for layer in csc_layers(net)] == [True, False]
            found = swept(net, images)
    assert not torch.equal(found[0], found[1])
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_shared_correlation_is_computed_once_for_every_input(
    net: nn.Sequential, images: Tensor, correlated: list[CSCConv2d]
) -> None:
    """What comes into the second layer depends on lambda: it shares nothing, and remembers nothing."""
    with shared_correlations(net.eval()):
        swept(net, images)
        swept(net, images.clone())
    assert [correlated.count(layer) for layer in csc_layers(net)] == [1, 8]
    swept(net, images)
    assert correlated.count(net[0]) == 1 + 4


def test_another_input_has_a_correlation_of_its_own(
    net: nn.Sequential, images: Tensor, correlated: list[CSCConv2d]
) -> None:
    batches = [images, images[:3], images + 1e-6, images]
    expected = [swept(net.eval(), batch, [0.1]) for batch in batches]
    correlated.clear()
    with shared_correlations(net):
        found = [swept(net, batch, [0.1]) for batch in batches]
    assert correlated.count(net[0]) == 4
    assert all(torch.equal(one, other) for (one,), (other,) in zip(found, expected, strict=True))


def test_after_a_block_new_weights_count_at_once(net: nn.Sequential, images: Tensor) -> None:
    with shared_correlations(net.eval()):
        (before,) = swept(net, images, [0.1])
    net[0].dictionary.data.neg_()
    (after,) = swept(net, images, [0.1])
    assert not torch.equal(before, after)


def test_gradients_after_a_pass_without_them_are_those_outside_a_block(net: nn.Sequential, images: Tensor) -> None:
    leaf = images.requires_grad_()
    (expected,) = torch.autograd.grad(net.eval()(leaf * 1).sum(), leaf)
    with shared_correlations(net):
        with torch.no_grad():
            net(leaf * 1)
        (found,) = torch.autograd.grad(net(leaf * 1).sum(), leaf)
    assert torch.equal(found, expected)


@torch.no_grad()
def test_an_input_changed_in_place_is_another_input(net: nn.Sequential, images: Tensor) -> None:
    with shared_correlations(net):
        net(images)
        images.mul_(0.5)
        shared = net(images)
    assert torch.equal(shared, net(images))


@torch.no_grad()
def test_blocks_of_sharing_nest(net: nn.Sequential, images: Tensor) -> None:
    expected = net(images)
    with shared_correlations(net), shared_correlations(net):
        assert torch.equal(net(images), expected)
    assert "correlate" not in vars(net[0])


def test_borrowed_steps_are_those_of_the_block_and_are_given_back(net: nn.Sequential, images: Tensor) -> None:
    net[2].steps = 3
    with using_steps(net.eval(), 5):
        assert [layer.steps for layer in csc_layers(net)] == [5, 5]
        code = net(images)
    assert [layer.steps for layer in csc_layers(net)] == [2, 3]
    assert not torch.equal(code, net(images))
    net[0].steps = net[2].steps = 5
    assert torch.equal(code, net(images))


@pytest.mark.parametrize("steps", [0, -1, 10**9])
def test_iterations_that_nobody_means_are_refused(net: nn.Sequential, steps: int) -> None:
    with pytest.raises(UsageError, match=f"FISTA iterations out of range, expected 1 to 10,000, got {steps}"):
        using_steps(net, steps).__enter__()
    assert [layer.steps for layer in csc_layers(net)] == [2, 2]


def test_residuals_are_the_norms_of_what_the_code_leaves(images: Tensor) -> None:
    layer = CSCConv2d(3, 6)
    with residuals(layer) as meter:
        code = layer(images)
    left = images - F.conv_transpose2d(code, layer.dictionary, padding=1)
    torch.testing.assert_close(meter.per_image(), left.square().sum((1, 2, 3)).sqrt())


def test_residuals_are_averaged_over_the_layers(net: nn.Sequential, images: Tensor) -> None:
    with residuals(net[0]) as first, residuals(net[2]) as second, residuals(net) as both:
        net(images)
    torch.testing.assert_close(both.per_image(), (first.per_image() + second.per_image()) / 2)


def test_residuals_of_batches_are_those_of_all_images(net: nn.Sequential, images: Tensor) -> None:
    net.eval()
    with residuals(net) as whole:
        net(images)
    with residuals(net) as halves:
        net(images[:2])
        net(images[2:])
    torch.testing.assert_close(halves.per_image(), whole.per_image())


def test_each_meter_starts_from_nothing_and_leaves_nothing_behind(net: nn.Sequential, images: Tensor) -> None:
    for _ in range(2):
        with residuals(net) as meter:
            net(images)
        net(images)
        assert meter.per_image().shape == (4,)
    assert not any(layer._forward_hooks for layer in csc_layers(net))


def test_residuals_hold_no_graph_and_attached_ones_are_the_same_numbers(net: nn.Sequential, images: Tensor) -> None:
    with residuals(net) as loose, residuals(net, attached=True) as attached:
        net(images.requires_grad_())
    assert not loose.per_image().requires_grad
    assert torch.equal(loose.per_image(), attached.per_image())


def test_gradients_flow_through_attached_residuals(net: nn.Sequential) -> None:
    """Those of finite differences, in double precision."""
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    net.double().eval()

    def measured(at: Tensor) -> Tensor:
        with residuals(net, attached=True) as meter:
            net(at)
        return meter.per_image()

    assert torch.autograd.gradcheck(measured, images)


def test_atoms_keep_unit_norm_through_training(net: nn.Sequential, images: Tensor) -> None:
    train(net, SGD(net.parameters(), lr=0.5), DictionaryProjection(net), images, steps=5)
    norms = torch.cat([layer.dictionary.flatten(1).norm(dim=1) for layer in csc_layers(net)])
    torch.testing.assert_close(norms, torch.ones(10))


def test_step_sizes_follow_the_dictionaries_through_training(net: nn.Sequential, images: Tensor) -> None:
    for layer in csc_layers(net):
        layer.dictionary.data.abs_()  # one eigenvalue stands out, as in trained dictionaries
    projection = DictionaryProjection(net)
    before = [float(layer.step_size) for layer in csc_layers(net)]
    train(net, SGD(net.parameters(), lr=0.5), projection, images, steps=10)
    exact = [MARGIN / float(power_iteration(layer.operator, iterations=200).value) for layer in csc_layers(net)]
    assert exact != pytest.approx(before, rel=0.02)
    assert [float(layer.step_size) for layer in csc_layers(net)] == pytest.approx(exact, rel=0.01)


def test_solvers_converge_at_every_step_of_training(net: nn.Sequential, images: Tensor) -> None:
    optimizer, projection = SGD(net.parameters(), lr=0.5), DictionaryProjection(net)
    for _ in range(5):
        train(net, optimizer, projection, images, steps=1)
        for layer in csc_layers(net):
            assert layer.step_size * power_iteration(layer.operator, iterations=200).value < 1


def test_settling_finds_the_step_sizes_of_new_dictionaries(net: nn.Sequential) -> None:
    projection = DictionaryProjection(net)
    for layer in csc_layers(net):
        layer.dictionary.data.uniform_(0, 1)
    projection.settle()
    for layer in csc_layers(net):
        assert MARGIN <= layer.step_size * power_iteration(layer.operator, iterations=200).value < 1


def test_training_goes_on_bit_for_bit_from_a_saved_state(net: nn.Sequential, images: Tensor) -> None:
    optimizer, projection = SGD(net.parameters(), lr=0.1, momentum=0.9), DictionaryProjection(net)
    train(net, optimizer, projection, images, steps=3)
    saved = copy.deepcopy([part.state_dict() for part in (net, optimizer, projection)])
    train(net, optimizer, projection, images, steps=3)

    other = copy.deepcopy(net)
    other_optimizer, other_projection = SGD(other.parameters(), lr=0.1, momentum=0.9), DictionaryProjection(other)
    for part, state in zip((other, other_optimizer, other_projection), saved, strict=True):
        part.load_state_dict(state)
    train(other, other_optimizer, other_projection, images, steps=3)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in net.state_dict().items())


def test_the_projection_leaves_other_networks_alone() -> None:
    conv = nn.Conv2d(3, 6, 3)
    before = copy.deepcopy(conv.state_dict())
    projection = DictionaryProjection(conv)
    projection()
    projection.settle()
    assert all(torch.equal(before[name], value) for name, value in conv.state_dict().items())
