"""Names of repositories on the Hub, and the published files of a model folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ...config import CARD, CONFIG, NOTES, RECIPE, RESULTS, RUN_NAME
from ...errors import UsageError
from ..weights import INDEX, WEIGHTS

HUB = "hf:"
"""Prefix of the names of models on the Hub: `hf:owner/name`."""

WEIGHT_FILES = (WEIGHTS, INDEX, "model-?????-of-?????.safetensors")
FIGURES = ("*.png", "features.csv", "sparsity.csv")
AUDITS = ("audit-*.json", "audit-*.md", "robustbench-*.json")
MEASURED = (RESULTS, "lambda_fit.json", "history.csv", "examples.json")
PUBLISHED = (CONFIG, CARD, NOTES, RECIPE, *MEASURED, *WEIGHT_FILES, *FIGURES, *AUDITS)
"""Patterns of the files of a model folder that are published."""


def folder_name(name: str) -> str:
    """The name of the run that `hf:owner/name` becomes."""
    return repository(name).rpartition("/")[2]


def repository(name: str) -> str:
    """`owner/name` from `hf:owner/name` or `owner/name`; a `UsageError` for anything else."""
    repo = name.removeprefix(HUB)
    if not re.fullmatch(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", repo, re.ASCII):
        raise UsageError(f"{name!r} is no model on the Hub", expected="owner/name")
    return repo


def is_published(name: str, patterns: Iterable[str] = PUBLISHED) -> bool:
    """Whether a file of that name is published with a model. No such name is a path, or has other characters."""
    return bool(re.fullmatch(RUN_NAME, name)) and any(fnmatchcase(name, pattern) for pattern in patterns)
