"""Other people's networks by name, without a plugin: `torchvision:resnet50`, `timm:convnext_tiny`, `nets.py:tiny`.

torchvision   the classification networks of torchvision
timm          those of PyTorch Image Models, an extra
factories     a function in a Python file
source        what each of these modules offers
names         names with a colon, taken apart and built
network       somebody else's network as a backbone
"""

from __future__ import annotations

from .names import SOURCES, build_external, is_code, is_external, parse, published
from .network import External
from .source import Published, Source, Weights

__all__ = [
    "SOURCES",
    "External",
    "Published",
    "Source",
    "Weights",
    "build_external",
    "is_code",
    "is_external",
    "parse",
    "published",
]
