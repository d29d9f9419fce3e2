"""The options that commands share: spliced into their signatures, handed on as one value."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from sdnet_bench.cli.setup import Setup, measuring, sharing

app = typer.Typer()


@app.command("measure")
@measuring(precision="float32")
def measure(setup: Setup, times: int = 1) -> None:
    typer.echo((setup.model, setup.seed, setup.precision, setup.json, times))


@app.command("share")
@sharing("json")
def share(setup: Setup) -> None:
    typer.echo((setup.seed, setup.json))


def said(*words: str) -> str:
    return CliRunner().invoke(app, words).output.strip()


def test_a_measuring_command_takes_all_options_but_the_fixed() -> None:
    assert said("measure", "mine", "--seed", "7", "--times", "2", "--json") == "('mine', 7, 'float32', True, 2)"
    assert said("measure") == "(None, 0, 'float32', False, 1)"
    assert "No such option" in said("measure", "--precision", "auto")


def test_another_command_takes_the_named_options_alone() -> None:
    assert said("share", "--json") == "(0, True)"
    assert "No such option" in said("share", "--seed", "7")
