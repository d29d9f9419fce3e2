"""Names to things: our own parts and those of installed plugins, through one door.

A part registers with a decorator; a plugin distribution names its parts as entry points of the registry's
group. Entry points load when a name is first looked up; one that fails is a warning, and the rest works.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from .errors import InterruptError, UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A read-only mapping of names to parts of one kind, filled by `register` and by entry points."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.group = f"sdnet_bench.{kind}s"
        self._parts: dict[str, T] = {}
        self._plugins: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a part under `name`; a taken name is a programming error."""

        def file(part: T) -> T:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
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

    def _found(self) -> dict[str, EntryPoint]:
        if self._plugins is None:
            self._plugins = {point.name: point for point in entry_points(group=self.group)}
        return self._plugins

    def _load(self, point: EntryPoint) -> None:
        try:
            self._parts[point.name] = point.load()
        except InterruptError:
            raise
        except (Exception, SystemExit) as error:
            del self._found()[point.name]
            owner = point.dist.name if point.dist else "an unknown distribution"
            warnings.warn(f"plugin {point.name!r} of {owner} does not load: {error!r}", stacklevel=3)
