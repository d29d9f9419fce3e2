"""Model folders on the Hugging Face Hub: downloaded, uploaded, and validated the same way in both directions.

Weights are safetensors, all other files are text or images; no code from the Hub is run.
"""

from __future__ import annotations

from .download import pull
from .layout import HUB, folder_name, is_published
from .upload import plan_push, published_files, push

__all__ = ["HUB", "folder_name", "is_published", "plan_push", "published_files", "pull", "push"]
