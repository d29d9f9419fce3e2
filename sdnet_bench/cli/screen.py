"""What a person sees: data on stdout; progress, notes and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import progress as bars
from rich.console import Console
from rich.table import Table

from ..progress import Progress, Task

talk = Console(stderr=True, highlight=False)


class Bar(Task):
    """A task with a bar, a rate and the time that is left."""

    def __init__(self, bar: bars.Progress, number: bars.TaskID) -> None:
        self._bar, self._number = bar, number

    def advance(self, amount: int) -> None:
        self._bar.advance(self._number, amount)


class Screen(Progress):
    """Notes as lines, tasks as bars; bars only where stderr is a terminal."""

    def note(self, text: str) -> None:
        talk.print(text, style="dim", markup=False)

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Task]:
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(show_speed=True),
            bars.TextColumn(unit),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as bar:
            yield Bar(bar, bar.add_task(title, total=total or None))


def show_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Prints rows with the same keys, as JSON or as a table."""
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    table = Table(*(str(key) for key in rows[0]), box=None)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return "—"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def fail(message: str, *, status: int) -> int:
    """Prints a one-line error and returns the exit status."""
    talk.print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True)
    return status


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(" ".join(text.split()))
