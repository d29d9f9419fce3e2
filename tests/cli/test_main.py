"""What reaches a person: one line for whatever goes wrong, from the first import on, and nothing but text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from faults.process import run as fork
from typer.testing import CliRunner

from sdnet_bench.api.screen import Screen
from sdnet_bench.cli.app import app, explain, run
from sdnet_bench.cli.screen import fail, say
from sdnet_bench.cli.show import show_rows
from sdnet_bench.progress import LAUNCHER

START = [sys.executable, "-m", "sdnet_bench"]
TALKING = """
from sdnet_bench.__main__ import main
from sdnet_bench.cli.app import app
from sdnet_bench.cli.screen import say
app.command("talk")(lambda: [say(text) for text in ("lambda λ", "second")] and None)
main()
"""
"""The command with one more, which says two lines and loads no torch."""


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of a shell, in which `sdnet-bench` is the command."""
    line = f'sdnet-bench() {{ "{sys.executable}" talking.py "$@"; }}; set -o pipefail; {line}'
    (cwd / "talking.py").write_text(TALKING, encoding="utf-8")
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "no such command 'trian'"),
        (["evaluate", "--lamda", "1"], "no such option"),  # versions of Typer suggest the nearest in other words
        (["models", "push"], "missing argument 'MODEL'. Type `sdnet-bench models push --help`."),
        (["train", "--epochs", "x"], "invalid value for '--epochs': "),
        (["train", "--epochs"], "option '--epochs' requires an argument. Type `sdnet-bench"),
        (["report", "--json"], "no such option"),
        (["train", "a", "b"], "got unexpected extra argument"),
    ],
    ids=str,
)
def test_a_wrong_command_line_is_one_line_that_names_the_help(
    words: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdnet-bench", *words])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # as from the script, not by python -m
    assert run() == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {line}")
    assert "--help`." in err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError("Unable to allocate 9 TiB"), "out of memory: Unable to allocate 9 TiB. Ask for less: "),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "out of memory: CUDA out of memory. Tried to. Ask"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator: can't"),
        (PermissionError(13, "Permission denied", "runs/a"), "cannot use runs/a: Permission denied. `sdnet-bench"),
        (OSError(28, "No space left on device"), "cannot read or write: No space left on device. `sdnet-bench"),
        (KeyError("epochs"), None),
        (RuntimeError("shapes differ"), None),
    ],
    ids=repr,
)
def test_errors_of_the_machine_are_a_line_and_faults_of_ours_are_not(error: Exception, line: str | None) -> None:
    found = explain(error)
    assert (found is None) if line is None else (found is not None and str(found).startswith(line))


RunAlone = Callable[[Callable[[], None]], int]


@pytest.fixture
def run_alone(monkeypatch: pytest.MonkeyPatch) -> RunAlone:
    """The exit status of a command line with one command."""

    def status(command: Callable[[], None]) -> int:
        alone = typer.Typer()
        alone.command()(command)
        monkeypatch.setattr("sdnet_bench.cli.app.app", alone)
        monkeypatch.setattr(sys, "argv", ["sdnet-bench"])
        return run()

    return status


