"""Networks to look at: each is what its name says, differentiable to the end, and gone after the block."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from sdnet_bench.attacks import surrogate
from sdnet_bench.attacks.surrogates import (
    SHARPNESS,
    AdaptiveNet,
    LambdaEnsemble,
    smooth_signed_threshold,
    smooth_threshold,
    smoothed,
)
from sdnet_bench.csc import CSCConv2d, csc_layers, feeding_lambda, get_lambda, residuals, using_lambda, using_steps
from sdnet_bench.csc.solvers import nonnegative_soft_threshold, soft_threshold
from sdnet_bench.engine.evaluate import choose, is_correct
from sdnet_bench.engine.runtime import Runtime
from sdnet_bench.errors import UsageError
from sdnet_bench.records import AttackSetting, Threat
from sdnet_bench.records.lambda_fit import Point, fit_line
from sdnet_bench.studies.algorithm1 import PerImage
from sdnet_bench.studies.protocols import attack_setting
from sdnet_bench.studies.workbench import Workbench

LAMBDAS = (0.05, 0.1, 0.4)


def rule(residual: Tensor) -> Tensor:
    return (0.02 * residual + 0.01).clamp_min(0)


def setting(**changes: Any) -> AttackSetting:
    return attack_setting(Threat("linf", 0.1), 2).model_copy(update=changes)


@pytest.fixture
def double() -> nn.Sequential:
    """Two CSC-layers of which one is signed, in double precision."""
    torch.manual_seed(0)
    layers = CSCConv2d(2, 3, lambda_=0.05), CSCConv2d(3, 2, stride=2, lambda_=0.05, nonnegative=False), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(18, 3)).double().eval()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()


def gradient(net: nn.Module, image: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(net(image).square().sum(), image)
    return found


@torch.no_grad()
def by_differences(net: nn.Module, image: Tensor, step: float = 1e-6) -> Tensor:
    found = torch.zeros_like(image).flatten()
    for at in range(image.numel()):
        shift = torch.zeros_like(found)
        shift[at] = step
        up, down = (float(net(image.detach() + sign * shift.view_as(image)).square().sum()) for sign in (1, -1))
        found[at] = (up - down) / (2 * step)
    return found.view_as(image)


# lambda by the residual


@torch.no_grad()
def test_the_adaptive_network_is_the_pipeline_of_the_judge(sdnet: Workbench, runtime: Runtime) -> None:
    """Residuals at lambda_0, a lambda for each image by the fit, logits under it."""
    points = [Point(0.1, r, 0.1 * r, 0.5) for r in (0.0, 100.0)]
    by_fit = PerImage(fit_line("unknown", sdnet.model.weights, points))
    net = sdnet.model.net.eval()
    for batch in sdnet.split("test", 50).batches(50, runtime.device):
        pixels = runtime.to_pixels(batch.images)
        lambdas = choose(net, pixels, batch, by_fit, runtime)
        assert isinstance(lambdas, Tensor)
        assert lambdas.std() > 0.01
        with using_lambda(net, lambdas):
            expected = net(pixels)
        logits = AdaptiveNet(net, lambda residual, batch=batch: by_fit(residual, batch), attached=False)(pixels)
        assert torch.equal(logits, expected)
        correct = is_correct(net, pixels, batch.labels, lambdas, runtime)
        assert torch.equal(logits.argmax(1) == batch.labels, correct)
        with using_lambda(net, 0.1):
            assert not torch.equal(logits, net(pixels))


def test_attached_gradients_are_those_of_the_whole_pipeline(double: nn.Sequential, image: Tensor) -> None:
    net = AdaptiveNet(double, rule, attached=True)
    torch.testing.assert_close(gradient(net, image), by_differences(net, image), rtol=1e-5, atol=1e-8)


def test_detached_gradients_take_lambda_for_a_constant(double: nn.Sequential, image: Tensor) -> None:
    with torch.no_grad(), residuals(double) as meter:
        double(image)
    lambdas = rule(meter.per_image())

    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            with feeding_lambda(double, lambdas):
                return double(images)  # type: ignore[no-any-return]

    net = AdaptiveNet(double, rule, attached=False)
    assert torch.equal(net(image), Constant()(image))
    torch.testing.assert_close(gradient(net, image), by_differences(Constant(), image), rtol=1e-5, atol=1e-8)


def test_what_is_attached_and_what_is_not_differ_in_their_gradients_alone(double: nn.Sequential, image: Tensor) -> None:
    attached, detached = (AdaptiveNet(double, rule, attached=attached) for attached in (True, False))
    assert torch.equal(attached(image), detached(image))
    ours, theirs = gradient(attached, image), gradient(detached, image)
    assert float((ours - theirs).norm() / ours.norm()) > 0.01


@pytest.mark.parametrize("attached", [True, False])
def test_the_adaptive_network_leaves_its_network_as_it_was_and_makes_no_graph_where_gradients_are_off(
    double: nn.Sequential, image: Tensor, attached: bool
) -> None:
    before, net = [layer.lambda_ for layer in csc_layers(double)], AdaptiveNet(double, rule, attached=attached)
    with torch.no_grad():
        assert not net(image).requires_grad
    gradient(net, image)
    assert all(layer.lambda_ is old for layer, old in zip(csc_layers(double), before, strict=True))
    assert get_lambda(double) == 0.05
    assert not any(layer._forward_hooks for layer in csc_layers(double))


# several lambdas


def test_the_logits_of_the_ensemble_are_the_mean(double: nn.Sequential, image: Tensor) -> None:
    each = []
    for lambda_ in LAMBDAS:
        with using_lambda(double, lambda_):
            each.append(double(image))
    torch.testing.assert_close(LambdaEnsemble(double, LAMBDAS)(image), sum(each) / 3)
    assert not torch.allclose(each[0], each[2])
    assert get_lambda(double) == 0.05


def test_an_ensemble_of_one_is_the_network_at_that_lambda(double: nn.Sequential, image: Tensor) -> None:
    with using_lambda(double, 0.4):
        expected = double(image)
    torch.testing.assert_close(LambdaEnsemble(double, [0.4])(image), expected)


def test_gradients_go_through_every_lambda_of_the_ensemble(double: nn.Sequential, image: Tensor) -> None:
    """They are taken when the network is back at its own."""
    net = LambdaEnsemble(double, LAMBDAS)
    torch.testing.assert_close(gradient(net, image), by_differences(net, image), rtol=1e-5, atol=1e-8)


# the smooth threshold


@given(code=st.floats(-5, 5), threshold=st.floats(0, 3))
def test_the_smooth_threshold_is_near_the_threshold(code: float, threshold: float) -> None:
    z, t = torch.tensor(code, dtype=torch.float64), torch.tensor(threshold, dtype=torch.float64)
    excess = float(smooth_threshold(z, t) - nonnegative_soft_threshold(z, t))
    assert -1e-12 <= excess <= threshold * math.log(2) / SHARPNESS + 1e-12


def test_far_from_the_threshold_they_are_one() -> None:
    code, threshold = torch.tensor([-3.0, 5.0]), torch.tensor(1.0)
    expected = nonnegative_soft_threshold(code, threshold)
    torch.testing.assert_close(smooth_threshold(code, threshold), expected, atol=1e-6, rtol=0)


def test_the_smooth_threshold_has_a_gradient_where_the_other_has_none() -> None:
    code = torch.tensor([0.9], requires_grad=True)
    for prox, steep in ((nonnegative_soft_threshold, 0.0), (smooth_threshold, 1 / (1 + math.exp(0.1 * SHARPNESS)))):
        (slope,) = torch.autograd.grad(prox(code, torch.tensor(1.0)).sum(), code)
        assert float(slope) == pytest.approx(steep, rel=1e-5)


def test_thresholds_are_smooth_for_the_length_of_a_block(double: nn.Sequential) -> None:
    before = [layer.prox for layer in csc_layers(double)]
    with smoothed(double):
        smooth = {True: smooth_threshold, False: smooth_signed_threshold}
        assert all(layer.prox is smooth[layer.nonnegative] for layer in csc_layers(double))
    assert [layer.prox for layer in csc_layers(double)] == before
    with pytest.raises(ZeroDivisionError), smoothed(double):
        raise ZeroDivisionError
    assert [layer.prox for layer in csc_layers(double)] == before


# what a setting says


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(3, 3, 8, 8)


def test_without_a_word_the_attack_looks_at_the_network_itself(csc_net: nn.Sequential, net: nn.Sequential) -> None:
    for own in (csc_net, net):
        with surrogate(own, setting()) as seen:
            assert seen is own
    assert get_lambda(csc_net) == 0.1


def test_a_lambda_is_that_of_the_block(csc_net: nn.Sequential, pixels: Tensor) -> None:
    with surrogate(csc_net, setting(crafted_at=0.7)) as seen:
        found = seen(pixels)
    assert get_lambda(csc_net) == 0.1
    with using_lambda(csc_net, 0.7):
        assert torch.equal(found, csc_net(pixels))


def test_several_lambdas_are_an_ensemble(csc_net: nn.Sequential, pixels: Tensor) -> None:
    with surrogate(csc_net, setting(crafted_at=LAMBDAS)) as seen:
        assert torch.equal(seen(pixels), LambdaEnsemble(csc_net, LAMBDAS)(pixels))


@pytest.mark.parametrize("through", ["attached", "detached"])
def test_a_rule_is_looked_through(csc_net: nn.Sequential, pixels: Tensor, through: str) -> None:
    with surrogate(csc_net, setting(through=through), rule) as seen:
        assert isinstance(seen, AdaptiveNet)
        assert seen.attached == (through == "attached")
        assert torch.equal(seen(pixels), AdaptiveNet(csc_net, rule, attached=False)(pixels))


def test_inference_steps_are_those_of_the_block(csc_net: nn.Sequential, pixels: Tensor) -> None:
    own = csc_net(pixels)
    with surrogate(csc_net, setting(inference_steps=5)) as seen:
        found = seen(pixels)
    with using_steps(csc_net, 5):
        assert torch.equal(found, csc_net(pixels))
    assert not torch.equal(found, own)
    assert torch.equal(csc_net(pixels), own)


def test_a_smooth_surrogate_is_near_the_network(csc_net: nn.Sequential, pixels: Tensor) -> None:
    own = csc_net(pixels)
    with surrogate(csc_net, setting(smooth=True)) as seen:
        found = seen(pixels)
    assert not torch.equal(found, own)
    assert torch.equal(csc_net(pixels), own)
    with smoothed(csc_net):
        assert torch.equal(found, csc_net(pixels))


def test_an_attack_through_a_choice_needs_the_choice(csc_net: nn.Sequential) -> None:
    with (
        pytest.raises(UsageError, match="looks through a choice of lambda, expected a rule"),
        surrogate(csc_net, setting(through="attached")),
    ):
        pass


def test_the_smooth_signed_threshold_is_near_the_signed_threshold() -> None:
    code, threshold = torch.linspace(-3, 3, 121, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    difference = smooth_signed_threshold(code, threshold) - soft_threshold(code, threshold)
    assert float(difference.abs().max()) <= 0.7 * math.log(2) / SHARPNESS
    assert torch.allclose(smooth_signed_threshold(-code, threshold), -smooth_signed_threshold(code, threshold))


@pytest.mark.parametrize("nonnegative", [True, False])
def test_a_smoothed_layer_keeps_its_signs(nonnegative: bool) -> None:
    layer = CSCConv2d(3, 8, nonnegative=nonnegative, lambda_=0.1)
    images = torch.rand(2, 3, 6, 6) - 0.5
    with torch.no_grad(), smoothed(layer):
        code = layer(images)
    assert bool((code < -0.05).any()) is not nonnegative


@pytest.mark.parametrize("lambda_", [0.1, 0.5, 1.0])
def test_a_smooth_surrogate_sees_what_the_network_sees(sdnet: Workbench, lambda_: float) -> None:
    """On a trained network the two agree: an attack on a surrogate that sees nothing would say nothing."""
    net, images = sdnet.model.net, next(sdnet.split("test", 200).batches(200, torch.device("cpu"))).images / 255
    with torch.no_grad(), using_lambda(net, lambda_):
        own = net(images).argmax(1)
        with smoothed(net):
            agree = (net(images).argmax(1) == own).float().mean()
    assert float(agree) > 0.9
