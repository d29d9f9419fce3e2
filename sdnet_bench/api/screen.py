"""Progress on the screen: bars where a person looks, notes and warnings as lines on stderr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from ..errors import printable
from ..progress import Progress, Task, is_launched

IS_FIRST = not is_launched() or os.environ["RANK"] == "0"
"""Whether this is the first (or only) process of a launcher such as `torchrun`."""

talk = Console(stderr=True, highlight=False)


class Bar(Task):
    """A task with a bar, a rate and the remaining time."""

    def __init__(self, bar: bars.Progress, number: bars.TaskID) -> None:
        self._bar, self._number = bar, number

    def advance(self, amount: int) -> None:
        self._bar.advance(self._number, amount)


class Speed(bars.ProgressColumn):
    """A column with the units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: bars.Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} {self._unit}/s")


class Bars(Progress):
    """Shows tasks as bars on a terminal or in a notebook; elsewhere nothing."""

    @property
    def is_seen(self) -> bool:
        """Whether there is a screen for bars; in a notebook they need `ipywidgets`."""
        return IS_FIRST and (talk.is_terminal or (talk.is_jupyter and find_spec("ipywidgets") is not None))

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        if not self.is_seen:
            yield Task()
            return
        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            Speed(unit),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=talk, transient=True) as bar:
            yield Bar(bar, bar.add_task(printable(title), total=total or None))


class Screen(Bars):
    """Prints notes and warnings as lines, too: the progress of commands."""

    def note(self, text: str) -> None:
        if IS_FIRST:
            tell(Text(printable(text), style="dim"))

    def warn(self, text: str) -> None:
        if IS_FIRST:
            tell(Text("warning: ", style="bold yellow") + Text(printable(text), style="default"))


def tell(line: Text) -> None:
    """Prints a line on stderr. Where that is closed or full, the work goes on."""
    with suppress(OSError):
        talk.print(line, soft_wrap=True)


def progress_of(wanted: bool | Progress) -> Progress:
    """The progress of a parameter `progress`: bars for True, silence for False, or one of the caller's own."""
    return wanted if isinstance(wanted, Progress) else Bars() if wanted else Progress()
