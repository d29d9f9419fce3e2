"""Two nodes of one process each, as `torchrun` starts them, on the loopback: what one process gives, and lost ones."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from together import IN_TURN, read_rows
from typer.testing import CliRunner

from sdnet_bench.cli.app import app
from sdnet_bench.records import RecordStore
from sdnet_bench.records.lambda_fit import saved_fits

CPU = ["--device", "cpu", "--precision", "float32"]
GRID = ["--lambdas", "0.1,0.5", "--limit", "21"]
MEASURE = [
    ["evaluate", "--corruption", "gaussian", "--severity", "1", "--limit", "61"],
    ["sweep-lambda", "--corruption", "shot", "--severity", "2", *GRID],
    ["fit-lambda", "--corruption", "gaussian", *GRID],
    ["evaluate", "--study", "table2", "--limit", "7"],
    ["attack", "--norm", "linf", "--steps", "2", "--limit", "13", *GRID[:2]],
    ["attack", "--norm", "l2", "--steps", "2", "--limit", "10", *GRID[:2], "--protocol", "transfer,matched", "--save"],
    ["evaluate", "shared", "--corruption", "gaussian", "--limit", "61"],
]
"""A command of every kind, of the network that was trained last, and one of a network that the nodes have trained."""
TRAIN = ["train", "--name", "shared", "--limit", "128", "--width", "2", "--resume", *CPU]
PATIENCE = 60
"""Most seconds that a job takes to end after one of its processes is lost."""


class Nodes:
    """A job of two nodes. `torchrun` writes a report of its own on stderr, after what the command says."""

    def __init__(self, folder: Path, *commands: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            where = ["--rdzv-endpoint", f"127.0.0.1:{server.getsockname()[1]}", "--local-addr", "127.0.0.1"]
        script = folder / "in_turn.py"
        script.write_text(IN_TURN, encoding="utf-8")
        one = ["-m", "sdnet_bench", *commands[0]] if len(commands) == 1 else [str(script), json.dumps(commands)]
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        words = [*torchrun, "--rdzv-backend", "c10d", *where, *one]
        self._said = [folder / f"node{number}" for number in (0, 1)]
        self.agents = [self._start(words, said) for said in self._said]

    @staticmethod
    def _start(words: list[str], said: Path) -> subprocess.Popen[bytes]:
        with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
            return subprocess.Popen(words, cwd=said.parent, stdout=out, stderr=err)

    def said(self, suffix: str) -> list[str]:
        """What each node has written so far."""
        return [path.with_suffix(suffix).read_text("utf-8") for path in self._said]

    def kill(self, node: int) -> None:
        """Kills the process of a node, which `torchrun` does not start again."""
        (worker,) = psutil.Process(self.agents[node].pid).children()
        worker.kill()

    def statuses(self) -> list[int]:
        """Waits for the end of both."""
        return [agent.wait(600) for agent in self.agents]

    def rows(self) -> Any:
        """The JSON of the commands, which the first process alone prints."""
        assert self.statuses() == [0, 0], self.said(".err")
        first, none = sorted(self.said(".out"), key=len, reverse=True)
        assert none == ""
        return read_rows(first)


def alone(folder: Path, *commands: list[str]) -> list[Any]:
    """The JSON of the commands in this process alone."""
    here, answers = Path.cwd(), []
    os.chdir(folder)
    for words in commands:
        answer = CliRunner().invoke(app, words, catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        answers.append(json.loads(answer.stdout))
    os.chdir(here)
    return answers


def outcomes(folder: Path) -> dict[str, Any]:
    """Of a run: what is on record of each cell, and the fits."""
    found = {record.cell.key: (record.outcomes, record.lost_to) for record in RecordStore(folder)}
    return found | {name: fit.model_dump(exclude={"found"}) for name, fit in saved_fits([folder]).items()}


def saved_images(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.rglob("images.npy")}


@pytest.mark.slow
def test_two_nodes_share_training_measurement_and_attack_and_agree_with_one_process(at: Path) -> None:
    commands = [[*words, *(CPU if words[0] != "attack" else CPU[:2]), "--json"] for words in MEASURE]
    both, one = at / "both", at / "one"
    for folder in (both, one):
        shutil.copytree(at / "runs", folder / "runs")
    trained, *found = Nodes(both, [*TRAIN, "--epochs", "1", "--json"], *commands).rows()
    assert len(trained) == 1
    shutil.copytree(both / "runs/shared", one / "runs/shared", ignore=shutil.ignore_patterns("re[cs]*.json*"))
    assert found == alone(one, *commands)
    run = "runs/sdnet18-tiny"
    assert outcomes(both / run) == outcomes(one / run)
    assert outcomes(one / "runs/shared").items() <= outcomes(both / "runs/shared").items()
    assert len((both / run / "records.jsonl").read_text("utf-8").splitlines()) == len(RecordStore(both / run))
    assert saved_images(both) == saved_images(one)
    assert len(saved_images(one)) == 2  # at lambda_0 the matched images are the transferred ones


@pytest.mark.soak
def test_two_processes_of_accelerate_measure_what_one_process_measures(at: Path) -> None:
    words = [*MEASURE[0], *CPU, "--json"]
    for folder in (both := at / "both", one := at / "one"):
        shutil.copytree(at / "runs", folder / "runs")
    (both / "two.py").write_text(f"import os\nassert os.environ['WORLD_SIZE'] == '2'\n{IN_TURN}", encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", "two.py", json.dumps([words])]
    job = subprocess.run(launch, cwd=both, capture_output=True, text=True)
    assert job.returncode == 0, job.stderr
    assert read_rows(job.stdout) == alone(one, words)
    assert outcomes(both / "runs/sdnet18-tiny") == outcomes(one / "runs/sdnet18-tiny")


def lose(folder: Path, which: str, when: str, words: list[str]) -> str:
    """Kills the process that says so, the "first", or the "other" one; returns the error of the one that is left."""
    job = Nodes(folder, words)
    while not any(when in text for text in job.said(".err")):
        assert None in [agent.poll() for agent in job.agents], job.said(".err")
        time.sleep(0.02)
    first = next(node for node, text in enumerate(job.said(".err")) if when in text)
    killed = first if which == "first" else 1 - first
    job.kill(killed)
    lost = time.monotonic()
    assert job.statuses() == [1, 1]
    assert time.monotonic() - lost < PATIENCE
    lines = job.said(".err")[1 - killed].splitlines()
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert not any("sdnet_bench/" in line for line in lines)
    return error


LOST = "error: another process of this job has ended, or cannot be reached. Type the command again on every node; for "


@pytest.mark.soak
@pytest.mark.parametrize("which", ["first", "other"])
def test_a_training_that_loses_a_process_ends_in_a_line_and_goes_on(at: Path, which: str) -> None:
    words = [*TRAIN, "--epochs", "8", "--json"]
    assert lose(at, which, "epoch 2/8 ", words).startswith(LOST)
    again = Nodes(at, words)
    again.rows()
    assert any("resuming after epoch " in text for text in again.said(".err")) == (
        which == "other"
    )  # who saves is left
    Nodes(at, [*words, "--name", "whole"]).rows()
    weights = [(at / "runs" / name / "model.safetensors").read_bytes() for name in ("shared", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.soak
@pytest.mark.parametrize("which", ["first", "other"])
def test_an_attack_that_loses_a_process_ends_in_a_line_and_goes_on(at: Path, which: str) -> None:
    words = ["attack", "--attack", "apgd-ce", "--steps", "40", "--limit", "300", "--json", "--device", "cpu"]
    shutil.copytree(at / "runs", at / "one" / "runs")
    os.utime(at / "one/runs/sdnet18-tiny/model.safetensors", (2e9, 2e9))
    assert lose(at, which, "images to attack", words).startswith(LOST)
    assert Nodes(at, words).rows() == alone(at / "one", words)
