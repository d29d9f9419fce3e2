"""What an adaptation is, the adaptations by name, and several of them in a chain."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from ..errors import UsageError
from ..records import ADAPTED_AT_ONCE, AdaptationSetting, Order
from ..registry import Registry

Classifier = Callable[[Tensor], Tensor]
"""Maps images `(N, 3, H, W)` in [0, 1] to logits `(N, classes)`."""


class Adaptation(Protocol):
    """A test-time adaptation with its settings."""

    @property
    def is_per_image(self) -> bool:
        """Whether the logits of an image do not depend on the other images of the stream."""

    @property
    def is_online(self) -> bool:
        """Whether what one batch changes stays for the batches that follow."""

    def __call__(self, net: nn.Module, classify: Classifier, /) -> AbstractContextManager[Classifier]:
        """Adapts a network in eval mode inside a block, which yields the adapted classifier.

        `classify` is the network, behind everything that is chained after this adaptation. The yielded function is
        called once for each batch of the stream, in order, without gradients. When the block ends, also by an
        exception, the network is as it was. A `UsageError` where the network cannot be adapted so.
        """


def check_adaptation(part: Callable[..., Adaptation]) -> None:
    """Raises a TypeError for a part that is not a function of settings with defaults, each a bool, int or float."""
    for name, default in _defaults(part).items():
        if not isinstance(default, bool | int | float):
            raise TypeError(f"expected a bool, int or float as default of {name}, got {default!r}")


ADAPTATIONS: Registry[Callable[..., Adaptation]] = Registry("adaptation", check_adaptation, reserved=("lambda",))
"""Makers of adaptations: each takes the settings by name, all of which have defaults. "lambda" is Algorithm 1."""


@dataclass(frozen=True)
class Chain:
    """Adaptations one after the other, in the order in which an image passes them; itself an adaptation."""

    parts: Sequence[Adaptation]

    @property
    def is_per_image(self) -> bool:
        """Whether the logits of an image do not depend on the other images of the stream."""
        return all(part.is_per_image for part in self.parts)

    @property
    def is_online(self) -> bool:
        """Whether what one batch changes stays for the batches that follow."""
        return any(part.is_online for part in self.parts)

    @contextmanager
    def __call__(self, net: nn.Module, classify: Classifier) -> Iterator[Classifier]:
        """Adapts a network inside a block, which yields the adapted classifier."""
        with ExitStack() as stack:
            for part in reversed(self.parts):
                classify = stack.enter_context(part(net, classify))
            yield classify


def setting_of(text: str, batch_size: int = ADAPTED_AT_ONCE, order: Order = "shuffled") -> AdaptationSetting:
    """The setting of adaptations by name, such as "median,bn:prior=16", with the defaults of all that is not named.

    Those that look at one image, the filters, come first. A `UsageError` where two of them adapt to whole batches, and
    for settings that there are not. Batch size and order are left out where they change the outcome of no image.
    """
    parts = sorted(map(_canonical, text.split(",")), key=lambda part: not _made(part).is_per_image)
    names = ",".join(parts)
    chain = chain_of(AdaptationSetting(name=names))
    if sum(not part.is_per_image for part in chain.parts) > 1:
        raise UsageError("two adaptations of one network", expected="filters, and one of the others", got=text)
    if chain.is_per_image:
        return AdaptationSetting(name=names)
    return AdaptationSetting(name=names, batch_size=batch_size, order=order)


def chain_of(setting: AdaptationSetting) -> Chain:
    """The adaptations of a setting."""
    return Chain([_made(part) for part in setting.name.split(",")])


def _made(text: str) -> Adaptation:
    name, *given = text.split(":")
    maker = ADAPTATIONS[name]
    return maker(**_settings(name, _defaults(maker), given))


def _canonical(text: str) -> str:
    """An adaptation as text with all its settings: "bn" is "bn:prior=0"."""
    name, *given = text.strip().split(":")
    settings = _settings(name, _defaults(ADAPTATIONS[name]), given)
    return ":".join([name, *(f"{key}={_written(value)}" for key, value in settings.items())])


def _settings(
    name: str, defaults: dict[str, bool | int | float], given: Sequence[str]
) -> dict[str, bool | int | float]:
    """The settings of an adaptation, those in `given` ("key=value") in the place of their defaults."""
    found = dict(defaults)
    for text in given:
        key, _, value = text.partition("=")
        if key not in defaults:
            expected = " or ".join(f"{name}:{key}={_written(default)}" for key, default in defaults.items())
            raise UsageError(f"{name} has no such setting", expected=expected or f"{name} alone", got=text)
        found[key] = _read(value, defaults[key], text)
    return found


def _read(value: str, default: bool | int | float, text: str) -> bool | int | float:
    """A setting of the type of its default."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value]
        return type(default)(value) + 0  # not -0
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(default, bool) else "a number"
        raise UsageError("a setting cannot be read", expected=kind, got=text) from None


def _written(value: bool | int | float) -> str:
    """A setting as text that is read back as the same value: "true", "200", "0.001"."""
    if isinstance(value, int):
        return str(value).lower()
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _defaults(maker: Callable[..., Adaptation]) -> dict[str, bool | int | float]:
    return {name: parameter.default for name, parameter in inspect.signature(maker).parameters.items()}
