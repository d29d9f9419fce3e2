"""The command `sdnet-bench`. Each command is in its own file and imports its dependencies when it runs."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import typer

from ..api.screen import Screen
from ..errors import BenchError, BenchWarning, InterruptError, UsageError, printable, reason
from ..progress import is_launched
from ..version import __version__
from . import (
    attack,
    audit,
    bench,
    data,
    demo,
    doctor,
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
from .screen import drop_unwritten, fail

app = typer.Typer(
    help="Train SDNets, tune their sparsity at test time, attack them, and print the paper's tables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
STEPS, WHOLE, AROUND = "Step by step", "All at once", "Models, data, plugins, this machine"
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
app.command("doctor", rich_help_panel=AROUND)(doctor.doctor)
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


def run(interrupts: Sequence[InterruptError] = ()) -> int:
    """Runs the command line and returns its exit status: 2 for a wrong request, 1 for a failed job, 130 after Ctrl-C.

    What goes wrong is one line. `--debug` shows the traceback too, which a fault of the package itself always has.
    An interrupt counts before any error, because a library may have taken it for a damaged file.
    """
    warnings.showwarning = _show_warning
    try:
        _refuse_empty_words(sys.argv[1:])
        return app(standalone_mode=False) or 0
    except (Exception, InterruptError) as error:
        return _report(interrupts[-1] if interrupts else error)
    finally:
        drop_unwritten()


def _refuse_empty_words(words: Sequence[str]) -> None:
    """Raises a `UsageError` for a word or a value without a character: nothing has an empty name."""
    for before, word in pairwise(["sdnet-bench", *words]):
        if word == "" or re.fullmatch("--[a-z-]+=", word):
            raise UsageError(
                f"nothing after {before if word == '' else word}", hint="Is a variable of the shell not set?"
            )


WrongCommandLine: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
"""The class of Typer's usage errors, wherever this version of Typer has it."""


def _report(error: BaseException) -> int:
    """Prints what a person has to know of an error, and returns the exit status."""
    if isinstance(error, typer.Abort) and error.__cause__:
        error = error.__cause__
    if type(error).__name__ == "NoArgsIsHelpError":  # the help was asked for without `--help`, and is shown
        return 2
    known = explain(error)
    if known is None or sys.argv[1:2] == ["--debug"]:
        sys.stderr.write(printable("".join(traceback.format_exception(error))))
    if known is None:
        known = BenchError("this is a fault of sdnet-bench itself", hint="Please report it with the lines above.")
    fail(str(known))
    return known.exit_status


def explain(error: BaseException) -> BenchError | InterruptError | None:
    """An error that is no fault of ours as one line: of the request, of memory, or of files; None for others."""
    if isinstance(error, BenchError | InterruptError):
        return error
    if isinstance(error, WrongCommandLine):
        what, _, advice = error.format_message().partition(". ")  # the nearest command, if any
        command = error.ctx.command_path if error.ctx else "sdnet-bench"
        return UsageError(what[:1].lower() + what[1:].rstrip("."), hint=f"{advice} Type `{command} --help`.".lstrip())
    if isinstance(error, MemoryError) or re.search("out of memory|allocate memory", str(error), re.IGNORECASE):
        return BenchError(f"out of memory: {reason(error)}", hint="Ask for less: a smaller batch, network or grid.")
    if is_launched() and (type(error).__name__.startswith("Dist") or "gloo" in str(error)):
        hint = "Type the command again on every node; for train, with --resume."
        return BenchError("another process of this job has ended, or cannot be reached", hint=hint)
    if isinstance(error, OSError):
        what = f"cannot use {error.filename}" if error.filename else "cannot read or write"
        return BenchError(f"{what}: {reason(error)}", hint="`sdnet-bench --debug` shows where.")
    return None


show_usual_warning = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **rest: Any) -> None:
    """Prints a `BenchWarning` as one line; other warnings are shown as usual."""
    if issubclass(category, BenchWarning):
        Screen().warn(str(message))
    else:
        show_usual_warning(message, category, *where, **rest)
