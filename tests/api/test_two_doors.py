"""One request, asked of the command line and of Python: the same records, byte for byte but for provenance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import sdnet_bench
from sdnet_bench import Bench
from sdnet_bench.api import bench as door
from sdnet_bench.audit import Audit
from sdnet_bench.audit.render import read_audit
from sdnet_bench.cli.app import app
from sdnet_bench.config import Recipe
from sdnet_bench.records import RecordStore
from sdnet_bench.report.figures import drawings

FEW = ["--limit", "40"]
ATTACK = ["--limit", "4", "--lambdas", "0.1,0.5"]
REQUESTS: dict[str, tuple[list[str], Callable[[Bench], Any]]] = {
    "clean": (["evaluate"], lambda bench: bench.evaluate()),
    "corrupted": (
        ["evaluate", "--corruption", "gaussian", "--severity", "3", "--lambda", "0.5", "--limit", "40"],
        lambda bench: bench.evaluate("gaussian", severity=3, lambda_=0.5, limit=40),
    ),
    "a group, other steps": (
        ["evaluate", "--corruption", "all", "--severity", "1", "--inference-steps", "4", "--limit", "20"],
        lambda bench: bench.evaluate(["gaussian", "shot", "speckle", "impulse"], 1, inference_steps=4, limit=20),
    ),
    "adapted": (
        ["evaluate", "--adapt", "bn:prior=16", "--batch-size", "8", "--stream", "mixed", "--corruption", "shot", *FEW],
        lambda bench: bench.evaluate("shot", adapt="bn:prior=16", batch_size=8, stream="mixed", limit=40),
    ),
    "a study": (
        ["evaluate", "--study", "figure2", "--limit", "3"],
        lambda bench: bench.study("figure2", limit=3),
    ),
    "a sweep": (
        ["sweep-lambda", "--severity", "2", "--lambdas", "0.1,0.3,1", "--layers", "stem", "--limit", "30"],
        lambda bench: bench.sweep_lambda(severity=2, lambdas=[0.1, 0.3, 1.0], layers="stem", limit=30),
    ),
    "a fit": (
        ["fit-lambda", "--levels", "0.05,0.1", "--lambdas", "0.1,0.5", "--limit", "30", "--residual", "squared"],
        lambda bench: bench.fit_lambda(levels=[0.05, 0.1], lambdas=[0.1, 0.5], limit=30, residual="squared"),
    ),
    "a race": (
        ["fit-lambda", "--levels", "0.05,0.2", "--lambdas", "0.1,0.5", "--limit", "60", "--search", "race"],
        lambda bench: bench.fit_lambda(levels=[0.05, 0.2], lambdas=[0.1, 0.5], limit=60, search="race"),
    ),
    "an attack": (
        ["attack", "--norm", "l2", "--eps", "1/4", "--steps", "3", "--protocol", "transfer,matched", *ATTACK],
        lambda bench: bench.attack(
            "l2", eps=0.25, steps=3, protocol=["matched", "transfer"], limit=4, lambdas=[0.1, 0.5]
        ),
    ),
    "by eps": (
        ["attack", "--sweep-eps", "--attack", "pgd", "--steps", "2", *ATTACK],
        lambda bench: bench.attack(attack="pgd", sweep_eps=True, steps=2, limit=4, lambdas=[0.1, 0.5]),
    ),
}


def of_run(folder: Path) -> dict[str, Any]:
    """What the files of a run say, without provenance."""
    fits = folder / "lambda_fit.json"
    records = [record.model_copy(update={"provenance": {}}).model_dump_json() for record in RecordStore(folder)]
    return {"records": records, "fits": fits.read_bytes() if fits.exists() else b""}


def run(words: list[str]) -> Any:
    answer = CliRunner().invoke(app, words, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


@pytest.mark.filterwarnings("ignore::sdnet_bench.errors.BenchWarning")  # so few images make crooked lines
@pytest.mark.parametrize("request_", REQUESTS)
def test_the_same_records_from_both_doors(runs: Path, tmp_path: Path, request_: str) -> None:
    words, ask = REQUESTS[request_]
    other = Path(shutil.copytree(runs, tmp_path / "others"))
    shown = run([words[0], "sdnet18-tiny", *words[1:], "--runs-dir", str(runs), "--json"])
    found = ask(Bench("sdnet18-tiny", runs_dir=other, progress=False))
    assert of_run(other / "sdnet18-tiny") == of_run(runs / "sdnet18-tiny")
    assert json.loads(json.dumps(found.data())) == shown
    assert (other / "sdnet18-tiny" / "README.md").read_bytes() == (runs / "sdnet18-tiny" / "README.md").read_bytes()


def test_the_same_audit_from_both_doors(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"tuning": 6, "apgd_steps": 2, "queries": 10}
    monkeypatch.setattr(door, "QUICK", door.QUICK.model_copy(update=few))
    other = Path(shutil.copytree(runs, tmp_path / "others"))
    words = ["audit", "resnet18-tiny", "--quick", "--limit", "6", "--eps", "0.06", "--seed", "3", "--json"]
    answer = CliRunner().invoke(app, [*words, "--runs-dir", str(runs)])
    assert answer.exit_code in (0, 1), answer.output
    found = Bench("resnet18-tiny", seed=3, runs_dir=other, progress=False).audit(quick=True, eps=0.06, limit=6)
    typed = read_audit(runs / "resnet18-tiny" / "audit-linf-quick.json")
    assert Audit.model_validate_json(answer.stdout) == typed
    assert (typed.norm, typed.eps, typed.seed) == ("linf", 0.06, 3)
    head, first, says, *_ = repr(found).splitlines()
    assert head == "Audit of resnet18-tiny, linf 0.06, 6 images of digits"
    assert (first, says.strip()) == (f"C1 {found.checks[0].title}: {found.checks[0].verdict}", found.checks[0].says)
    assert found.model_copy(update={"provenance": {}}) == typed.model_copy(update={"provenance": {}})


def test_the_same_training_from_both_doors(tmp_path: Path, tiny_recipes: dict[str, Recipe]) -> None:
    recipe = tiny_recipes["resnet18-tiny"]
    fields = {"optimizer.lr": 0.01, "schedule.name": "cosine"}
    bench = sdnet_bench.train(recipe, epochs=1, limit=64, runs_dir=tmp_path / "one", progress=False, set_=fields)
    words = ["train", "resnet18-digits", "--width", "4", "--epochs", "1", "--limit", "64", "--batch-size", "32"]
    words += ["--set", "optimizer.lr=0.01", "--set", "schedule.name=cosine"]
    run([*words, "--name", "resnet18-tiny", "--runs-dir", str(tmp_path / "two"), "--json"])
    assert Recipe.read(tmp_path / "one" / "resnet18-tiny" / "recipe.toml").optimizer.lr == 0.01
    both = [tmp_path / each / "resnet18-tiny" / "model.safetensors" for each in ("one", "two")]
    assert both[0].read_bytes() == both[1].read_bytes()
    assert bench.evaluate().accuracy == Bench("resnet18-tiny", runs_dir=tmp_path / "two").evaluate().accuracy


def test_the_same_report_from_both_doors(runs: Path, tmp_path: Path) -> None:
    bench = Bench("sdnet18-tiny", runs_dir=runs, progress=False)
    bench.sweep_lambda(severity=2, lambdas=[0.1, 0.5], limit=20)
    written = sdnet_bench.compare([bench, "resnet18-tiny"], runs_dir=runs).report(tmp_path / "one")
    words = ["report", "sdnet18-tiny", "resnet18-tiny", "--runs-dir", str(runs), "--output", str(tmp_path / "two")]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert {path.name for path in written} == {path.name for path in (tmp_path / "two").iterdir()}
    assert {path.suffix for path in bench.report(tmp_path / "texts", "latex")} == {".tex"}
    for path in written:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_figure_is_drawn_where_there_are_records_for_it(runs: Path) -> None:
    bench = Bench("sdnet18-tiny", runs_dir=runs, progress=False)
    assert list(drawings(bench.results)) == []
    bench.sweep_lambda(severity=2, lambdas=[0.1, 0.5], limit=20)
    assert bench.figure(2).get_suptitle() == "sdnet18-tiny: Figure 2"
    with pytest.raises(sdnet_bench.errors.UnknownNameError, match="unknown figure 'figure3'"):
        bench.figure(3)
    assert [len(bench.figure(number).axes) > 0 for number in (4, 5, 6)] == [True] * 3


def test_a_study_says_its_plan(runs: Path) -> None:
    bench = Bench("resnet18-tiny", runs_dir=runs, progress=False)
    (row,) = bench.plan("table2", limit=10).rows()
    assert row["cells"] == 5
    assert row["images"] == 50
    assert len(bench.plan("table2", limit=10).measure()) == 5
    assert bench.plan("table2", limit=10)[:0].rows() == []
    assert bench.plan("table2", limit=10).estimate == "plan: at most 0 images to classify, all is on record"


def test_a_plan_is_not_in_the_precision_of_the_attack_before(runs: Path) -> None:
    bench = Bench("resnet18-tiny", precision="bfloat16", runs_dir=runs, progress=False)
    bench.attack(steps=1, limit=4)
    assert {cell.inference.precision for step in bench.plan("table2", limit=10) for cell in step.cells} == {"bfloat16"}