def test_a_fault_of_ours_has_its_traceback_and_a_last_line_for_the_person(
    run_alone: RunAlone, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise KeyError("epochs\x1b[2J")

    assert run_alone(command) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "\x1b" not in err
    assert err.endswith("error: this is a fault of sdnet-bench itself. Please report it with the lines above.\n")


def test_nothing_that_is_printed_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = "net\x1b[2J\x1b]0;mine\x07\r\u202e"
    say(f"{text}\n\tλ")
    show_rows([{"model": f"{text}\nresnet18  99.9", "accuracy": 97.2}], as_json=False)
    Screen().note(text)
    Screen().warn(text)
    fail(text)
    out, err = capsys.readouterr()
    shown = r"net\x1b[2J\x1b]0;mine\x07\r\u202e"
    first, second, _, row = out.splitlines()
    assert (first, second) == (shown, "\tλ")
    assert row.split() == [shown, "resnet18", "99.9", "97.2"]
    assert err.splitlines() == [shown, f"warning: {shown}", f"error: {shown}"]


@pytest.mark.parametrize(
    ("words", "encoding", "status", "out", "err"),
    [
        ("talk", "ascii", 0, "lambda \\u03bb\nsecond\n", ""),
        ("talk | head -1", "utf-8", 0, "lambda λ\n", ""),
        ("talk > /dev/full", "utf-8", 1, "", "error: cannot read or write: No space left on device. "),
        ("talk >&-", "utf-8", 0, "", ""),
        ("--help > /dev/full", "utf-8", 1, "", "error: cannot read or write: No space left on device. "),
        ("talk 2>&-", "utf-8", 0, "lambda λ\nsecond\n", ""),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_stdout_may_be_narrow_closed_or_full(
    tmp_path: Path, words: str, encoding: str, status: int, out: str, err: str
) -> None:
    done = shell(f"sdnet-bench {words}", tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == status, done.stderr
    assert done.stdout == out
    assert done.stderr.startswith(err)
    assert done.stderr.count("\n") == bool(err)


STOPPED = """
import signal
from sdnet_bench.__main__ import main
from sdnet_bench.cli.app import app
from sdnet_bench.errors import ModelError
@app.command("stop")
def stop():
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException:
        raise ModelError("cannot read model.safetensors") from None
main()
"""
"""The command with one more, which takes an interrupt for a damaged file, as the readers of safetensors do."""


def test_an_interrupt_that_a_library_takes_for_a_damaged_file_is_one(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED, "stop"], cwd=tmp_path, capture_output=True, text=True)
    said = "error: terminated. What is on record is not measured again; for train, add --resume.\n"
    assert (done.returncode, done.stderr) == (143, said)


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_the_first_second_can_be_interrupted(tmp_path: Path, number: signal.Signals, word: str) -> None:
    """While typer is imported, long before torch: the times of imports are printed as they end."""
    command = [sys.executable, "-X", "importtime", *START[1:], "models", "list"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "typer." not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, "")
    assert [line for line in err.splitlines() if not line.startswith("import time:")] == [f"error: {word}"]


def test_a_tilde_is_the_home_folder_in_options_and_in_the_environment(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(at))
    monkeypatch.chdir(at / "runs")
    shown = CliRunner().invoke(app, ["models", "show", "sdnet18-tiny", "--json", "--runs-dir", "~/runs"])
    assert '"accuracy"' in shown.stdout
    words = ["models", "show", "sdnet18-tiny", "--json"]
    by_environment = CliRunner().invoke(app, words, env={"SDNET_BENCH_RUNS": "~/runs"})
    assert by_environment.stdout == shown.stdout
    written = CliRunner().invoke(app, ["report", "sdnet18-tiny", "--runs-dir", "~/runs", "--output", "~/tables"])
    assert written.exit_code == 0
    assert (at / "tables").is_dir()
    nobody = CliRunner().invoke(app, ["report", "--output", "~nobody-of-that-name/tables"])
    assert str(nobody.exception).startswith("no home folder for ~nobody-of-that-name/tables")


def test_one_broken_run_and_one_impossible_name_are_lines_beside_the_tables_of_the_others(at: Path) -> None:
    (at / "runs/resnet18-tiny/config.json").write_text("{", encoding="utf-8")
    done = fork(("report", "resnet18-tiny", "x" * 300, "sdnet18-tiny"), at)
    assert done.status == 2
    assert "sdnet18-tiny" in done.out
    note, first, second = done.err.splitlines()
    assert note.endswith("files in report")
    assert first.startswith("error: cannot read runs/resnet18-tiny/config.json: ")
    assert second.startswith(f"error: unknown model '{'x' * 300}'. Known: ")


def test_records_are_shown_where_the_card_cannot_be_written(at: Path) -> None:
    words = ["evaluate", "sdnet18-tiny", "--device", "cpu", "--precision", "float32"]
    shown = CliRunner().invoke(app, words)
    card = at / "runs/sdnet18-tiny/README.md"
    card.unlink()
    card.mkdir()
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, again.stdout) == (0, shown.stdout)
    assert "warning: the card is as it was: cannot write " in again.stderr


def test_a_lost_process_of_a_job_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Connection reset by peer")
    assert explain(error) is None
    for name in LAUNCHER:
        monkeypatch.setenv(name, "1")
    for lost in (error, torch.distributed.DistBackendError("NCCL error")):
        assert str(explain(lost)).startswith("another process of this job has ended, or cannot be reached. Type the")
    assert explain(RuntimeError("shapes differ")) is None
