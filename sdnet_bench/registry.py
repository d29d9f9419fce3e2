"""Names to things: our own parts and those of installed plugins, through one door.

A part registers with a decorator; a plugin distribution names its parts as entry points of the registry's group. An
entry point loads when its name is first looked up, and is then registered like ours. One that fails is one warning
that names its distribution, and the rest works.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from .errors import InterruptError, UnknownNameError
from .version import __version__

T = TypeVar("T")

OURS = "sdnet-bench"


class PluginWarning(UserWarning):
    """A plugin that cannot be used."""


@dataclass(frozen=True)
class Part:
    """What is known of a registered part, or of a plugin that could not become one."""

    name: str
    kind: str
    distribution: str
    version: str
    state: str = "ok"
    """ "ok", or why it cannot be used."""


class Registry(Mapping[str, T]):
    """A read-only mapping of names to parts of one kind, filled by `register` and by entry points.

    Args:
        kind: of part; its plural names the group of entry points.
        check: raises a TypeError that says what is wrong with something that is no such part.
    """

    def __init__(self, kind: str, check: Callable[[Any], object] = lambda part: None) -> None:
        self.kind, self.check = kind, check
        self.group = f"sdnet_bench.{kind}s"
        self._parts: dict[str, T] = {}
        self._plugins: dict[str, EntryPoint] | None = None
        self._rejected: list[Part] = []

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a part under `name`; a taken name or what is no such part is a programming error."""

        def file(part: T) -> T:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self.check(part)
            self._parts[name] = part
            return part

        return file

    def __getitem__(self, name: str) -> T:
        if name not in self._parts and name in self._found():
            self._load(self._found()[name])
        if name not in self._parts:
            raise UnknownNameError(self.kind, name, self)
        return self._parts[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The part of that name, or `default`."""
        try:
            return self[name]
        except UnknownNameError:
            return default

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._found()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._parts, *self._found()}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def listing(self) -> list[Part]:
        """Every part, by name, and every plugin that could not become one: all are loaded for that."""
        usable = [name for name in self if self.get(name) is not None]
        plugins = self._found()
        ours = [Part(name, self.kind, OURS, __version__) for name in usable if name not in plugins]
        theirs = [self._described(plugins[name]) for name in usable if name in plugins]
        return sorted([*ours, *theirs, *self._rejected], key=lambda part: part.name)

    def _found(self) -> dict[str, EntryPoint]:
        """The entry points by name; of several the one of the first distribution, none where the name is ours."""
        if self._plugins is None:
            self._plugins, holders = {}, dict.fromkeys(self._parts, OURS)
            for point in sorted(entry_points(group=self.group), key=_owner):
                if point.name in holders:
                    self._reject(point, f"the name is taken by {holders[point.name]}")
                else:
                    self._plugins[point.name], holders[point.name] = point, _owner(point)[0]
        return self._plugins

    def _load(self, point: EntryPoint) -> None:
        """Registers the part of an entry point; what it prints on import is no data, and goes to stderr."""
        try:
            with redirect_stdout(sys.stderr):
                part = point.load()
            self.register(point.name)(part)
        except InterruptError:
            raise
        except (Exception, SystemExit) as error:
            del self._found()[point.name]
            self._reject(point, f"does not load: {type(error).__name__}: {error}")

    def _reject(self, point: EntryPoint, reason: str) -> None:
        state = " ".join(reason.split())[:200]
        self._rejected.append(self._described(point, state))
        message = f"{self.kind} {point.name!r} of {_owner(point)[0]} is left out: {state}"
        warnings.warn(message, PluginWarning, stacklevel=4)

    def _described(self, point: EntryPoint, state: str = "ok") -> Part:
        return Part(point.name, self.kind, *_owner(point), state)


def _owner(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution behind an entry point."""
    return (point.dist.name, point.dist.version) if point.dist else ("an unknown distribution", "")
