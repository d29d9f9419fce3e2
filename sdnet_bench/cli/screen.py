"""Output of the command line: data on stdout; progress, notes and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

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


class Screen(Progress):
    """Prints notes as lines and tasks as bars; bars only where stderr is a terminal."""

    def note(self, text: str) -> None:
        if IS_FIRST:
            _tell(Text(printable(text), style="dim"))

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        if not (talk.is_terminal and IS_FIRST):
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


def show_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Prints rows with the same keys, as JSON or as a table; of no rows there is no table."""
    if as_json:
        say(json.dumps(rows, indent=1))
    elif rows:
        _show_table(rows)


def _show_table(rows: Sequence[dict[str, Any]]) -> None:
    """Prints a table of any width; text is left-aligned."""
    lines = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    columns = zip(*(row.values() for row in rows), strict=True)
    are_words = [all(isinstance(value, str) for value in column) for column in columns]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, are_words, strict=True)
        say("  ".join(text.ljust(width) if is_word else text.rjust(width) for text, width, is_word in cells).rstrip())


def say(text: str) -> None:
    """Prints data in the first process only. A reader that has seen enough, such as `head`, is no fault."""
    if IS_FIRST:
        with suppress(BrokenPipeError):
            sys.stdout.write(printable(text) + "\n")
            sys.stdout.flush()


def drop_unwritten() -> None:
    """Drops what stdout cannot take, which Python would complain of at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text(value: object) -> str:
    """A value as the cell of a table, on one line."""
    if value is None:
        return "—"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value)).translate({9: " ", 10: " "})


def warn(message: str) -> None:
    """Prints a one-line warning in the first process only."""
    if IS_FIRST:
        _tell(Text("warning: ", style="bold yellow") + Text(printable(message), style="default"))


def fail(message: str) -> None:
    """Prints a one-line error."""
    _tell(Text("error: ", style="bold red") + Text(printable(message), style="default"))


def _tell(line: Text) -> None:
    """Prints a line on stderr. Where that is closed or full, the work goes on."""
    with suppress(OSError):
        talk.print(line, soft_wrap=True)
