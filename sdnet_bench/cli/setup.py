"""The options that commands share, defined once, and how a command takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, Literal, ParamSpec, Protocol

import typer

from ..errors import UsageError
from ..splicing import splice
from .options import Seed

if TYPE_CHECKING:
    from ..engine.runtime import Runtime
    from ..studies.workbench import Workbench

Own = ParamSpec("Own")
"""The parameters of a command that are its own."""
Shared = Literal["model", "seed", "device", "precision", "data_dir", "runs_dir", "json"]
"""A field of `Setup`."""


@dataclass(frozen=True)
class Setup:
    """What a command works with: the fields in the order of their help, each with its option and its default."""

    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="A run, a shipped model or a folder; by default the one trained last."),
    ] = None
    seed: Seed = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto"
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto"
    data_dir: Annotated[Path, typer.Option(envvar="SDNET_BENCH_DATA", help="Where data sets lie.")] = Path("data")
    runs_dir: Annotated[
        Path,
        typer.Option(envvar="SDNET_BENCH_RUNS", help="Where runs and their records go."),
    ] = Path("runs")
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False

    @property
    def name(self) -> str:
        """The name of the model: the one that is given, or that of the run that was trained last.

        Raises:
            UsageError: none is given, and there is no run.
        """
        if self.model:
            return self.model
        trained = list(self.runs_dir.glob("*/model*.safetensors"))
        if not trained:
            hint = "Train one with `sdnet-bench train`, or name a model."
            raise UsageError(f"no model in {self.runs_dir}", hint=hint)
        return max(trained, key=lambda path: path.stat().st_mtime).parent.name

    def runtime(self) -> Runtime:
        """The machine of this device and precision."""
        from ..engine.runtime import Runtime

        return Runtime.create(self.device, self.precision)

    def open(self) -> Workbench:
        """The model on the bench, with its data."""
        from ..studies.workbench import Workbench
        from .screen import Screen

        runtime = self.runtime()
        return Workbench.open(self.name, self.runs_dir, self.data_dir, runtime, Screen(), self.seed)


class Decorator(Protocol):
    """Turns a function of a `Setup` into a command with the options of that `Setup`."""

    def __call__(self, command: Callable[Concatenate[Setup, Own], None], /) -> Callable[Own, None]: ...


def measuring(*, seed: int | None = None, precision: str | None = None) -> Decorator:
    """Gives a command that measures a model all options of `Setup`, but those whose one value is named here."""
    fixed = {name: value for name, value in {"seed": seed, "precision": precision}.items() if value is not None}
    names = [field.name for field in fields(Setup) if field.name not in fixed]
    return lambda command: splice(command, Setup, names, fixed)


def sharing(*names: Shared) -> Decorator:
    """Gives a command the named options of `Setup`; the other fields keep their defaults."""
    return lambda command: splice(command, Setup, names)
