"""`sdnet-bench models`: what is here, and the Hub at the end of a real command line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.commands import point_to
from faults.process import Ended, run
from found import there
from hub_server import TOKEN, Hub, running
from torch import nn
from typer.testing import CliRunner, Result

from sdnet_bench.cli.app import app
from sdnet_bench.config import MODELS, Origin
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.paper.results import Results
from sdnet_bench.report.card import write_card
from sdnet_bench.zoo.checkpoint import read_model


@pytest.fixture
def at(at: Path) -> Path:
    """The folder in which commands run; the small networks, with their cards, are in `runs/`."""
    for folder in at.glob("runs/*-tiny"):
        write_card(folder, Results.read(folder, at / "runs"))
    return at


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as hub:
        yield hub


def call(*words: str) -> Result:
    """A command in this process; it must succeed."""
    result = CliRunner().invoke(app, ["models", *words])
    if result.exception:
        raise result.exception
    return result


def at_the_hub(hub: Hub, *words: str, cwd: Path, token: str = "") -> Ended:
    """A process of its own, in which the library of the Hub talks to this one."""
    return run(words, cwd, (partial(point_to, hub.endpoint), partial(log_in, token)))


def log_in(token: str) -> None:
    os.environ["HF_TOKEN"] = token


def test_push_and_pull_and_use(at: Path, hub: Hub) -> None:
    pushed = at_the_hub(hub, "models", "push", "sdnet18-tiny", "me/tiny", cwd=at, token=TOKEN)
    assert (pushed.status, pushed.out) == (0, f"{hub.endpoint}/me/tiny/commit/{hub.repos['me/tiny'].head}\n")
    assert pushed.err.startswith("push to me/tiny (public): 6 files, 0.")
    assert "model.safetensors:" not in pushed.err  # the library's own bar
    words = ("evaluate", "hf:me/tiny", "--corruption", "none", "--device", "cpu", "--precision", "float32", "--json")
    used = at_the_hub(hub, *words, "--runs-dir", "others", cwd=at)
    assert used.status == 0, used.err
    (row,) = json.loads(used.out)
    assert row["accuracy"] == Results.read(at / "runs/sdnet18-tiny", at / "runs").clean().value  # type: ignore[union-attr]
    assert used.err.startswith("me/tiny at ")
    assert "to measure" not in used.err  # what its author measured is on record
    assert Origin.read(at / "others/tiny") == Origin(source="hf:me/tiny", revision=hub.repos["me/tiny"].head)


def test_a_pull_that_fails_is_one_line_on_stderr(at: Path, hub: Hub) -> None:
    failed = at_the_hub(hub, "models", "pull", "me/nothing", cwd=at)
    assert (failed.status, failed.out) == (1, "")
    assert failed.err.startswith("error: the Hub shows no me/nothing. Is the name right?")
    assert len(failed.err.splitlines()) == 1
    assert not (at / "runs/nothing").exists()


def test_a_dry_run_shows_what_would_go_and_sends_nothing(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    (at / "runs/sdnet18-tiny/figure2.png").write_bytes(b"12345")
    result = call("push", "sdnet18-tiny", "me/tiny", "--private", "--dry-run", "--json")
    sizes = {row["file"]: row["bytes"] for row in json.loads(result.stdout)}
    assert sizes["figure2.png"] == 5
    weights = ("config.json", "model.safetensors")
    assert sizes.keys() == {"README.md", *weights, "figure2.png", "history.csv", "recipe.toml", "results.json"}
    assert "this would go to me/tiny (private): 7 files, 0." in result.stderr
    assert "nothing was sent" in result.stderr


def test_the_list_has_runs_and_shipped_models(at: Path) -> None:
    rows = {(row["where"], row["name"]): row for row in json.loads(call("list", "--json").stdout)}
    tiny, small = rows["run", "sdnet18-tiny"], rows["shipped", "sdnet18-cifar10-small"]
    results = Results.read(at / "runs/sdnet18-tiny", at / "runs")
    assert tiny["clean %"] == round(results.clean().value, 2)  # type: ignore[union-attr]
    assert (tiny["backbone"], tiny["data set"], tiny["weights"]) == ("sdnet18", "digits", "yes")
    assert tiny["parameters"] == sum(each.numel() for each in read_model(at / "runs/sdnet18-tiny").net.parameters())
    assert (small["data set"], small["weights"]) == ("cifar10", "yes")
    assert rows["shipped", "sdnet34-imagenet"]["weights"] == "no"
    assert {name for where, name in rows if where == "shipped"} == {path.name for path in MODELS.iterdir()}


def test_a_run_that_cannot_be_read_is_an_error_and_the_others_are_listed(at: Path) -> None:
    (at / "runs/resnet18-tiny/config.json").write_text("{}")
    result = CliRunner().invoke(app, ["models", "list"])
    assert "sdnet18-tiny" in result.stdout
    assert "resnet18-tiny" not in result.stdout
    assert str(result.exception).startswith("cannot read runs/resnet18-tiny/config.json: ")


def test_a_card_is_shown_as_it_stands(at: Path) -> None:
    shown = call("show", "sdnet18-tiny").stdout
    assert shown.rstrip() == (at / "runs/sdnet18-tiny/README.md").read_text().rstrip()
    (at / "runs/sdnet18-tiny/README.md").unlink()
    with pytest.raises(ModelError, match=r"cannot read the card .*`sdnet-bench evaluate sdnet18-tiny` writes one"):
        call("show", "sdnet18-tiny")


def test_the_details_have_configuration_origin_and_accuracies(at: Path) -> None:
    details = json.loads(call("show", "sdnet18-tiny", "--json").stdout)
    clean = there(Results.read(at / "runs/sdnet18-tiny", at / "runs").clean())
    assert details["accuracy"] == {"clean": {"value": clean.value, "low": clean.low, "high": clean.high, "n": 360}}
    assert (details["config"]["num_classes"], details["lambda"], details["origin"]) == (10, 0.1, None)


def test_the_attacks_of_a_shipped_model_are_among_the_details(at: Path) -> None:
    accuracy = json.loads(call("show", "sdnet18-cifar10-small", "--json").stdout)["accuracy"]
    assert {"clean", "gaussian", "shot", "speckle", "impulse", "linf 8/255 union", "l2 0.5 union"} == accuracy.keys()
    assert accuracy["linf 8/255 union"]["value"] < accuracy["clean"]["value"]


NETS = """
from torch import nn


