"""Checks all files of a model folder."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from ...backbones import BACKBONES, is_external, parse
from ...config import CARD, CONFIG, RECIPE, ModelConfig, Recipe
from ...data import DATASETS
from ...errors import ModelError, UnknownNameError
from ...files import reading, text_of
from ...records import read_results
from ..checkpoint import read_model

MISSING = "A plugin may be missing; `sdnet-bench plugins` lists what is here."


def check_config(folder: Path) -> None:
    """Checks that a configuration is valid, and that it has a sha256 and a known backbone and data set."""
    config = ModelConfig.read(folder)
    if config.weights_sha256 is None:
        hint = "Is it trained? If so, its author has to say."
        raise ModelError(f"{folder / CONFIG} does not say which weights it means", expected="weights_sha256", hint=hint)
    name = config.backbone.name
    try:
        _ = parse(name) if is_external(name) else BACKBONES[name]
    except UnknownNameError as error:
        raise ModelError(f"{folder} needs another backbone: {error}", hint=MISSING) from None
    if config.dataset not in DATASETS:
        what, expected = f"{folder} is of an unknown data set", "one that is registered"
        raise ModelError(what, expected=expected, got=config.dataset, hint=MISSING)


def check(folder: Path) -> None:
    """Checks configuration, weights and their sha256, recipe, records and card of a model folder.

    A `BenchError` where a file is missing or damaged, or would run code.
    """
    check_config(folder)
    read_model(folder)
    read_results(folder)
    if (folder / RECIPE).exists():
        Recipe.read(folder / RECIPE)
    if (folder / CARD).exists():
        _check_card(folder / CARD)


def _check_card(path: Path) -> None:
    with reading(f"the card {path}", ModelError, hint="Expected front matter in YAML."):
        content = text_of(path)
        is_headed = content.startswith("---") and ModelCard(content).text != content
    if not is_headed:
        raise ModelError(f"the card {path} has no front matter", expected="YAML between two lines of ---")
