"""Small networks with norm layers that have seen some training, and all that an adaptation must leave alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sdnet_bench.adaptations import Adaptation

SHAPE = (3, 6, 6)
"""Of an image."""


def stream(*sizes: int, seed: int = 0) -> list[Tensor]:
    """Batches of images of these sizes, each brighter than the one before."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(size, *SHAPE, generator=generator) * (1 + at) / 2 for at, size in enumerate(sizes)]


def convolutional(norm: Callable[[int], nn.Module] = nn.BatchNorm2d, *, dropout: float = 0.0) -> nn.Sequential:
    """A convolution, a norm layer, dropout and a linear classifier of four classes, in eval mode."""
    parts = [nn.Conv2d(3, 5, 3), norm(5), nn.ReLU(), nn.Dropout(dropout)]
    return trained(nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 4)))


def flat(norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> nn.Sequential:
    """A network whose norm layer sees one value per image and channel, in eval mode."""
    return trained(nn.Sequential(nn.Flatten(), nn.Linear(108, 5), norm(5), nn.Tanh(), nn.Linear(5, 4)))


def trained(net: nn.Sequential) -> nn.Sequential:
    """The network in eval mode, with scale, shift and statistics that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(7)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if value.is_floating_point() and value.ndim == 1:
            value.data = torch.rand(value.shape, generator=generator) + 0.5 * name.endswith(("weight", "var"))
    return net.eval()


@torch.no_grad()
def answers(adaptation: Adaptation, net: nn.Module, batches: list[Tensor]) -> list[Tensor]:
    """The logits of a stream under an adaptation."""
    with adaptation(net, net) as classify:
        return [classify(batch) for batch in batches]


def state(net: nn.Module) -> dict[str, object]:
    """All that is in a network: values, gradients, modes, hooks and attributes, as they are at this moment."""
    values = {name: value.clone() for name, value in net.state_dict().items()}
    weights = {f"{name} learns": weight.requires_grad for name, weight in net.named_parameters()}
    gradients = {
        f"{name} grad": weight.grad is not None and weight.grad.clone() for name, weight in net.named_parameters()
    }
    modules = dict(net.named_modules())
    modes = {f"{name} mode": (module.training, sorted(vars(module))) for name, module in modules.items()}
    hooks = {f"{name} hooks": len(module._forward_pre_hooks) for name, module in modules.items()}
    after = {f"{name} hooks after": len(module._forward_hooks) for name, module in modules.items()}
    tracked = {f"{name} tracks": getattr(module, "track_running_stats", None) for name, module in modules.items()}
    return values | weights | gradients | modes | hooks | after | tracked


def same(first: dict[str, object], second: dict[str, object]) -> bool:
    """Whether two states are equal, tensors bit for bit."""

    def equal(one: object, other: object) -> bool:
        both = isinstance(one, Tensor) and isinstance(other, Tensor)
        return torch.equal(one, other) if both else one == other  # type: ignore[arg-type]

    return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
