"""Model folders on the Hugging Face Hub: pulled, pushed, and checked the same way on both roads.

layout    what a repository is called, and which files of a model folder travel
checking  a model folder, read whole before it is believed
talking   to the Hub: its library's errors, warnings and bars in our words
pulling   from there; pushing to there

Weights are safetensors, everything else is text or a picture; nothing that comes from there is run.
"""

from __future__ import annotations

from .download import pull
from .layout import HUB, folder_name, repository
from .upload import Upload, plan_push, push

__all__ = ["HUB", "Upload", "folder_name", "plan_push", "pull", "push", "repository"]
