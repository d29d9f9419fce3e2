"""How long work speaks to whoever started it, without knowing who that is.

The command line passes a `Progress` that draws bars; everyone else gets this silent one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Task:
    """One piece of work under way."""

    def advance(self, amount: int) -> None:
        """So much more is done."""


class Progress:
    """Silent. A subclass may show what it is told."""

    def note(self, text: str) -> None:
        """Says one line that a person would want to read."""

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Announces work of `total` units; the task it yields is advanced as they are done."""
        yield Task()
