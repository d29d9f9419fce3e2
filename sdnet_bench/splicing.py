"""Functions of a dataclass that are called with its fields as keywords: options of a command, or of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, TypeVar, get_type_hints


class IsDataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Own = ParamSpec("Own")
"""The parameters of a function besides the dataclass."""
Value = TypeVar("Value", bound=IsDataclass)
Made = TypeVar("Made")


def splice(
    function: Callable[Concatenate[Value, Own], Made],
    value: type[Value],
    names: Collection[str] | None = None,
    fixed: Mapping[str, object] | None = None,
) -> Callable[Own, Made]:
    """A function that takes the fields of a dataclass as keywords, instead of the dataclass as its first parameter.

    They stand behind its own parameters, with their annotations and defaults, also in its signature.

    Args:
        function: takes the value, then its own parameters.
        value: a dataclass whose fields have defaults.
        names: of the fields that are taken; by default all.
        fixed: values of others.
    """
    taken = [field.name for field in fields(value) if names is None or field.name in names]

    @wraps(function)
    def run(*own: Own.args, **given: Own.kwargs) -> Made:
        values: dict[str, Any] = {name: given.pop(name) for name in taken if name in given}
        return function(value(**values, **(fixed or {})), *own, **given)

    whole = _signature(signature(function, eval_str=True), value, taken)
    run.__annotations__ = {name: each.annotation for name, each in whole.parameters.items()}
    run.__signature__ = whole  # type: ignore[attr-defined]
    return run


def _signature(function: Signature, value: type[Value], names: Collection[str]) -> Signature:
    """The signature without its first parameter, and with fields of the value as the last keywords."""
    hints = get_type_hints(value, include_extras=True)
    keywords = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(value)
        if field.name in names
    ]
    _, *own = function.parameters.values()
    return function.replace(parameters=sorted([*own, *keywords], key=lambda each: each.kind))
