"""The command `sdnet-bench`. Each command is in its own file and imports its dependencies when it runs."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Annotated, Any

import typer

from ..errors import BenchError, InterruptError
from ..registry import PluginWarning
from ..version import __version__
from . import (
    attack,
    audit,
    bench,
    data,
    demo,
    evaluate,
    fit_lambda,
    models,
    plugins,
    report,
    reproduce,
    sweep_lambda,
    train,
    visualize,
)
from .screen import fail, warn

app = typer.Typer(
    help="Train SDNets, tune their sparsity at test time, attack them, and print the paper's tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
STEPS, WHOLE, AROUND = "Step by step", "All at once", "Models, data, plugins"
app.command("train", rich_help_panel=STEPS)(train.train)
app.command("evaluate", rich_help_panel=STEPS)(evaluate.evaluate)
app.command("sweep-lambda", rich_help_panel=STEPS)(sweep_lambda.sweep_lambda)
app.command("fit-lambda", rich_help_panel=STEPS)(fit_lambda.fit_lambda)
app.command("attack", rich_help_panel=STEPS)(attack.attack)
app.command("audit", rich_help_panel=STEPS)(audit.audit)
app.command("report", rich_help_panel=STEPS)(report.report)
app.add_typer(visualize.app, name="visualize", rich_help_panel=STEPS)
app.command("bench", rich_help_panel=STEPS)(bench.bench)
app.command("demo", rich_help_panel=WHOLE)(demo.demo)
app.command("reproduce", rich_help_panel=WHOLE)(reproduce.reproduce)
app.add_typer(models.app, name="models", rich_help_panel=AROUND)
app.add_typer(data.app, name="data", rich_help_panel=AROUND)
app.add_typer(plugins.app, name="plugins", rich_help_panel=AROUND)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sdnet-bench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands."""


def main() -> None:
    """Runs the command line: exit status 2 for a wrong request, 1 for a failed job, 130 after Ctrl-C."""
    signal.signal(signal.SIGINT, _interrupt)
    warnings.showwarning = _show_warning
    try:
        app()
    except BenchError as error:
        if "--debug" in sys.argv:
            raise
        fail(str(error))
        sys.exit(error.exit_status)


show_usual_warning = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **rest: Any) -> None:
    """Prints a `PluginWarning` as one line; other warnings are shown as usual."""
    if issubclass(category, PluginWarning):
        warn(str(message))
    else:
        show_usual_warning(message, category, *where, **rest)


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
    raise InterruptError("interrupted", hint="What is on record is not measured again; for train, add --resume.")


if __name__ == "__main__":
    main()
