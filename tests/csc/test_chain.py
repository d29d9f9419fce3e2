"""The way back from a code: against A itself, against layers that lose nothing, and batch norm undone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from found import there
from torch import Tensor, nn

from sdnet_bench.csc import CSCConv2d, carry, chain_to, rebuild
from sdnet_bench.errors import UsageError

EXACT = {"rtol": 0, "atol": 1e-9}


def batch_norm(channels: int, **options: bool) -> nn.BatchNorm2d:
    """One that has seen much and learned much, and whose eps is not to be left out; in eval mode."""
    norm = nn.BatchNorm2d(channels, eps=0.3, **options).double()
    there(norm.running_mean).normal_()
    there(norm.running_var).uniform_(0.1, 3)
    if norm.affine:
        nn.init.normal_(norm.bias)
        nn.init.uniform_(norm.weight, 0.5, 2)
        norm.weight.data[0] *= -1
    return norm.eval()


def lossless(channels: int) -> CSCConv2d:
    """A layer whose atoms are single ones, whose codes have both signs and cost nothing: its code is its input."""
    layer = CSCConv2d(channels, channels, lambda_=0, steps=40, nonnegative=False).double()
    with torch.no_grad():
        layer.dictionary.zero_()[range(channels), range(channels), 1, 1] = 1
    layer.settle()
    return layer


def forward(chain: Sequence[nn.Module], image: Tensor) -> Tensor:
    return nn.Sequential(*chain)(image)  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (7, 9), (8, 8)])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_chain_of_one_layer_is_its_synthesis(stride: int, kernel_size: int, size: tuple[int, int]) -> None:
    layer = CSCConv2d(3, 8, kernel_size, stride)
    code = layer(torch.randn(2, 3, *size))
    assert torch.equal(rebuild([layer], code, size), layer.operator.synthesize(code, size))


def test_the_chain_is_equation_14_with_the_sizes_that_the_layers_saw() -> None:
    first, second, third = CSCConv2d(3, 4, stride=2), CSCConv2d(4, 5, 5), CSCConv2d(5, 6, stride=2)
    code = torch.randn(2, 6, 2, 3)
    wanted = third.operator.synthesize(code, (4, 5))
    wanted = first.operator.synthesize(second.operator.synthesize(wanted, (4, 5)), (7, 9))
    assert torch.equal(rebuild([first, second, third], code, (7, 9)), wanted)
    assert rebuild([first, second, third], code, (8, 10)).shape == (2, 3, 8, 10)


@pytest.mark.parametrize("size", [(8, 8), (9, 11)])
def test_of_any_padding_the_chain_is_equation_14_too(size: tuple[int, int]) -> None:
    first, second = CSCConv2d(3, 4, 4, 2, padding=0), CSCConv2d(4, 5, 2, padding=1)
    code = second(first(torch.randn(2, 3, *size)))
    inner = second.operator.synthesize(code, first.operator.grid(size))
    assert torch.equal(rebuild([first, second], code, size), first.operator.synthesize(inner, size))


def test_layers_that_lose_nothing_give_the_image_back() -> None:
    image = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    chain = [lossless(3), batch_norm(3), nn.Identity(), lossless(3), batch_norm(3), lossless(3)]
    code = forward(chain, image)
    assert (code - image).abs().max() > 0.5
    torch.testing.assert_close(rebuild(chain, code, (5, 7)), image, **EXACT)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_undone(affine: bool) -> None:
    norm, image = batch_norm(4, affine=affine), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(rebuild([norm], norm(image), (3, 5)), image, **EXACT)


def test_a_channel_that_batch_norm_stops_comes_back_as_its_mean() -> None:
    norm, image = batch_norm(4), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    norm.weight.data[2] = 0
    back = rebuild([norm], norm(image), (3, 5))
    torch.testing.assert_close(back[:, 2], there(norm.running_mean)[2].expand(2, 3, 5), **EXACT)
    torch.testing.assert_close(back[:, [0, 1, 3]], image[:, [0, 1, 3]], **EXACT)


def test_relu_and_identity_hand_everything_through() -> None:
    layer = CSCConv2d(3, 8)
    code = torch.randn(1, 8, 4, 4)
    plain = rebuild([layer], code, (4, 4))
    assert torch.equal(rebuild([layer, nn.ReLU(), nn.Identity()], code, (4, 4)), plain)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_atom_is_carried_to_what_one_unit_of_its_code_adds(stride: int) -> None:
    before = [
        CSCConv2d(3, 4, 5, stride).double(),
        batch_norm(4),
        nn.ReLU(),
        CSCConv2d(4, 5, stride=stride).double(),
        batch_norm(5),
    ]
    layer, side = CSCConv2d(5, 6).double(), 12 * stride**2
    code = torch.zeros(6, 6, 12, 12, dtype=torch.float64)
    code[range(6), range(6), 6, 6] = 1
    added = rebuild([*before, layer], code, (side, side)) - rebuild([*before, layer], 0 * code, (side, side))
    patches = carry(before, layer.dictionary)
    middle, reach = 6 * stride**2, patches.shape[-1] // 2
    assert patches.shape[-1] == 2 * (stride**2 + stride + 2) + 1
    window = slice(middle - reach, middle + reach + 1)
    torch.testing.assert_close(added[..., window, window], patches, **EXACT)
    assert added.abs().sum() == pytest.approx(float(patches.detach().abs().sum()))


def test_atoms_of_a_first_layer_stay_as_they_are() -> None:
    atoms = torch.randn(4, 3, 3, 3)
    assert carry([], atoms) is atoms


def test_a_chain_ends_with_the_layer_of_its_number() -> None:
    path = [CSCConv2d(3, 4), nn.BatchNorm2d(4), nn.ReLU(), CSCConv2d(4, 5), nn.BatchNorm2d(5)]
    assert [chain_to(path, number) for number in (1, 2)] == [path[:1], path[:4]]


@pytest.mark.parametrize("number", [-1, 0, 3])
def test_a_layer_that_is_not_there_is_refused(number: int) -> None:
    message = rf"leads from layer {number} back to the pixels, expected a layer from 1 to 2, got {number}"
    with pytest.raises(UsageError, match=message):
        chain_to([CSCConv2d(3, 4), nn.ReLU(), CSCConv2d(4, 5)], number)


def test_without_a_layer_there_is_no_chain() -> None:
    with pytest.raises(UsageError, match="expected a network that begins with a CSC-layer, got 1"):
        chain_to([nn.Identity()], 1)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (nn.MaxPool2d(2), "a chain of dictionaries is broken, expected CSC-layers, .* got MaxPool2d"),
        (nn.BatchNorm2d(3, track_running_stats=False), "a batch norm without running statistics cannot be undone"),
    ],
)
def test_what_has_no_inverse_is_refused(link: nn.Module, message: str) -> None:
    image = torch.randn(1, 3, 4, 4)
    with pytest.raises(UsageError, match=message):
        rebuild([link], image, (4, 4))
    with pytest.raises(UsageError, match=message):
        carry([link], image)
