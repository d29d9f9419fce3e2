"""The interface by which long work reports its progress.

The command line passes a `Progress` that draws bars; the default prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Task:
    """A unit of work in progress."""

    def advance(self, amount: int) -> None:
        """Reports `amount` more units as done."""


class Progress:
    """Prints nothing; subclasses may show notes and tasks."""

    def note(self, text: str) -> None:
        """Reports one line of text to the user."""

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Starts a task of `total` units and yields it; the caller advances it."""
        yield Task()
