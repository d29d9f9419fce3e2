"""A network from a function in a Python file, `path/to/file.py:name`, that takes `num_classes` and options.

Its networks get normalised images, as those of the libraries do.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import ModelError, UnknownNameError, UsageError


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Runs the file and calls the function."""
    net = _factory(name)(num_classes, **options)
    if not isinstance(net, nn.Module):
        raise UsageError(f"{name} builds no network", expected="a torch.nn.Module", got=type(net).__name__)
    return net


def normalization(name: str) -> None:
    """Nobody says: that of the data set is taken."""


def pretrained(name: str, weights: str | None) -> dict[str, Tensor]:
    """There are none."""
    raise ModelError(f"{name} has no weights of its own", hint="Name a safetensors file with --weights.")


def _factory(name: str) -> Callable[..., Any]:
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"no file {file}", expected="path/to/file.py:function")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{file} does not load: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise UnknownNameError(f"function in {file}", function, [each for each in vars(module) if each[0] != "_"])
    factory: Callable[..., Any] = found
    return factory
