"""Networks of libraries and files by name, without a plugin: `torchvision:resnet50`, `timm:...`, `nets.py:tiny`.

torchvision   the classification networks of torchvision
timm          the networks of PyTorch Image Models, an extra
factories     a function in a Python file
source        the interface of these modules
names         parses names with a colon and builds their networks
network       the wrapper that makes a backbone of such a network
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
