"""Each command on the small networks: data on stdout, talk on stderr, files where they were asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas
import pytest
from faults.process import Started
from typer.testing import CliRunner, Result

from sdnet_bench.cli.app import app
from sdnet_bench.config import ModelConfig
from sdnet_bench.progress import LAUNCHER, is_launched
from sdnet_bench.records import RecordStore

SMALL = ["--epochs", "2", "--limit", "64", "--width", "2", "--batch-size", "32", "--device", "cpu"]
CPU = ["--device", "cpu"]
COMMANDS = ("train", "evaluate", "sweep-lambda", "fit-lambda", "attack", "audit", "report", "demo")


def start(*words: str, cwd: Path, **more: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SDNET_BENCH_")} | more
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], cwd=cwd, env=environment, text=True, **pipes)


def call(*words: str) -> Result:
    """A command in this process; it must succeed."""
    result = CliRunner().invoke(app, list(words))
    if result.exception:
        raise result.exception
    return result


def rows(*words: str) -> list[dict[str, Any]]:
    """What a command prints with --json: nothing but JSON."""
    return json.loads(call(*words, "--json", *CPU).stdout)  # type: ignore[no-any-return]


HELP = """
import sys
from sdnet_bench.__main__ import main
for words in (["--help"], ["data", "fetch", "--help"]):
    sys.argv = ["sdnet-bench", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0
sys.exit("torch" in sys.modules)
"""


def test_help_imports_no_torch_and_answers_at_once(tmp_path: Path) -> None:
    started = time.perf_counter()
    process = start("-c", HELP, cwd=tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert time.perf_counter() - started < 2
    for word in (*COMMANDS, "bench", "visualize", "--offline"):
        assert word in out


WITHOUT = """
import sys
sys.modules |= {"torch": None, "scipy.stats": None}  # an import of one fails
from sdnet_bench.__main__ import main
for words in sys.argv[1:]:
    sys.argv = ["sdnet-bench", *words.split()]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, words
"""
SHIPPED = "sdnet18-cifar10-small"


READING = {
    "models list": SHIPPED,
    f"models show {SHIPPED}": f"# {SHIPPED}",
    f"models show {SHIPPED} --json": f' "name": "{SHIPPED}",',
    "plugins": "sdnet18_all",
    f"report {SHIPPED} --output out": "### Table 1: ",
    f"report {SHIPPED} --output out --format html": "out/index.html",
}
"""Commands, and how a line begins that only they print."""


def test_commands_that_only_read_need_no_torch(tmp_path: Path) -> None:
    process = start("-c", WITHOUT, *READING, cwd=tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, err
    for words, line in READING.items():
        assert any(each.startswith(line) for each in out.splitlines()), words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    text = call(command, "--help").stdout
    assert text.splitlines()[1].split()[-1] in ("[OPTIONS]", "[RECIPE]", "[MODEL]", "[MODEL]...")
    assert "--runs-dir" in text
    assert "SDNET_BENCH_RUNS" in text


def test_the_version_is_that_of_the_package() -> None:
    from sdnet_bench import __version__

    assert call("--version").stdout == f"sdnet-bench {__version__}\n"


def test_train_makes_a_model(at: Path) -> None:
    (row,) = rows("train", *SMALL, "--name", "fresh")
    assert (row["corruption"], row["lambda_"], row["n"]) == (None, 0.1, 360)
    folder = at / "runs" / "fresh"
    names = {"recipe.toml", "config.json", "model.safetensors", "README.md", "results.json", "history.csv"}
    assert names <= {path.name for path in folder.iterdir()}
    assert not (folder / "training.pt").exists()
    assert ModelConfig.read(folder).backbone.options["width"] == 2


def test_train_takes_a_recipe_of_ones_own_and_another_backbone(at: Path) -> None:
    (at / "mine.toml").write_text(
        'dataset = "digits"\nepochs = 9\nbatch_size = 16\nbackbone = {name = "sdnet18"}\n', encoding="utf-8"
    )
    call("train", "mine.toml", *SMALL, "--backbone", "resnet18", "--seed", "3", "--name", "other")
    assert ModelConfig.read(at / "runs" / "other").backbone.name == "resnet18"


def test_evaluate_takes_the_model_trained_last(at: Path) -> None:
    (row,) = rows("evaluate", "--limit", "20")
    assert row["lambda_"] == 0.1
    os.utime(at / "runs" / "resnet18-tiny" / "model.safetensors", (2.1e9, 2.1e9))
    (row,) = rows("evaluate", "--limit", "20")
    assert row["lambda_"] is None


def test_evaluate_goes_over_all_corruptions_and_severities(at: Path) -> None:
    found = rows("evaluate", "sdnet18-tiny", "--corruption", "all", "--limit", "10")
    assert len(found) == 4 * 5
    (one,) = rows("evaluate", "sdnet18-tiny", "--corruption", "shot", "--severity", "2", "--limit", "10")
    assert one in found


def test_a_dry_run_is_json_and_measures_nothing(at: Path) -> None:
    before = (at / "runs/sdnet18-tiny/records.jsonl").read_bytes()
    stages = rows("evaluate", "sdnet18-tiny", "--study", "table2", "--dry-run", "--limit", "20")
    assert [set(stage) for stage in stages] == [{"stage", "cells", "missing", "images", "minutes"}] * len(stages)
    assert stages[0]["images"] == 5 * 20
    assert (at / "runs/sdnet18-tiny/records.jsonl").read_bytes() == before
    assert not (at / "runs/sdnet18-tiny/lambda_fit.json").exists()


def test_all_corruptions_are_the_four_noises_and_groups_have_names(at: Path) -> None:
    words = ["evaluate", "sdnet18-tiny", "--severity", "1", "--limit", "5", "--corruption"]
    noises = {row["corruption"] for row in rows(*words, "all")}
    assert noises == {row["corruption"] for row in rows(*words, "noise")} == {"gaussian", "shot", "speckle", "impulse"}
    (row,) = rows("evaluate", "sdnet18-tiny", "--limit", "5", "--corruption", "unknown", "--severity", "mixed")
    assert (row["corruption"], row["severity"]) == ("unknown", "mixed")


def test_evaluate_takes_a_folder_and_a_lambda(at: Path) -> None:
    (row,) = rows("evaluate", "runs/sdnet18-tiny", "--lambda", "0.7", "--limit", "20")
    assert (row["lambda_"], row["n"]) == (0.7, 20)


def test_sweep_lambda_prints_a_line_per_lambda(at: Path) -> None:
    words = ["sweep-lambda", "sdnet18-tiny", "--severity", "3", "--lambdas", "0.1,0.5,0.9", "--limit", "20"]
    assert [row["lambda_"] for row in rows(*words)] == [0.1, 0.5, 0.9]
    header, *lines = call(*words, *CPU).stdout.splitlines()
    assert "gaussian 3" in header
    assert [line.split()[0] for line in lines] == ["0.1", "0.5", "0.9"]
    assert "*" in "".join(lines)


def test_fit_lambda_then_evaluate_adaptively(at: Path) -> None:
    (fit,) = rows("fit-lambda", "sdnet18-tiny", "--corruption", "shot", "--lambdas", "0.1,0.5", "--limit", "20")
    assert fit["corruption"] == "shot"
    assert (at / "runs/sdnet18-tiny/lambda_fit.json").exists()
    words = ["evaluate", "sdnet18-tiny", "--corruption", "shot", "--limit", "20"]
    for given, chosen in zip(rows(*words), rows(*words, "--lambda", "adaptive"), strict=True):
        wanted = max(0.0, fit["slope"] * given["residual"] + fit["intercept"])
        assert chosen["lambda_"] == pytest.approx(wanted, abs=2e-4)


def test_algorithm_1_is_an_adaptation_too_and_streams_have_names(at: Path) -> None:
    def made(*words: str) -> set[str]:
        call("evaluate", "sdnet18-tiny", "--limit", "12", *words, *CPU)
        return {record.cell.key for record in RecordStore(at / "runs/sdnet18-tiny")}

    fit = ["fit-lambda", "sdnet18-tiny", "--corruption", "shot", "--lambdas", "0.1,0.5", "--limit", "10"]
    call(*fit, *CPU)
    shot = ["--corruption", "shot", "--severity", "3"]
    known = made(*shot, "--lambda", "adaptive")
    assert made(*shot, "--adapt", "lambda") == known
    known = made("--corruption", "shot", "--severity", "mixed") | made("--corruption", "unknown", "--severity", "mixed")
    assert made("--corruption", "shot", "--stream", "mixed") | made("--stream", "unknown") == known
    (under,) = rows(*fit, "--adapt", "bn", "--batch-size", "5")
    assert under["corruption"] == "shot"
    assert made(*shot, "--adapt", "bn, lambda", "--batch-size", "5", "--stream", "sorted") > known
    settings = {record.inference.adaptation for record in RecordStore(at / "runs/sdnet18-tiny")}
    assert {(each.name, each.batch_size, each.order) for each in settings if each} == {
        ("bn:prior=0", 5, "shuffled"),
        ("bn:prior=0", 5, "sorted"),
    }


ATTACK = ["attack", "sdnet18-tiny", "--norm", "l2", "--steps", "2", "--limit", "10", "--lambdas", "0.1,0.5"]


def test_attack_goes_through_all_protocols(at: Path) -> None:
    found = rows(*ATTACK)
    assert [row["lambda_"] for row in found if row["protocol"] == "transfer"] == [0.5]
    assert [row["lambda_"] for row in found if row["protocol"] == "matched"] == [0.1, 0.5]
    assert {row["lambda_"] for row in found if row["protocol"] == "ensemble"} <= {0.1, 0.5}
    assert {row["attack"]["norm"] for row in found} == {"l2"}
    again = call(*ATTACK, *CPU)
    assert again.stdout.splitlines()[0].split()[:2] == ["attack", "norm"]


def test_attack_looks_through_the_choice_of_lambda_where_it_is_fitted(at: Path) -> None:
    assert "no adaptive attack: sdnet18-tiny has no fits" in call(*ATTACK, "--protocol", "all", *CPU).stderr
    call("fit-lambda", "sdnet18-tiny", "--corruption", "all", "--limit", "8", "--lambdas", "0.1,0.5", *CPU)
    found = rows(*ATTACK, "--protocol", "adaptive", "--limit", "8")
    assert [row["attack"]["through"] for row in found] == ["detached", "attached"]


def test_attack_keeps_its_images(at: Path) -> None:
    told = call(*ATTACK, "--protocol", "matched", "--save", *CPU).stderr
    assert told.count("adversarial images in") == 2
    assert len(list((at / "runs/sdnet18-tiny/adversarial").glob("l2-pgd-*/images.npy"))) == 2


def test_attack_sweeps_eps(at: Path) -> None:
    found = rows(*ATTACK, "--sweep-eps", "--attack", "pgd", "--limit", "5")
    assert sorted({row["attack"]["eps"] for row in found}) == [0.125, 0.25, 0.5, 1, 2, 4, 8]


def test_measuring_brings_card_and_results_up_to_date(at: Path) -> None:
    call("evaluate", "sdnet18-tiny", "--corruption", "impulse", "--limit", "20", *CPU)
    records = json.loads((at / "runs/sdnet18-tiny/results.json").read_text(encoding="utf-8"))
    assert len(records) == len(RecordStore(at / "runs/sdnet18-tiny")) == 2 + 5
    assert "| sdnet18-tiny |" in (at / "runs/sdnet18-tiny/README.md").read_text(encoding="utf-8")


def test_report_writes_four_tables_in_each_format(at: Path) -> None:
    out = call("report", "--output", "there").stdout
    names = {f"digits-table{number}.{kind}" for number in (1, 2, 3, 4) for kind in ("csv", "md")}
    assert names <= {path.name for path in (at / "there").iterdir()}
    assert all(f"### Table {number}: " in out for number in (1, 2, 3, 4))
    frame = pandas.read_csv(at / "there" / "digits-table1.csv")
    assert frame["ours"].notna().sum() == 2 * 4


def test_report_writes_the_formats_it_is_asked_for(at: Path) -> None:
    call("report", "sdnet18-tiny", "--format", "md")
    assert {path.suffix for path in (at / "report").iterdir() if "table" in path.name} == {".md"}


def test_report_prints_the_paths_of_what_is_no_text(at: Path) -> None:
    out = call("report", "sdnet18-tiny", "--format", "html", "--format", "latex").stdout
    assert out.splitlines() == [
        f"report/{name}" for name in ("index.html", *(f"digits-table{at}.tex" for at in (1, 2, 3, 4, 6)))
    ]
    assert {path.suffix for path in (at / "report").iterdir()} == {".html", ".tex"}


def test_folders_come_from_the_environment(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (at / "runs").rename(at / "elsewhere")
    monkeypatch.setenv("SDNET_BENCH_RUNS", str(at / "elsewhere"))
    assert rows("evaluate", "sdnet18-tiny", "--limit", "20")
    assert not (at / "runs").exists()


def test_stdout_is_data_and_stderr_is_talk_though_another_launcher_left_variables(at: Path) -> None:
    words = ("evaluate", "sdnet18-tiny", "--corruption", "shot", "--limit", "20", "--json", *CPU)
    process = start("-m", "sdnet_bench", *words, cwd=at, RANK="1", PMI_SIZE="2")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert [row["n"] for row in json.loads(out)] == [20] * 5
    assert "corrupted test images: 5 of 5 cells to measure, 100 images to classify" in err
    assert "\x1b" not in out + err


def test_ctrl_c_ends_training_with_one_line_and_resume_completes_it(at: Path) -> None:
    words = ("train", "--name", "stopped", *SMALL, "--epochs", "6")
    process = Started(words, at)
    while "epoch 1/6 " not in process.err:
        assert process.is_alive
    process.send(signal.SIGINT)
    done = process.ended()
    assert (done.status, done.out) == (130, "")
    *notes, last = done.err.splitlines()
    assert all(note.startswith("epoch ") for note in notes)
    assert last.startswith("error: interrupted. ")
    assert "--resume" in last
    assert call(*words, "--resume").stderr.startswith("resuming after epoch ")
    assert (at / "runs/stopped/model.safetensors").exists()


@pytest.mark.parametrize("missing", LAUNCHER)
def test_a_launcher_sets_all_of_its_variables(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in LAUNCHER:
        monkeypatch.setenv(name, "1")
    assert is_launched()
    monkeypatch.delenv(missing)
    assert not is_launched()
