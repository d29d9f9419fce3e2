"""Networks of libraries and files by name, without a plugin: `torchvision:resnet50`, `timm:...`, `nets.py:tiny`."""

from __future__ import annotations

from .names import build_external, is_code, is_external, parse, published
from .network import External
from .source import Published

__all__ = ["External", "Published", "build_external", "is_code", "is_external", "parse", "published"]
