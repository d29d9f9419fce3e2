"""Packages that open late: what needs no torch can be had from them without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def opening(package: str, doors: Mapping[str, Iterable[str]]) -> Callable[[str], object]:
    """The `__getattr__` of a package that imports a module, such as ".splits", when one of its names is asked for."""
    module_of = {name: module for module, names in doors.items() for name in names}

    def find(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module_of[name], package), name)

    return find
