"""Every error that sdnet-bench raises on purpose.

    BenchError                exit status 1: the job failed
    ├── UsageError            exit status 2: the request itself is wrong
    │   └── UnknownNameError  no such recipe, backbone, corruption, ...; suggests the nearest names
    ├── DataError             a data set is missing or damaged, or its checksum differs
    ├── ModelError            a model is missing, truncated, another one, or computes what is not finite
    ├── RecordError           a file of records or a folder for results cannot be used
    ├── TrainingError         training cannot go on
    └── AttackError           an attack left its threat model
    InterruptError            exit status 130: Ctrl-C; no `Exception`, so that nothing takes it for a failure
    BenchWarning              a figure may mean something else than it seems to

A message is one line: what happened, what was expected, what was found, and what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

MOST_NEAR, MOST_LISTED = 3, 12
"""Largest numbers of names that a message suggests, and that it lists where none is near."""
LISTS = {
    **dict.fromkeys(("model", "recipe"), "sdnet-bench models list"),
    **dict.fromkeys(("adaptation", "attack", "backbone", "corruption", "dataset", "part"), "sdnet-bench plugins"),
    "archive": "sdnet-bench data list",
}
"""The command that lists the names of a kind."""
LONGEST_INPUT = 120
"""Largest number of characters of an input that a message quotes."""
LONGEST_PART = 2000
"""Largest number of characters of a part of a message."""


class BenchWarning(UserWarning):
    """Warns that a figure may mean something else than it seems to."""


def printable(text: str) -> str:
    """The text with control characters other than line breaks and tabs as escapes, such as \\x1b."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def reason(error: BaseException) -> str:
    """The message of an error that another library raised, as one line; for a `ValidationError` its first fault."""
    if isinstance(error, ValidationError):
        return first_fault(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return _cut(lines[0].rstrip("."), LONGEST_PART) if lines else type(error).__name__


def first_fault(error: ValidationError) -> str:
    """The first validation error as one line: the field, the rule and the value given."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "content"
    complaint = fault["msg"].lower().removeprefix("value error, ")
    return f"{where}: {complaint}, got {_cut(repr(fault['input']), LONGEST_INPUT)}"


def _cut(text: str, most: int) -> str:
    return text[:most] + "..." * (len(text) > most)


def listed(names: Iterable[str], most: int) -> str:
    """The first names in alphabetical order, at most so many, as text."""
    found = sorted(names)
    return ", ".join(found[:most]) + ", ..." * (len(found) > most)


class BenchError(Exception):
    """Base class of all errors. `exit_status` is the exit status of the command line."""

    exit_status = 1

    def __init__(self, what: str, *, expected: object = None, got: object = None, hint: str | None = None):
        parts = [what]
        if expected is not None:
            parts.append(f"expected {expected}")
        if got is not None:
            parts.append(f"got {got}" if got != "" else "got ''")
        message = printable(" ".join(", ".join(_cut(part, LONGEST_PART) for part in parts).split()))
        super().__init__(f"{message}. {hint}" if hint else message)
        self.hint = hint


class UsageError(BenchError):
    """The command line or the call is wrong; no work was started."""

    exit_status = 2


def check_size(what: str, size: int, most: int = 10**9) -> None:
    """Raises a `UsageError` for a size below 1 or above `most`."""
    if not 1 <= size <= most:
        raise UsageError(f"{what} out of range", expected=f"1 to {most:,}", got=size)


class UnknownNameError(UsageError):
    """`name` is not among the `known` names of a `kind`; the message has the nearest, and what lists all of them."""

    def __init__(self, kind: str, name: object, known: Iterable[str], *, hint: str | None = None):
        choices, text = sorted(known), str(name).lower()
        found = {choice.lower(): choice for choice in choices}
        near = [found[each] for each in difflib.get_close_matches(text, found, n=MOST_NEAR, cutoff=0.5)]
        near = near or [choice for choice in choices if text and text in choice.lower()][:MOST_NEAR]
        lists = LISTS.get(kind) if len(choices) > (len(near) or MOST_LISTED) else None
        parts = [lists and f"`{lists}` lists all.", hint]
        if near:
            parts.insert(0, f"Did you mean {_either([repr(each) for each in near])}?")
        elif not lists:
            parts.insert(0, f"Known: {listed(choices, MOST_LISTED) or 'none'}.")
        super().__init__(f"unknown {kind} {name!r}", hint=" ".join(filter(None, parts)))


def _either(texts: Sequence[str]) -> str:
    """Texts as alternatives: "a", "a or b", "a, b or c"."""
    *others, last = texts
    return f"{', '.join(others)} or {last}" if others else last


class DataError(BenchError):
    """A data set is missing or damaged, or its checksum differs."""


class ModelError(BenchError):
    """A model is missing, truncated or another one, or it computes numbers that are not finite."""


def not_finite(what: str, count: int, total: int) -> ModelError:
    """The error of a network whose logits, say, are NaN or infinite for `count` of `total` images."""
    hint = "Look for a division by zero, a root or a logarithm in the network, or train it anew at a lower rate."
    return ModelError(f"{what} of {count:,} of {total:,} images are not finite", hint=hint)


class RecordError(BenchError):
    """A file of records or a folder for results cannot be read or written."""


class TrainingError(BenchError):
    """Training cannot go on."""


class AttackError(BenchError):
    """An attack left its threat model; no accuracy is reported for its images."""


class InterruptError(BaseException):
    """The user pressed Ctrl-C, or the process was told to end. Finished work is kept."""

    def __init__(self, message: str, exit_status: int = 130):
        super().__init__(message)
        self.exit_status = exit_status