def linear(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(64, num_classes))
"""


def test_a_network_of_others_becomes_a_run_and_is_not_published(at: Path) -> None:
    (at / "nets.py").write_text(NETS)
    save(at / "weights.safetensors", nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(64, 10)))
    result = call("add", "nets.py:linear", "--dataset", "digits", "--weights", "weights.safetensors", "--name", "mine")
    assert result.stdout == "runs/mine\n"
    assert "next: sdnet-bench evaluate mine" in result.stderr
    assert json.loads(call("show", "mine", "--json").stdout)["origin"]["source"] == "nets.py:linear"
    row = next(row for row in json.loads(call("list", "--json").stdout) if row["name"] == "mine")
    assert (row["backbone"], row["clean %"]) == ("nets.py:linear", None)
    with pytest.raises(UsageError, match=r"holds weights of nets\.py:linear"):
        call("push", "mine", "me/mine", "--dry-run")


def save(path: Path, net: nn.Module) -> None:
    from safetensors.torch import save_file

    save_file({name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}, path)


@pytest.mark.parametrize(
    "words", [("pull", "tiny"), ("push", "sdnet18-tiny", "tiny"), ("push", "sdnet18-tiny", "a/b/c")]
)
def test_what_is_no_repository_is_a_wrong_request(at: Path, words: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="is no model on the Hub, expected owner/name"):
        call(*words)


def test_a_card_cannot_command_the_terminal(at: Path) -> None:
    (at / "runs" / "sdnet18-tiny" / "README.md").write_text("# net\x1b[2J\x1b]0;mine\x07\n\tλ", encoding="utf-8")
    assert call("show", "sdnet18-tiny").stdout == "# net\\x1b[2J\\x1b]0;mine\\x07\n\tλ\n"


@pytest.mark.parametrize("name", ["../../elsewhere", ".hidden", "a/b", "a:b"])
def test_a_run_has_a_plain_name(at: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a run"):
        call("pull", "me/net", "--name", name)


def test_an_exported_model_is_measured_beside_the_old_one_and_has_a_card(at: Path) -> None:
    rows = json.loads(call("export", "sdnet18-tiny", "out/sdnet18-tiny", "--precision", "float32", "--json").stdout)
    assert [row["n"] for row in rows] == [360, 360]
    assert abs(rows[0]["accuracy"] - rows[1]["accuracy"]) < 2
    model = read_model(at / "out" / "sdnet18-tiny")
    assert model.weights != read_model(at / "runs" / "sdnet18-tiny").weights
    assert "# sdnet18-tiny" in (at / "out" / "sdnet18-tiny" / "README.md").read_text(encoding="utf-8")


def test_an_adopted_model_has_its_figures_and_is_measured_without_a_run(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdnet_bench.report.scenes.full_grid", lambda *_: [0.1, 0.5])
    runner, images = CliRunner(), ["--limit", "8", "--json"]
    sweep = runner.invoke(app, ["sweep-lambda", "sdnet18-tiny", "--severity", "3", "--lambdas", "0.1,0.5", *images])
    assert sweep.exit_code == 0, sweep.output
    assert call("adopt", "sdnet18-tiny", "--into", "shipped").stdout.strip() == "shipped/sdnet18-tiny"
    names = {path.name for path in (at / "shipped" / "sdnet18-tiny").iterdir()}
    drawn = {"figure2.png", "dictionary.png", "sparsity.png"}
    assert {name for name in names if Path(name).suffix in (".png", ".csv")} == {*drawn, "sparsity.csv", "history.csv"}
    assert {"examples.json", "results.json"} <= names
    text = (at / "shipped" / "sdnet18-tiny" / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in text for name in drawn)
    assert not {"records.jsonl", "training.pt"} & names
    again = ["evaluate", "shipped/sdnet18-tiny", "--runs-dir", "elsewhere", "--precision", "float32", "--json"]
    assert json.loads(runner.invoke(app, again).stdout)[0]["n"] == 360
    assert not (at / "elsewhere").exists()  # it is on record


def test_what_two_machines_measured_becomes_one_run(at: Path) -> None:
    few = ("evaluate", "sdnet18-tiny", "--severity", "1", "--limit", "8", "--device", "cpu")
    shutil.copytree(at / "runs", at / "elsewhere")
    assert run((*few, "--corruption", "gaussian", "--runs-dir", "elsewhere"), at).status == 0
    assert run((*few, "--corruption", "shot"), at).status == 0
    done = run(("models", "merge", "sdnet18-tiny", "elsewhere/sdnet18-tiny"), at)
    assert (done.status, done.out, done.err) == (0, "runs/sdnet18-tiny\n", "1 records were new\n")
    found = {record.images.corruption for record in Results.read(at / "runs" / "sdnet18-tiny", at / "runs").records}
    assert found == {None, "gaussian", "shot"}
    assert "gaussian" in (at / "runs/sdnet18-tiny/results.json").read_text("utf-8")
    wrong = run(("models", "merge", "resnet18-tiny", "elsewhere/sdnet18-tiny"), at)
    assert wrong.status == 1
    assert wrong.err.startswith("error: elsewhere/sdnet18-tiny has no record of this network. Name the folder")
