"""Wrong input: one line that says what, expected, got and what to type; the right exit status; nothing half-written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.process import run
from typer.testing import CliRunner

from sdnet_bench.cli.app import app
from sdnet_bench.errors import BenchError
from sdnet_bench.records.lambda_fit import Point, fit_line, save_fit

TRAIN = ["train", "--epochs", "1", "--limit", "64", "--width", "2"]


@pytest.fixture
def at(at: Path) -> Path:
    """The folder in which commands run, with a file in it."""
    (at / "file").write_text("a file, no folder", encoding="utf-8")
    return at


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folders(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}


def complaint(*words: str, status: int) -> str:
    """The one line of a command that prints nothing."""
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, BenchError), (result.exception, result.output)
    assert (result.stdout, result.exception.exit_status) == ("", status)
    assert "\n" not in str(result.exception)
    return str(result.exception)


WRONG_REQUESTS: list[tuple[list[str], str]] = [
    (
        ["train", "sdnet18-digit"],
        r"unknown recipe 'sdnet18-digit'\. Did you mean 'sdnet18-digits', .* `sdnet-bench models list` lists all",
    ),
    (["train", "none.toml"], r"cannot read the recipe none\.toml: .*No such file"),
    (
        [*TRAIN, "--backbone", "sdnet19"],
        r"unknown backbone 'sdnet19'\. Did you mean 'sdnet18', 'sdnet34' or .*`sdnet-bench plugins` lists all",
    ),
    ([*TRAIN, "--name", "../up"], r"options: name: "),
    ([*TRAIN, "--name", "big", "--seed", str(2**32)], r"options: seed: input should be less than 4294967296"),
    ([*TRAIN, "--width", "70000"], r"options: backbone\.options: a size is at most 65536, got "),
    ([*TRAIN, "--name", "-x"], r"name: at most 200 letters, digits, .*, first a letter or digit, got '-x'"),
    ([*TRAIN, "--weights", ""], r"sdnet18 has no published weights, expected a \.safetensors file or \.pth, got ''"),
    ([*TRAIN, "--resume", "--overwrite"], r"either gone on with or replaced, expected one of --resume and --overwrite"),
    ([*TRAIN, "--device", ""], r"unknown device ''\. Known: auto, cpu, cuda, mps\."),
    ([*TRAIN, "--device", "tpu"], r"unknown device 'tpu'\. Did you mean 'cpu'\?"),
    ([*TRAIN, "--precision", "float8"], r"unknown precision 'float8'\. Did you mean 'float32' or 'bfloat16'\?"),
    ([*TRAIN, "--device", "cpu", "--precision", "tf32"], r"cpu has no tf32, expected a CUDA device"),
    (["evaluate", "--device", "cpu", "--precision", "tf32"], r"cpu has no tf32, expected a CUDA device"),
    (["evaluate", "--inference-steps", "1000000000"], r"FISTA iterations out of range, expected 1 to 10,000"),
    ([*TRAIN, "--name", "sdnet18-tiny"], r"was trained by another recipe\. Replace it with --overwrite"),
    (
        [*TRAIN, "--set", "optimizer.lrr=1"],
        r"unknown field of a recipe 'optimizer\.lrr'\. Did you mean 'optimizer\.lr',",
    ),
    ([*TRAIN, "--set", "optimizer.lr=-1"], r"options: optimizer\.sgd\.lr: input should be greater than 0, got -1"),
    ([*TRAIN, "--set", "optimizer.lr"], r"no field and its value, expected field=value, .* got optimizer\.lr"),
    ([*TRAIN, "--log", "tensorbord"], r"unknown tracker 'tensorbord'\. Did you mean 'tensorboard'\?"),
    (
        ["evaluate", "sdnet18-tinny"],
        r"unknown model 'sdnet18-tinny'\. Did you mean 'sdnet18-tiny', .*`sdnet-bench models list` lists",
    ),
    (["evaluate", "--corruption", "gausian"], r"unknown corruption 'gausian'\. Did you mean 'gaussian'"),
    (["evaluate", "--severity", "6"], r"severity out of range, expected 1 to 5, all or mixed, got 6"),
    (["evaluate", "--severity", "two"], r"severity out of range, expected 1 to 5, all or mixed, got two"),
    (["evaluate", "--lambda=-0.1"], r"lambda out of range, expected a finite number >= 0, got -0\.1"),
    (["evaluate", "--lambda", "nan"], r"lambda out of range, expected a finite number >= 0, got nan"),
    (["evaluate", "--lambda", "big"], r"lambda is no number, expected a number, or adaptive, got big"),
    (["evaluate", "--lambda", "adaptive"], r"an adaptive lambda needs a type of noise\. Add --corruption gaussian"),
    (["evaluate", "resnet18-tiny", "--lambda", "0.3"], r"this network has no CSC-layer.* Take an SDNet"),
    (["evaluate", "--dry-run"], r"a dry run without a study, expected --study table2"),
    (["evaluate", "--study", "tabel2"], r"unknown study 'tabel2'\. Did you mean 'table2'"),
    (["evaluate", "--study", "table2", "--lambda", "0.3"], r"a study says itself what is measured"),
    (["evaluate", "--study", "table2", "--corruption", "shot"], r"a study says itself what is measured"),
    (["evaluate", "--study", "table2", "--per", "image"], r"a study says itself what is measured"),
    (["evaluate", "--severity", "3"], r"a severity without a corruption"),
    (
        ["evaluate", "--archive"],
        r"an archive without a corruption, expected --corruption gaussian, \.\.\. beside --archive",
    ),
    (["fit-lambda", "--corruption", "all", "--levels", "0.1,0.2"], r"levels mean another thing for each corruption"),
    (["evaluate", "--study", "figure2", "--archive"], r"figure2 is no study of an archive"),
    (["evaluate", "--per", "image", "--lambda", "0.3"], r"only an adaptive lambda is chosen per image"),
    (["evaluate", "--adapt", "bm"], r"unknown adaptation 'bm'\. Did you mean 'bn'\?"),
    (["evaluate", "--adapt", "bn:prio=3"], r"bn has no such setting, expected bn:prior=0, got prio=3"),
    (["evaluate", "--adapt", "bn:prior=x"], r"a setting cannot be read, expected a number, got prior=x"),
    (["evaluate", "--adapt", "bn,tent"], r"two adaptations of one network, expected filters, and one of the others"),
    (["evaluate", "--adapt", "lambda"], r"an adaptive lambda needs a type of noise\. Add --corruption gaussian"),
    (["evaluate", "--adapt", "lambda", "--lambda", "0.3"], r"two choices of lambda, .* got 0\.3"),
    (
        ["evaluate", "--batch-size", "8"],
        r"a stream without an adaptation, expected --adapt bn, bn-running or tent beside",
    ),
    (["evaluate", "--stream", "sorted"], r"a stream without an adaptation, expected --adapt bn"),
    (["evaluate", "--stream", "shuffled"], r"a stream without an adaptation, expected --adapt bn"),
    (["evaluate", "--adapt", "lambda", "--batch-size", "8"], r"a stream without an adaptation, expected --adapt bn"),
    (["evaluate", "--adapt", "median", "--batch-size", "8"], r"no image depends on its batch, .* got median"),
    (["evaluate", "--adapt", "median", "--stream", "sorted"], r"no image depends on its batch, .* got median"),
    (["evaluate", "--adapt", "bn", "--stream", "sortd"], r"unknown stream 'sortd'\. Did you mean 'sorted'\?"),
    (["evaluate", "--stream", "mixed"], r"a severity without a corruption"),
    (
        ["evaluate", "--stream", "mixed", "--corruption", "shot", "--severity", "3"],
        r"mixed noise says itself what it holds",
    ),
    (["evaluate", "--stream", "unknown", "--corruption", "shot"], r"unknown noise says itself what it holds"),
    (["evaluate", "--study", "adaptation", "--adapt", "bn"], r"a study says itself what is measured"),
    (["evaluate", "--study", "adaptation", "--stream", "sorted"], r"a study says itself what is measured"),
    (["evaluate", "--study", "adaptation", "--archive"], r"adaptation is no study of an archive"),
    (["fit-lambda", "--adapt", "bm"], r"unknown adaptation 'bm'"),
    (["fit-lambda", "--batch-size", "8"], r"a stream without an adaptation, expected --adapt bn"),
    (["evaluate", "--per", "batch"], r"unknown unit of an adaptive lambda 'batch'\. Known: image, set"),
    (["evaluate", "resnet18-tiny", "--study", "table5"], r"this network has no CSC-layer"),
    (["evaluate", "resnet18-tiny", "--inference-steps", "4"], r"this network has no CSC-layer"),
    (["fit-lambda", "--search", "rice"], r"unknown search 'rice'\. Did you mean 'race'"),
    (["fit-lambda", "--residual", "l2"], r"unknown residual 'l2'\. Known: norm, squared"),
    (["fit-lambda", "--search", "race", "--confidence", "1.5"], r"confidence out of range, .* got 1\.5"),
    (["fit-lambda", "--search", "race", "--tolerance=-1"], r"tolerance out of range, .* got -0\.01"),
    (["fit-lambda", "--confidence", "1.5"], r"confidence out of range"),
    (["fit-lambda", "--levels=-0.1,0.2"], r"levels out of range, expected finite numbers > 0"),
    (["fit-lambda", "--corruption", "glass_blur", "--levels", "0.1,0.2"], r"glass_blur has no levels that lambda"),
    (["fit-lambda", "--levels", "x"], r"not a grid of levels, expected 0\.1:1\.5:0\.1 or 0\.1,0\.3,1, got x"),
    (["fit-lambda", "--corruption", "fog"], r"fog has no levels that lambda could be fitted on"),
    (["sweep-lambda", "--severity", "6"], r"severity out of range, expected 1 to 5, .*all, got 6"),
    (["sweep-lambda", "--severity", "mixed"], r"severity out of range, expected 1 to 5, .*all, got mixed"),
    (["sweep-lambda", "resnet18-tiny"], r"this network has no CSC-layer, .* Take an SDNet, such as sdnet18-digits"),
    (["fit-lambda", "resnet18-tiny"], r"this network has no CSC-layer"),
    (["sweep-lambda", "--corruption", "gausian"], r"unknown corruption 'gausian'\. Did you mean 'gaussian'"),
    (["sweep-lambda", "--layers", "stam"], r"unknown choice of layers 'stam'\. Did you mean 'stem'\?"),
    (["sweep-lambda", "--lambdas", "0.1:1.5"], r"not a grid of lambdas, expected 0\.1:1\.5:0\.1 or 0\.1,0\.3,1"),
    (["sweep-lambda", "--lambdas", "0:1e9:0.1"], r"a grid of more than 1,000 lambdas, expected .*, got 0:1e9:0\.1"),
    (["fit-lambda", "--levels", "0:1:1e-9"], r"a grid of more than 1,000 levels, expected .*, got 0:1:1e-9"),
    (["sweep-lambda", "--lambdas", "0.1,-1"], r"lambda out of range, expected a finite number >= 0, got -1"),
    (["fit-lambda", "--corruption", "shut"], r"unknown corruption 'shut'\. Did you mean 'shot'\?"),
    (["attack", "--norm", "linff"], r"unknown norm 'linff'\. Did you mean 'linf'\?"),
    (["attack", "--eps", "0"], r"eps out of range, expected a finite number > 0, such as 8/255, got 0"),
    (["attack", "--eps=-8/255"], r"eps out of range, expected a finite number > 0"),
    (["attack", "--eps", "8"], r"eps out of range, expected at most 1, the range of a pixel, such as 8/255, got 8"),
    (["attack", "--sweep-eps", "--save"], r"--sweep-eps is matched and keeps no images\. Leave out"),
    (["attack", "--eps", "nan"], r"eps out of range, expected a finite number > 0"),
    (["attack", "--steps", "1000000000"], r"steps out of range, expected 1 to 100,000, got 1000000000"),
    (["attack", "--restarts", "1000000000"], r"restarts out of range, expected 1 to 1,000, got 1000000000"),
    (["attack", "--eps", "eight"], r"eps is no number, expected a number or a fraction, such as 8/255, got eight"),
    (["attack", "--attack", "autoatack"], r"unknown attack 'autoatack'\. Did you mean 'autoattack'"),
    (["audit", "--norm", "l1"], r"unknown norm 'l1'"),
    (["audit", "--other", "nobody"], r"unknown model 'nobody'"),
    (["audit", "--eps", "much"], r"eps is no number, expected a number or a fraction, such as 8/255, got much"),
    (["attack", "--protocol", "transfer,mached"], r"unknown protocol 'mached'\. Did you mean 'matched'\?"),
    (["attack", "--protocol", "mached"], r"unknown protocol 'mached'\. Did you mean 'matched'\?"),
    (["report", "--format", "cvs"], r"unknown format 'cvs'\. Did you mean 'csv'\?"),
    (["report", "sdnet18-tinny"], r"unknown model 'sdnet18-tinny'\. Did you mean 'sdnet18-tiny'"),
    (["visualize", "dictionary", "--layer", "2"], r"no chain of CSC-layers leads from layer 2 back .* to 1, got 2"),
    (["visualize", "dictionary", "resnet18-tiny"], r"this network has no CSC-layer.* Take an SDNet"),
    (["visualize", "features", "--layers", "1,5"], r"no chain of CSC-layers leads from layer 5 back .* to 1, got 5"),
    (["visualize", "features", "--layers", "stem"], r"not a list of layers, expected .* such as 1,5,9, got stem"),
    (["visualize", "features", "--images", ""], r"not a list of images, expected numbers with commas"),
    (["visualize", "features", "--images", "0,360"], r"no such test image, expected places from 0 to 359, got 360"),
    (["visualize", "features", "--images=-1"], r"no such test image, expected places from 0 to 359, got -1"),
    (["visualize", "features", "--lambda=-1"], r"lambda out of range"),
    (["visualize", "features", "resnet18-tiny"], r"this network has no CSC-layer"),
    (["visualize", "sparsity", "--layer", "2"], r"no such layer, expected a layer from 1 to 1, got 2"),
    (["visualize", "sparsity", "--lambda", "nan"], r"lambda out of range"),
    (["visualize", "sparsity", "resnet18-tiny"], r"this network has no CSC-layer"),
    (["visualize", "sparsity", "sdnet18-tinny"], r"unknown model 'sdnet18-tinny'\. Did you mean 'sdnet18-tiny'"),
    (["models", "export", "sdnet18-tiny", "a b"], r"no name for a run, expected at most 200 letters, .* got a b"),
    (["models", "export", "sdnet18-tiny", "."], r"\. holds other files\. Name another folder"),
    (["bench", "resnet19"], r"unknown backbone 'resnet19'\. Did you mean 'resnet18'"),
    (["bench", "sdnet18,steps"], r"not a network, expected name or name,option=value,\.\.\., got sdnet18,steps"),
    (["bench", "sdnet18,steps=0"], r"FISTA iterations out of range, expected 1 to 10,000, got 0"),
    (["bench", "sdnet18,width=99999999"], r"sdnet18,width=99999999: options: a size is at most 65536, got "),
    (["bench", "sdnet18", "--scale", "1e5"], r"a size is at most 65536, got "),
    (["bench", "--scale", "-1"], r"scale out of range, expected a finite number > 0, got -1\.0"),
    (["bench", "--device", "cud"], r"unknown device 'cud'\. Did you mean 'cuda' or 'cpu'\?"),
]
FAILED_JOBS: list[tuple[list[str], str]] = [
    ([*TRAIN, "--runs-dir", "file/runs"], r"cannot write .*file/runs.*Name another folder"),
    (["report", "--output", "file/report"], r"cannot write .*file/report.*Name another folder"),
    (["evaluate", "--corruption", "shot", "--lambda", "adaptive"], r"no fit of lambda for shot noise on sdnet18-tiny"),
    (["evaluate", "data"], r"data is no model folder, expected config\.json in it"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_REQUESTS, ids=lambda value: " ".join(value)[:50])
def test_a_wrong_request_is_one_line_with_status_2_and_changes_nothing(
    at: Path, words: list[str], message: str
) -> None:
    files, places = everything(at), folders(at)
    assert re.search(message, complaint(*words, status=2))
    assert everything(at) == files
    assert folders(at) == places


@pytest.mark.parametrize(("words", "message"), FAILED_JOBS, ids=lambda value: " ".join(value)[:50])
def test_a_failed_job_is_one_line_with_status_1_and_changes_nothing(at: Path, words: list[str], message: str) -> None:
    (at / "data").mkdir()
    files = everything(at)
    assert re.search(message, complaint(*words, status=1))
    assert everything(at) == files


def test_fits_of_another_model_are_one_line(at: Path) -> None:
    fit = fit_line("shot", "0" * 64, [Point(0.1, r, r, 0.5) for r in (0.1, 1.0)])
    save_fit(at / "runs/sdnet18-tiny", fit)
    error = complaint("evaluate", "sdnet18-tiny", "--corruption", "shot", "--lambda", "adaptive", status=1)
    assert "lambda_fit.json belongs to another model. Remove it, or fit anew" in error


@pytest.mark.parametrize("command", ["evaluate", "sweep-lambda", "fit-lambda", "attack", "audit"])
def test_without_a_model_the_way_to_one_is_shown(at: Path, command: str) -> None:
    error = complaint(command, "--runs-dir", "empty", status=2)
    assert error == "no model in empty. Train one with `sdnet-bench train`, or name a model."
    assert not (at / "empty").exists()


def unlink(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def exchange(path: Path) -> None:
    path.write_bytes((path.parents[1] / "resnet18-tiny" / path.name).read_bytes())


@pytest.mark.parametrize("command", ["evaluate", "sweep-lambda", "attack"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [(unlink, "has no weights, .*Train it"), (truncate, "damaged or foreign"), (exchange, "damaged or foreign")],
)
def test_harmed_weights_are_one_line(at: Path, command: str, harm: Callable[[Path], None], message: str) -> None:
    harm(at / "runs/sdnet18-tiny/model.safetensors")
    files = everything(at)
    assert re.search(message, complaint(command, "sdnet18-tiny", status=1))
    assert everything(at) == files


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--epochs", "0"],
        ["train", "--epochs", "many"],
        ["train", "--limit", "-1"],
        ["evaluate", "--limit", "0"],
        ["attack", "--steps", "0"],
        ["visualize", "dictionary", "--layer", "0"],
        ["visualize", "dictionary", "--atoms", "0"],
        ["visualize", "pictures"],
        ["bench", "--rounds", "0"],
        ["bench", "--batch-size", "0"],
        ["bench", "--batch-size", "99999999999"],
        ["bench", "--scale", "wide"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_has_status_2(at: Path, words: list[str]) -> None:
    files = everything(at)
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert everything(at) == files


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["attack", "--norm", "linff"], 2, "error: unknown norm 'linff'. Did you mean 'linf'?\n"),
        (["report", "--output", "file/report"], 1, "error: cannot write "),
        (["report", ""], 2, "error: nothing after report. Is a variable of the shell not set?\n"),
        (["train", "--runs-dir", ""], 2, "error: nothing after --runs-dir. Is a variable of the shell not set?\n"),
        (["train", "--runs-dir="], 2, "error: nothing after --runs-dir=. Is a variable of the shell not set?\n"),
    ],
)
def test_what_a_person_sees_is_one_line_on_stderr(at: Path, words: list[str], status: int, line: str) -> None:
    done = run(tuple(words), at)
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_debug_shows_the_traceback(at: Path) -> None:
    done = run(("--debug", "attack", "--norm", "linff"), at)
    assert done.status == 2
    assert "Traceback (most recent call last)" in done.err
    assert "UnknownNameError" in done.err
