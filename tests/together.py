"""Processes that do the same thing at the same moment, and processes that do several things in turn."""

from __future__ import annotations

import json
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
