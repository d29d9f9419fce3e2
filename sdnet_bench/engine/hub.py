"""Model folders on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from ..progress import Progress

HUB = "hf:"
"""What the name of a model on the Hub begins with: `hf:owner/name`."""


def folder_name(name: str) -> str:
    """The name of the run that `hf:owner/name` becomes."""
    return name.rpartition("/")[2]


def pull(name: str, folder: Path, progress: Progress) -> Path:
    raise NotImplementedError
