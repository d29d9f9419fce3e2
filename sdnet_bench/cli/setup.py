"""The options that commands share, and the decorators that add them to a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, Literal, ParamSpec, Protocol

import typer

from ..api.screen import Screen
from ..errors import UsageError
from ..names import DEVICES, PRECISIONS
from ..splicing import splice
from .completion import models
from .options import Seed, at_home, choice

if TYPE_CHECKING:
    from ..api.bench import Bench
    from ..engine.runtime import Runtime

Own = ParamSpec("Own")
"""The command's own parameters."""
Shared = Literal["model", "seed", "device", "precision", "data_dir", "runs_dir", "json"]
"""Name of a field of `Setup`."""


@dataclass(frozen=True)
class Setup:
    """Values of the shared options: fields in the order of the help, each with its option and default."""

    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A run, a shipped model or a folder; by default the one trained last.",
            autocompletion=models,
        ),
    ] = None
    seed: Seed = 0
    device: Annotated[str, choice("device", DEVICES, "By default the accelerator, where there is one.")] = "auto"
    precision: Annotated[
        str, choice("precision", PRECISIONS, "By default bfloat16 where it is native; tf32 needs CUDA.")
    ] = "auto"
    data_dir: Annotated[
        Path, typer.Option(envvar="SDNET_BENCH_DATA", help="Where data sets lie.", callback=at_home)
    ] = Path("data")
    runs_dir: Annotated[
        Path,
        typer.Option(envvar="SDNET_BENCH_RUNS", help="Where runs and their records go.", callback=at_home),
    ] = Path("runs")
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False

    @property
    def name(self) -> str:
        """The name of the model, by default of the run that was trained last; a `UsageError` where there is no run."""
        if self.model:
            return self.model
        trained = list(self.runs_dir.glob("*/model*.safetensors"))
        if not trained:
            hint = "Train one with `sdnet-bench train`, or name a model."
            raise UsageError(f"no model in {self.runs_dir}", hint=hint)
        return max(trained, key=lambda path: path.stat().st_mtime).parent.name

    def runtime(self) -> Runtime:
        """The runtime of this device and precision, by which this process computes from now on."""
        from ..engine.runtime import Runtime

        return Runtime.create(self.device, self.precision).take_over()

    def open(self, data: str | None = None) -> Bench:
        """The bench of the model, on the data set that it was trained on or on another one by name."""
        from ..api.bench import Bench

        bench = Bench(
            self.name,
            data,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            data_dir=self.data_dir,
            runs_dir=self.runs_dir,
            progress=Screen(),
        )
        return bench.take_over()


class Decorator(Protocol):
    """Turns a function of a `Setup` into a command with shared options."""

    def __call__(self, command: Callable[Concatenate[Setup, Own], None], /) -> Callable[Own, None]: ...


def measuring(**fixed: object) -> Decorator:
    """Adds all options of `Setup` to a command that measures a model, except those with a fixed value here."""
    names = [field.name for field in fields(Setup) if field.name not in fixed]
    return lambda command: splice(command, Setup, names, fixed)


def sharing(*names: Shared) -> Decorator:
    """Adds the named options of `Setup` to a command; the other fields keep their defaults."""
    return lambda command: splice(command, Setup, names)
