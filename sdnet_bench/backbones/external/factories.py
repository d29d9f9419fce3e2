"""A network from a function in a Python file, `path/to/file.py:name`, that takes `num_classes` and options.

Its networks get normalised images, as those of the libraries do. A relative path starts at the working directory. The
file may import others of its folder while it is loaded and its function runs; installed modules of the same name come
first.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ...errors import UnknownNameError, UsageError


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Runs the file, calls the function and returns its network."""
    with _importing_from(Path(name.rpartition(":")[0]).resolve().parent):
        net = _factory(name)(num_classes, **options)
    if not isinstance(net, nn.Module):
        raise UsageError(f"{name} builds no network", expected="a torch.nn.Module", got=type(net).__name__)
    return net


def published(name: str, weights: str | None) -> None:
    """None: a file has no published weights; mean and std are those of the data set."""


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Puts a folder last on the path of imports; when the block ends, it and the modules from it are forgotten."""
    before = set(sys.modules)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in sys.modules.keys() - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]


def _factory(name: str) -> Callable[..., Any]:
    file, _, function = name.rpartition(":")
    module = _run(Path(file))
    found: Callable[..., Any] | None = getattr(module, function, None)
    if not callable(found):
        functions = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise UnknownNameError(f"function in {file}", function, functions)
    return found


def _run(path: Path) -> ModuleType:
    """The module of the file, entered in `sys.modules`, where dataclasses look for it."""
    if not path.is_file():
        raise UsageError(f"no file {path} here", expected="path/to/file.py:function", got=str(path.resolve()))
    name = f"sdnet_bench_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path} does not load: {type(error).__name__}: {error}") from error
    return module
