"""The options that commands share, and the decorators that add them to a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Literal, ParamSpec, Protocol, get_type_hints

import typer

from ..errors import UsageError
from .options import Seed

if TYPE_CHECKING:
    from ..engine.runtime import Runtime
    from ..studies.workbench import Workbench

Own = ParamSpec("Own")
"""The command's own parameters."""
Shared = Literal["model", "seed", "device", "precision", "data_dir", "runs_dir", "json"]
"""Name of a field of `Setup`."""


@dataclass(frozen=True)
class Setup:
    """Values of the shared options: fields in the order of the help, each with its option and default."""

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
        """The given name of the model, or the name of the run that was trained last.

        Raises:
            UsageError: no name is given, and there is no run.
        """
        if self.model:
            return self.model
        trained = list(self.runs_dir.glob("*/model*.safetensors"))
        if not trained:
            hint = "Train one with `sdnet-bench train`, or name a model."
            raise UsageError(f"no model in {self.runs_dir}", hint=hint)
        return max(trained, key=lambda path: path.stat().st_mtime).parent.name

    def runtime(self) -> Runtime:
        """The runtime of this device and precision."""
        from ..engine.runtime import Runtime

        return Runtime.create(self.device, self.precision)

    def open(self) -> Workbench:
        """The workbench of the model."""
        from ..studies.workbench import Workbench
        from .screen import Screen

        runtime = self.runtime()
        return Workbench.open(self.name, self.runs_dir, self.data_dir, runtime, Screen(), self.seed)


Command = Callable[Concatenate[Setup, Own], None]


class Decorator(Protocol):
    """Turns a function of a `Setup` into a command with shared options."""

    def __call__(self, command: Command[Own], /) -> Callable[Own, None]: ...


def measuring(*, seed: int | None = None, precision: str | None = None) -> Decorator:
    """Adds all options of `Setup` to a command that measures a model, except those with a fixed value here."""
    fixed = {name: value for name, value in {"seed": seed, "precision": precision}.items() if value is not None}
    return _spliced([field for field in fields(Setup) if field.name not in fixed], fixed)


def sharing(*names: Shared) -> Decorator:
    """Adds the named options of `Setup` to a command; the other fields keep their defaults."""
    return _spliced([field for field in fields(Setup) if field.name in names], {})


def _spliced(shared: Sequence[Field[object]], fixed: Mapping[str, object]) -> Decorator:
    """Appends the options of these fields to a command's own, and passes it a `Setup` with their and fixed values."""

    def splice(command: Command[Own]) -> Callable[Own, None]:
        @wraps(command)
        def run(*own: Own.args, **given: Own.kwargs) -> None:
            chosen = {field.name: given.pop(field.name) for field in shared if field.name in given}
            values: dict[str, Any] = {**fixed, **chosen}
            command(Setup(**values), *own, **given)

        whole = _signature(command, shared)
        run.__annotations__ = {name: each.annotation for name, each in whole.parameters.items()}
        run.__signature__ = whole  # type: ignore[attr-defined]
        return run

    return splice


def _signature(command: Command[Own], shared: Sequence[Field[object]]) -> Signature:
    """The signature for Typer: the command's own parameters without the `Setup`, then these fields."""
    hints, own = get_type_hints(Setup, include_extras=True), signature(command, eval_str=True)
    options = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in shared
    ]
    return own.replace(parameters=[*list(own.parameters.values())[1:], *options])
