"""`sdnet-bench bench`: a table or JSON on stdout, talk on stderr, and a process for memory from any door."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sdnet_bench.cli.app import app
from sdnet_bench.errors import UsageError
from sdnet_bench.studies import speed as study, suite

SMALL = ["--scale", "0.03", "--batch-size", "2", "--rounds", "2", "--device", "cpu", "--precision", "float32"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short rounds, and no process for memory."""
    monkeypatch.setattr(study, "MOMENT", 0.001)
    monkeypatch.setattr(study, "peak_resident", lambda network, *_: 10**6 * network.options["width"])


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, ["bench", *words, *SMALL])
    if result.exception:
        raise result.exception
    return result


@pytest.mark.usefixtures("quick")
def test_a_row_per_network_and_a_column_per_figure_and_ratio() -> None:
    result = call("sdnet18,width=6")
    header, first, second = result.stdout.splitlines()
    assert header.split()[:3] == ["network", "width", "parameters"]
    assert first.split()[:2] == ["resnet18", "2"]
    assert first.split()[4::2] == ["1.00", "1.00", "1.00"]
    assert second.split()[:2] == ["sdnet18,width=6", "6"]
    assert second.split()[-2:] == ["6", "3.00"]
    assert "plan: 2 networks" in result.stderr


@pytest.mark.usefixtures("quick")
def test_json_has_every_round_and_says_where_it_was_measured() -> None:
    found = json.loads(call("sdnet18,steps=1", "--json").stdout)
    assert (found["device"].split()[0], found["precision"], found["batch_size"]) == ("cpu", "float32", 2)
    assert found["memory"].startswith("the peak resident set of a process")
    measure, other = found["networks"]
    assert measure["contender"]["title"] == "resnet18"
    assert other["contender"] == measure["contender"] | {
        "title": "sdnet18,steps=1",
        "name": "sdnet18",
        "options": {"steps": 1, "width": 2},
    }
    for kind in ("training", "inference"):
        ratios = [own / of for own, of in zip(other[kind]["rounds"], measure[kind]["rounds"], strict=True)]
        assert (other[kind]["ratio"]["low"], other[kind]["ratio"]["high"]) == (min(ratios), max(ratios))


def test_the_suite_is_a_table_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    figure, plain = (study.Figure.of(rounds, [10.0, 10.0]) for rounds in ([10.0, 40.0], [10.0, 10.0]))
    found = [suite.Comparison("sweep", "one by one", figure, plain)]
    monkeypatch.setattr(suite, "run_suite", lambda *_, **__: found)
    header, row = call("--suite").stdout.splitlines()
    assert header.split("  ")[0] == "what"
    assert [cell.strip() for cell in row.split("  ") if cell] == [
        "sweep",
        "25.0",
        "one by one",
        "10.0",
        "2.50 [1.00, 4.00]",
    ]
    (told,) = json.loads(call("--suite", "--json").stdout)["comparisons"]
    assert (told["what"], told["figure"]["rounds"], told["figure"]["ratio"]["high"]) == ("sweep", [10.0, 40.0], 4.0)


def test_the_suite_takes_no_networks() -> None:
    with pytest.raises(UsageError, match="the suite has its own networks"):
        call("resnet18", "--suite")


@pytest.mark.parametrize(
    ("rounds", "text"),
    [([1.0, 1.0], "1.00"), ([0.5, 2.125, 1.0], "1.00 [0.50, 2.12]"), ([0.0151, 0.0149, 0.2], "0.015 [0.015, 0.20]")],
)
def test_a_ratio_is_a_median_with_its_range(rounds: list[float], text: str) -> None:
    assert str(study.Figure.of(rounds, [1.0] * len(rounds)).ratio) == text


def test_from_a_shell_memory_has_its_process_and_is_that_of_its_batch(tmp_path: Path) -> None:
    """By what the backward pass needs of each image, the inputs of five convolutions at 32 x 32 among it, at least."""
    size = ["--scale", "0.25", "--batch-size", "32", "--rounds", "1", *SMALL[6:]]
    command = [sys.executable, "-m", "sdnet_bench", "bench", "resnet18", *size, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (measure,) = json.loads(done.stdout)["networks"]
    held = 32 * (3 + 4 * 16) * 32 * 32 * 4
    assert held < measure["memory"]["rounds"][0] < 20 * held
    assert list(tmp_path.iterdir()) == []
