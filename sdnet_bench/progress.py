"""The interface by which long work reports its progress.

The command line passes a `Progress` that draws bars; the default prints nothing, and warns as Python does. Of several
processes, only the first reports.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import BenchWarning

LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables of a launcher such as `torchrun`. They count only where all of them are there."""


def is_launched() -> bool:
    """Whether a launcher started this process."""
    return all(name in os.environ for name in LAUNCHER)


class Task:
    """A unit of work in progress."""

    def advance(self, amount: int) -> None:
        """Reports `amount` more units as done."""


class Progress:
    """Prints nothing; subclasses may show notes and tasks."""

    def note(self, text: str) -> None:
        """Reports one line of text to the user."""

    def warn(self, text: str) -> None:
        """Reports, in one line, why a figure may mean something else than it seems to."""
        warnings.warn(text, BenchWarning, stacklevel=3)

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        """Starts a task of `total` units and yields it; the caller advances it."""
        yield Task()
