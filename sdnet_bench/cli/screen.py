"""Output of the command line: data on stdout, errors on stderr."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rich.text import Text

from ..api.screen import IS_FIRST, tell
from ..errors import printable


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


def fail(message: str) -> None:
    """Prints a one-line error."""
    tell(Text("error: ", style="bold red") + Text(printable(message), style="default"))
