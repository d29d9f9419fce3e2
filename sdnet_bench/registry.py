"""Registries of parts by name: our own parts and those of installed plugins.

Our parts register with a decorator; a plugin distribution names its parts as entry points of the registry's group.
An entry point is loaded when its name is first looked up, and is then registered like our own parts. One that fails
is left out with a warning that names its distribution.
"""

from __future__ import annotations

import inspect
import multiprocessing
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from .errors import BenchWarning, InterruptError, UnknownNameError
from .version import __version__

T = TypeVar("T")

OURS = "sdnet-bench"
USABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class PluginWarning(BenchWarning):
    """Warns of a plugin that cannot be used."""


@dataclass(frozen=True)
class Part:
    """A registered part, or a plugin that was rejected."""

    name: str
    kind: str
    distribution: str
    version: str
    state: str = "ok"
    """ "ok", or the reason why the plugin was rejected."""


class Registry(Mapping[str, T]):
    """A read-only mapping of names to parts of one kind, filled by `register` and by entry points.

    Args:
        kind: kind of the parts; its plural names the group of entry points.
        check: raises a TypeError for an object that is not a part of this kind.
        reserved: names that plugins may not use, because commands give them another meaning.
        late: modules that register parts of ours too, and are imported when the registry is first looked into.
    """

    def __init__(
        self,
        kind: str,
        check: Callable[[T], object] = lambda part: None,
        reserved: Collection[str] = (),
        late: Collection[str] = (),
    ) -> None:
        self.kind, self.check, self.reserved, self._late = kind, check, reserved, late
        self.group = f"sdnet_bench.{kind}s"
        self._parts: dict[str, T] = {}
        self._plugins: dict[str, EntryPoint] | None = None
        self._rejected: list[Part] = []

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a part under `name`.

        Raises a ValueError for a name that is taken, and a TypeError for an object that is not a part of this kind or
        whose own `name` differs.
        """

        def file(part: T) -> T:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self.check(part)
            own_name = getattr(part, "name", name)
            if isinstance(own_name, str) and own_name != name:
                raise TypeError(f"expected {name!r} as its own name too, got {own_name!r}")
            self._parts[name] = part
            return part

        return file

    def __getitem__(self, name: str) -> T:
        plugin = self._found().get(name)
        if plugin and name not in self._parts:
            self._load(plugin)
        if name not in self._parts:
            raise UnknownNameError(self.kind, name, self)
        return self._parts[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The part called `name`, or `default` where there is none."""
        try:
            return self[name]
        except UnknownNameError:
            return default

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._found(), *self._parts}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def ours(self) -> dict[str, T]:
        """Our own parts by name, sorted, without those of plugins."""
        theirs = self._found()
        return {name: self._parts[name] for name in sorted(self._parts) if name not in theirs}

    @property
    def rejected(self) -> list[Part]:
        """The plugins that were rejected so far; a plugin is loaded when its name is first looked up."""
        self._found()
        return list(self._rejected)

    def listing(self) -> list[Part]:
        """All parts and all rejected plugins, sorted by name; loads every plugin."""
        theirs = [self._described(plugin) for name, plugin in list(self._found().items()) if name in self]
        ours = [Part(name, self.kind, OURS, __version__) for name in self.ours]
        return sorted([*ours, *theirs, *self._rejected], key=lambda part: part.name)

    def _found(self) -> dict[str, EntryPoint]:
        """The entry points by name. Our own names come first, then the first distribution in alphabetical order."""
        if self._plugins is None:
            for module in self._late:
                import_module(module)
            self._plugins, holders = {}, dict.fromkeys([*self._parts, *self.reserved], OURS)
            for point in sorted(entry_points(group=self.group), key=_owner):
                if point.name in holders:
                    self._reject(point, f"the name is taken by {holders[point.name]}")
                elif not USABLE_NAME.fullmatch(point.name):
                    self._reject(point, "expected a name of letters, digits, dots, dashes and underscores")
                else:
                    self._plugins[point.name], holders[point.name] = point, _owner(point)[0]
        return self._plugins

    def _load(self, point: EntryPoint) -> None:
        """Registers the part of an entry point; text that it prints on import goes to stderr."""
        try:
            with redirect_stdout(sys.stderr), warnings.catch_warnings():
                self.register(point.name)(point.load())
        except (InterruptError, KeyboardInterrupt):
            raise
        except BaseException as error:
            del self._found()[point.name]
            self._reject(point, f"does not load: {type(error).__name__}: {error}")

    def _reject(self, point: EntryPoint, reason: str) -> None:
        """Leaves a plugin out; only the main process warns."""
        state = " ".join(reason.split())[:200]
        self._rejected.append(self._described(point, state))
        if multiprocessing.parent_process() is None:
            message = f"{self.kind} {point.name!r} of {_owner(point)[0]} is left out: {state}"
            warnings.warn(message, PluginWarning, stacklevel=4)

    def _described(self, point: EntryPoint, state: str = "ok") -> Part:
        return Part(point.name, self.kind, *_owner(point), state)


def check_call(part: Callable[..., object], expected: str, *arguments: object, **options: object) -> None:
    """Raises a TypeError that names `expected` where a part cannot be called with these arguments."""
    found: object = part
    try:
        found = signature = inspect.signature(part)
        signature.bind(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise TypeError(f"expected a function {expected}, got {found}: {error}") from None


def _owner(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution of an entry point; a damaged distribution may have neither."""
    name, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
    return name or "an unknown distribution", version or ""
