"""What a shell completes: words of options, names of parts, models and recipes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from ..config import CONFIG, FIELDS, MODELS, RECIPE
from ..names import GROUPS, PARTS, SUITES, names_of

Completer = Callable[[str], list[str]]
"""Maps the beginning of a word to the words that it may become."""


def beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    """The words that begin so, or whose last part behind a comma does."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + word for word in words if word.startswith(last)]


def among(words: Iterable[str]) -> Completer:
    """Completes one of these words."""
    return lambda incomplete: beginning(incomplete, words)


def parts(kind: str, *others: str) -> Completer:
    """Completes the name of a part, of ours or of a plugin, or another word."""
    return lambda incomplete: beginning(incomplete, [*others, *names_of(kind)])


def every_part(incomplete: str) -> list[str]:
    """Completes the name of a part of any kind."""
    return beginning(incomplete, sorted({name for kind in PARTS for name in names_of(kind)}))


corruptions = parts("corruption", *GROUPS)
attacks = parts("attack", *SUITES)


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Completes the name of a run, in the folder of the runs, or of a shipped model."""
    runs = Path(context.params.get("runs_dir") or "runs").expanduser()
    found = {path.parent.name for root in (runs, MODELS) for path in root.glob(f"*/{CONFIG}") if has_weights(path)}
    return beginning(incomplete, sorted(found))


def has_weights(config: Path) -> bool:
    """Whether weights lie beside a configuration."""
    return any(config.parent.glob("model*.safetensors"))


def recipes(incomplete: str) -> list[str]:
    """Completes the name of a shipped recipe."""
    return beginning(incomplete, sorted(path.parent.name for path in MODELS.glob(f"*/{RECIPE}")))


def fields(incomplete: str) -> list[str]:
    """Completes the name of a field of a recipe, up to its value."""
    return [f"{field}=" for field in FIELDS if field.startswith(incomplete)]
