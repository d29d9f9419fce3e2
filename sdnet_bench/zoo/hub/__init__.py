"""Model folders on the Hugging Face Hub: downloaded, uploaded, and validated the same way in both directions.

layout    what a repository is called, and which files of a model folder travel
validate  reads a model folder whole before it is believed
client    calls to the Hub, with its library's errors, warnings and bars in our words
download  makes a run of a model on the Hub
upload    publishes a model folder as one commit

Weights are safetensors, everything else is text or a picture; nothing that comes from there is run.
"""

from __future__ import annotations

from .download import pull
from .layout import HUB, folder_name, is_published, repository
from .upload import Upload, plan_push, published_files, push

__all__ = [
    "HUB",
    "Upload",
    "folder_name",
    "is_published",
    "plan_push",
    "published_files",
    "pull",
    "push",
    "repository",
]
