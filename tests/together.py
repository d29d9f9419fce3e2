"""Processes that do the same thing at the same moment, and processes that do several things in turn."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from found import there

IN_TURN = """
import json, sys
from sdnet_bench.__main__ import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["sdnet-bench", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0
"""
"""A script that runs commands, JSON on its own command line, one after the other."""

JOB = """
import os, sys
from pathlib import Path
folder, rank = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
port = (folder / "port").read_text()
os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
from sdnet_bench.engine.runtime import Runtime
runtime = Runtime.create("cpu", "float32")
"""
"""The begin of a script for one of two processes of a job."""
END = """
runtime.processes.wait_for_everyone()
os._exit(0)  # an orderly end waits for gloo's threads, sometimes for ever, or they abort it when the other is gone
"""


def read_rows(out: str) -> Any:
    """What each of several commands has printed with --json."""
    return json.loads("[" + out.replace("\n]\n[", "\n],\n[") + "]")


def run_together(script: str, folder: Path, *each: int) -> None:
    """Runs a script in a process for each number, with folder and number as arguments, to their good end.

    A script prints a line when it is ready, and waits for one on stdin: all go on when all are ready.
    """
    commands = [[sys.executable, "-c", script, str(folder), str(number)] for number in each]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for command in commands]
    for process in processes:
        assert there(process.stdout).readline() == "ready\n"
    for process in processes:
        there(process.stdin).write("go\n")
        there(process.stdin).flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0


def run_job(script: str, folder: Path) -> None:
    """Runs a script, which has `folder`, `rank` and `runtime`, in the two processes of a job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (folder / "port").write_text(str(free.getsockname()[1]))
    run_together(JOB + script + END, folder, 0, 1)
