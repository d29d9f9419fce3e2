"""Commands as processes of their own. They are forked from one that has loaded torch, and start in milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from tempfile import mkdtemp

FORGE = multiprocessing.get_context("forkserver")
PATIENCE = 300.0
"""Seconds after which a process hangs."""
Prepare = Callable[[], None]
"""What a process does before its command."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (minus the signal that killed it; None for one that hung), and its words."""

    status: int | None
    out: str
    err: str
    seconds: float

    def complaints(self, *statuses: int) -> list[str]:
        """What may never be: a hang, a traceback, another exit status than these, an error without a line."""
        told = f"status {self.status}: {self.err[-1500:]}"
        is_bare = self.status in (1, 2) and "error: " not in self.err
        return [told] if self.status not in statuses or "Traceback" in self.out + self.err or is_bare else []


@cache
def _light_the_forge() -> None:
    """Starts the process from which the others are forked, with everything loaded."""
    path, os.environ["PYTHONPATH"] = os.environ.get("PYTHONPATH", ""), os.pathsep.join(sys.path)
    FORGE.set_forkserver_preload(["faults.loaded"])
    forkserver.ensure_running()
    os.environ["PYTHONPATH"] = path


class Started:
    """A command that runs in a folder."""

    def __init__(self, words: tuple[str, ...], folder: Path, prepare: tuple[Prepare, ...] = ()) -> None:
        self._talk = Path(mkdtemp(dir=folder.parent))
        _light_the_forge()
        self._process = FORGE.Process(target=_run, args=(words, folder, self._talk, prepare))
        self._process.start()
        while not (self._talk / "2").exists() and self._process.is_alive():
            time.sleep(0.001)  # a signal comes no earlier than the command
        self._began = time.perf_counter()

    @property
    def err(self) -> str:
        """What it has written on stderr so far."""
        return (self._talk / "2").read_text("utf-8")

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Sends a signal, unless it has ended already."""
        if self.is_alive and self._process.pid:
            os.kill(self._process.pid, number)

    def ended(self) -> Ended:
        """Waits for its end."""
        self._process.join(PATIENCE)
        status = self._process.exitcode
        if status is None:
            self._process.kill()
            self._process.join()
        out, err = ((self._talk / name).read_text("utf-8") for name in "12")
        return Ended(status, out, err, time.perf_counter() - self._began)


def run(words: tuple[str, ...], folder: Path, prepare: tuple[Prepare, ...] = ()) -> Ended:
    """Runs a command to its end."""
    return Started(words, folder, prepare).ended()


def _run(words: tuple[str, ...], folder: Path, talk: Path, prepare: tuple[Prepare, ...]) -> None:
    from sdnet_bench.__main__ import main

    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder.parent / "cache")
    os.environ.pop("SDNET_BENCH_DATA", None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until `main` says what it does
    for number in (1, 2):
        os.dup2(os.open(talk / str(number), os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["sdnet-bench", *words]
    for act in prepare:
        act()
    main()
