"""Entry point of `sdnet-bench`, `python -m sdnet_bench` and `torchrun -m sdnet_bench`. Imports little."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import InterruptError

PROCESS = os.getpid()


def main() -> None:
    """Runs the command line. From here on Ctrl-C and SIGTERM end it with one line."""
    interrupts: list[InterruptError] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, partial(_stop, interrupts))
    _open_streams()
    from .cli.app import run

    status = run(interrupts)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


def _open_streams() -> None:
    """Puts a sink in the place of a closed stream, and lets streams show any character, if need be as an escape."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _stop(interrupts: list[InterruptError], number: int, frame: FrameType | None) -> None:
    """Ends the process: by an error, also kept in a list, or at once while a module is imported.

    Libraries take such an error for one of an import, or for a damaged file.
    """
    if os.getpid() != PROCESS:  # a worker that was forked
        os._exit(128 + number)
    signal.signal(number, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
    word = "interrupted" if number == signal.SIGINT else "terminated"
    if _is_importing(frame):
        os.write(2, f"error: {word}\n".encode())
        os._exit(128 + number)
    from .errors import InterruptError

    said = f"{word}. What is on record is not measured again; for train, add --resume."
    interrupts.append(InterruptError(said, 128 + number))
    raise interrupts[-1]


def _is_importing(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


if __name__ == "__main__":
    main()
